//! The real binary with files of its own, ended with the test.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};

use http::Request;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::answer::Answer;
use crate::body::{BoxBody, body, empty};
use crate::certificates::Leaf;
use crate::client::{Client, request, request_with};
use crate::log::Lines;
use crate::plugins::{self, Plugin};
use crate::process::{Ended, Process, command, command_at, kill_all_with};
use crate::raw::Raw;
use crate::tls::TlsOptions;
use crate::upstream::Upstream;
use crate::wait::{eventually, until};

/// The listener that the short forms talk to.
const WEB: &str = "web";
/// What is started, in the folder of the proxy: a link to the program, as a package manager would have it.
const PROGRAM: &str = "bin/tidegate";
/// The configuration, in the folder of its proxy.
const CONFIG: &str = "tidegate.toml";

/// Sockets that are passed to one proxy, and where the numbers begin that they have.
const MOST_PASSED: i32 = 16;
static FIRST: AtomicI32 = AtomicI32::new(500);

/// What a proxy starts with.
#[derive(Debug)]
pub struct Builder {
    workers: u32,
    top: String,
    sections: String,
    whole: Option<String>,
    files: Vec<(String, Vec<u8>)>,
    environment: Vec<(String, String)>,
    passed: Vec<(String, OwnedFd)>,
}

impl Builder {
    /// So many workers instead of two.
    #[must_use]
    pub fn workers(mut self, count: u32) -> Self {
        self.workers = count;
        self
    }

    /// A key before the tables of `tidegate.toml`, such as `trusted-proxies = ["127.0.0.1"]`.
    #[must_use]
    pub fn top(mut self, line: &str) -> Self {
        self.top.push_str(line);
        self.top.push('\n');
        self
    }

    /// A table of `tidegate.toml` with its header.
    #[must_use]
    pub fn section(mut self, text: &str) -> Self {
        self.sections.push_str(text);
        self.sections.push('\n');
        self
    }

    /// `tidegate.toml` as a whole, in place of what the other methods make.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.whole = Some(text.to_owned());
        self
    }

    /// Another listener, at a port of its own, with these further keys.
    #[must_use]
    pub fn listener(self, name: &str, keys: &str) -> Self {
        self.section(format!("[listener.{name}]\naddress = \"127.0.0.1:0\"\n{keys}").trim_end())
    }

    /// [`Self::listener`] over TLS with this certificate.
    #[must_use]
    pub fn tls_listener(self, name: &str, leaf: &Leaf, keys: &str) -> Self {
        let certificate = format!("{{ chain = \"{name}.pem\", key = \"{name}.key\" }}");
        let keys = format!("tls = {{ certificates = [{certificate}] }}\n{keys}");
        self.listener(name, &keys).certificate(name, leaf)
    }

    /// `NAME.pem` and `NAME.key`.
    #[must_use]
    pub fn certificate(self, name: &str, leaf: &Leaf) -> Self {
        self.file(&format!("{name}.pem"), leaf.chain_pem()).file(&format!("{name}.key"), leaf.key_pem())
    }

    /// Another upstream.
    #[must_use]
    pub fn upstream(self, name: &str, upstream: &Upstream) -> Self {
        self.section(&format!("[upstream.{name}]\nservers = [\"{}\"]", upstream.server()))
    }

    /// `plugins/NAME.wasm`, and `plugins/NAME.toml` unless `toml` is empty.
    #[must_use]
    pub fn plugin(mut self, name: &str, plugin: Plugin, toml: &str) -> Self {
        if !toml.is_empty() {
            self = self.file(&format!("plugins/{name}.toml"), toml);
        }
        self.file(&format!("plugins/{name}.wasm"), plugin)
    }

    /// Any file, by its path beside `tidegate.toml`.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Passes an open socket under this name, as systemd does.
    #[must_use]
    pub fn passing(mut self, name: &str, socket: impl Into<OwnedFd>) -> Self {
        self.passed.push((name.to_owned(), socket.into()));
        self
    }

    /// The command that starts it, and the sockets that it inherits.
    fn command(&mut self, folder: &Path) -> (Command, Vec<OwnedFd>) {
        let program = folder.join(PROGRAM);
        fs::create_dir(folder.join("bin")).expect("a new folder");
        symlink(plugins::folder("TIDEGATE_BIN"), &program).expect("a new file");
        let mut command = command_at(&program, &["run", "--config"]);
        let mut inherited = Vec::new();
        if !self.passed.is_empty() {
            // Their numbers follow each other, and are no other test's. 3 is for systemd alone to choose.
            let first = FIRST.fetch_add(MOST_PASSED, Ordering::Relaxed);
            for (at, (_, socket)) in (first..).zip(&self.passed) {
                let copy = rustix::io::fcntl_dupfd_cloexec(socket, at).expect("a free number");
                assert_eq!(copy.as_raw_fd(), at, "another test took it");
                rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).expect("an open socket");
                inherited.push(copy);
            }
            let names: Vec<&str> = self.passed.iter().map(|(name, _)| name.as_str()).collect();
            // Only the process itself knows its number.
            command = Command::new("sh");
            command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""]).arg(&program).args(["run", "--config"]);
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
            command.env("LISTEN_FDS_FIRST_FD", first.to_string());
        }
        command.arg(folder.join(CONFIG));
        command.envs(std::mem::take(&mut self.environment));
        (command, inherited)
    }

    /// Writes the files and starts nothing.
    #[must_use]
    pub fn write(self) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        self.write_into(folder.path());
        folder
    }

    fn write_into(self, folder: &Path) {
        let config = self
            .whole
            .unwrap_or_else(|| format!("workers = {}\n{}{}", self.workers, self.top, self.sections));
        fs::create_dir(folder.join("plugins")).expect("a new folder");
        write(&folder.join(CONFIG), config);
        for (path, content) in self.files {
            write(&folder.join(path), content);
        }
    }

    /// Writes the files and runs `tidegate check` on them.
    #[must_use]
    pub fn check(self) -> Ended {
        let folder = self.write();
        let mut command = command(&["check", "--config"]);
        Ended::of(command.arg(folder.path().join(CONFIG)))
    }

    /// Starts `tidegate run` and waits until it serves; panics with its log when it ends instead.
    pub async fn start(self) -> Proxy {
        match self.try_start().await {
            Ok(proxy) => proxy,
            Err(ended) => panic!("tidegate ended: {ended}"),
        }
    }

    /// Starts `tidegate run`; `Err` when it ends before it serves.
    pub async fn try_start(mut self) -> Result<Proxy, Ended> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (command, inherited) = self.command(folder.path());
        self.write_into(folder.path());
        let mut proxy = Proxy { process: Process::start(command), folder, addresses: BTreeMap::new() };
        drop(inherited);
        let serving = proxy.log().find_from(0, |line| is_serving(line).then_some(())).await;
        if serving.is_none() {
            let status = proxy.ended().await;
            let [stdout, stderr] = [proxy.access_log(), proxy.log()].map(|lines| lines.all().join("\n"));
            return Err(Ended { status, stdout, stderr });
        }
        // The admin interface opens last; a configuration without one names it nowhere.
        if fs::read_to_string(proxy.folder().join(CONFIG)).is_ok_and(|text| text.contains("[admin]")) {
            proxy.log().find_from(0, |line| listening(line).filter(|(name, _)| name == "admin")).await;
        }
        proxy.addresses = proxy.log().all().iter().filter_map(|line| listening(line)).collect();
        Ok(proxy)
    }
}

/// A running proxy. Dropping it kills the process and, when the test fails, shows its log.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    folder: TempDir,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Proxy {
    /// One clear-text listener `web`, the admin interface, and `upstream` as `app`, the default.
    #[must_use]
    pub fn builder(upstream: &Upstream) -> Builder {
        Self::with_app(&format!("servers = [\"{}\"]", upstream.server()))
    }

    /// One clear-text listener `web`, the admin interface, and the upstream `app`, the default, made of
    /// these lines.
    #[must_use]
    pub fn with_app(lines: &str) -> Builder {
        Self::bare()
            .top("default-upstream = \"app\"")
            .listener(WEB, "")
            .section(&format!("[upstream.app]\n{lines}"))
    }

    /// Two workers and the admin interface; listeners and upstreams are to be added.
    #[must_use]
    pub fn bare() -> Builder {
        let builder = Builder {
            workers: 2,
            top: String::new(),
            sections: String::new(),
            whole: None,
            files: Vec::new(),
            environment: Vec::new(),
            passed: Vec::new(),
        };
        builder.section("[admin]\naddress = \"127.0.0.1:0\"")
    }

    /// The address of a listener, or of `admin`.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self
            .addresses
            .get(listener)
            .unwrap_or_else(|| panic!("no listener {listener}: {:?}", self.addresses))
    }

    /// The folder of `tidegate.toml`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the plugin directory.
    #[must_use]
    pub fn plugin_path(&self, file: &str) -> PathBuf {
        self.folder().join("plugins").join(file)
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Lines {
        self.process.stderr()
    }

    /// Its access log.
    #[must_use]
    pub fn access_log(&self) -> &Lines {
        self.process.stdout()
    }

    /// A new HTTP/1.1 connection to `web`.
    pub async fn http1(&self) -> Client {
        Client::http1(self.address(WEB)).await
    }

    /// A new HTTP/2 connection to `web`, by prior knowledge.
    pub async fn http2(&self) -> Client {
        Client::http2(self.address(WEB)).await
    }

    /// A new connection to `web` in each version of HTTP.
    pub async fn both(&self) -> [Client; 2] {
        [self.http1().await, self.http2().await]
    }

    /// A new TLS connection to `listener`.
    pub async fn tls(&self, listener: &str, options: &TlsOptions<'_>) -> std::io::Result<Client> {
        Client::tls(self.address(listener), options).await
    }

    /// A new connection to `web` for bytes.
    pub async fn raw(&self) -> Raw {
        Raw::connect(self.address(WEB)).await
    }

    /// A new connection to `web` for bytes, of a client that takes nothing it does not read.
    pub async fn narrow(&self) -> Raw {
        Raw::narrow(self.address(WEB)).await
    }

    /// One request on an HTTP/1.1 connection of its own.
    pub async fn send(&self, request: Request<BoxBody>) -> Answer {
        self.http1().await.send(request).await
    }

    /// `GET` on an HTTP/1.1 connection of its own.
    pub async fn get(&self, target: &str) -> Answer {
        self.http1().await.get(target).await
    }

    /// One request without a body, with these fields, on an HTTP/1.1 connection of its own.
    pub async fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(request_with(method, target, fields).body(empty()).expect("a valid request")).await
    }

    /// One request to the admin interface.
    pub async fn admin(&self, method: &str, target: &str) -> Answer {
        let mut client = Client::http1(self.address("admin")).await;
        client
            .send(request(method, target).header("host", "localhost").body(empty()).expect("a valid request"))
            .await
    }

    /// One request to the admin interface with content.
    pub async fn change(&self, method: &str, target: &str, content: &Value) -> Answer {
        let mut client = Client::http1(self.address("admin")).await;
        let request =
            request(method, target).header("host", "localhost").header("content-type", "application/json");
        client.send(request.body(body(content.to_string())).expect("a valid request")).await
    }

    /// What `api/v1/plugins` says about one plugin; `None` when it is not in the list.
    pub async fn plugin(&self, name: &str) -> Option<Value> {
        let plugins = self.admin("GET", "/api/v1/plugins").await.json();
        let plugins = plugins.as_array().expect("a list of plugins").clone();
        plugins.into_iter().find(|plugin| plugin["name"] == name)
    }

    /// Waits until a plugin is in this state and returns what is said about it.
    pub async fn plugin_state(&self, name: &str, state: &str) -> Value {
        eventually(&format!("{name} to be {state}"), async || {
            self.plugin(name).await.filter(|plugin| plugin["state"] == state)
        })
        .await
    }

    /// What `api/v1/upstreams` says about the servers of an upstream.
    pub async fn servers(&self, upstream: &str) -> Vec<Value> {
        let upstreams = self.admin("GET", "/api/v1/upstreams").await.json();
        let upstreams = upstreams.as_array().expect("a list of upstreams");
        let found = upstreams.iter().find(|entry| entry["name"] == upstream);
        let found = found.unwrap_or_else(|| panic!("no {upstream} in {upstreams:?}"));
        found["servers"].as_array().expect("a list of servers").clone()
    }

    /// The state of a server; `None` when the upstream has no such server.
    pub async fn server_state(&self, upstream: &str, server: &str) -> Option<String> {
        let servers = self.servers(upstream).await;
        let found = servers.iter().find(|entry| entry["address"] == server)?;
        Some(found["state"].as_str().expect("a state").to_owned())
    }

    /// Waits until a server is in this state.
    pub async fn until_server(&self, upstream: &str, server: &str, state: &str) {
        until(&format!("{server} to be {state}"), async || {
            self.server_state(upstream, server).await.as_deref() == Some(state)
        })
        .await;
    }

    /// Replaces `from` in `tidegate.toml` by `to`, and waits until that is live.
    pub async fn reconfigure(&self, from: &str, to: &str) {
        let path = self.folder().join(CONFIG);
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "no {from:?} in {text}");
        fs::write(&path, text.replace(from, to)).expect("a writable file");
        let answer = self.reload().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Reloads through the admin interface and waits for it; the changes are live on return.
    pub async fn reload(&self) -> Answer {
        self.admin("POST", "/api/v1/reload").await
    }

    /// Has another process take the place of the one that runs, through the admin interface, and waits for it; gives its id.
    pub async fn upgrade(&self) -> u64 {
        let answer = self.admin("POST", "/api/v1/upgrade").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["pid"].as_u64().expect("a number")
    }

    /// The process that answers the admin interface.
    pub async fn process_id(&self) -> u64 {
        self.admin("GET", "/api/v1/status").await.json()["process"]["pid"].as_u64().expect("a number")
    }

    /// Puts a script for the shell in place of the program, or the program itself again. What runs already does not notice.
    pub fn replace_program(&self, script: Option<&str>) {
        let (next, program) = (self.folder().join("bin/next"), self.folder().join(PROGRAM));
        match script {
            Some(script) => {
                write(&next, format!("#!/bin/sh\n{script}\n"));
                fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).expect("a new file");
            }
            None => symlink(plugins::folder("TIDEGATE_BIN"), &next).expect("a new file"),
        }
        fs::rename(next, program).expect("a folder of the test's");
    }

    /// The access-log lines of the exchanges whose target is this, at least `count`.
    pub async fn accesses(&self, target: &str, count: usize) -> Vec<Value> {
        let field = format!("\"target\":{}", Value::from(target));
        eventually(&format!("{count} access-log lines for {target}"), async || {
            let lines = self.access_log().all();
            let lines: Vec<&String> = lines.iter().filter(|line| line.contains(&field)).collect();
            (lines.len() >= count).then(|| lines.iter().map(|line| json(line)).collect())
        })
        .await
    }

    /// The access-log line of the exchange with this target.
    pub async fn access(&self, target: &str) -> Value {
        self.accesses(target, 1).await.swap_remove(0)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until the process ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    /// Waits until the process that was started ends by itself, though another one goes on in its place.
    pub async fn ended_alone(&mut self) -> ExitStatus {
        self.process.ended_alone().await
    }

    /// Memory in use, in bytes.
    #[must_use]
    pub fn resident_memory(&self) -> u64 {
        self.process.resident_memory()
    }

    /// Open sockets. Unlike files, of which the watcher opens some when the proxy serves already, there
    /// are as many before a connection as after it.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.process.open_files().iter().filter(|file| file.target.starts_with("socket:")).count()
    }

    /// How often a file is open, by its path beside `tidegate.toml`.
    #[must_use]
    pub fn times_open(&self, path: &str) -> usize {
        let path = self.folder().join(path);
        self.process.open_files().iter().filter(|file| Path::new(&file.target) == path).count()
    }

    /// The sizes of the open files that have no name any more and were made in the folder of
    /// `tidegate.toml` or below.
    #[must_use]
    pub fn nameless_files(&self) -> Vec<u64> {
        let here = self.folder().to_string_lossy();
        let mut files = self.process.open_files();
        files.retain(|file| file.target.starts_with(&*here) && file.target.ends_with(" (deleted)"));
        files.iter().filter_map(|file| Some(fs::metadata(&file.link).ok()?.len())).collect()
    }
}

impl Drop for Proxy {
    #[expect(clippy::print_stderr, reason = "the test runner shows it with the test that failed")]
    fn drop(&mut self) {
        self.process.kill();
        // What took its place, or was to.
        if self.log().count("upgrade: started") > 0 {
            kill_all_with(&self.folder().join(CONFIG));
        }
        if std::thread::panicking() {
            let access = self.access_log().all();
            let last = access.len().saturating_sub(20);
            let config = fs::read_to_string(self.folder().join(CONFIG)).unwrap_or_default();
            eprintln!("--- tidegate.toml\n{config}\n--- log\n{}", self.log().all().join("\n"));
            eprintln!("--- access log\n{}\n---", access[last..].join("\n"));
        }
    }
}

/// A line of the log that says that a generation went live.
fn is_serving(line: &str) -> bool {
    line.contains(" serving ") && line.contains("generation=")
}

/// Name and address in a line of the log that says that a listener is open.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    line.split_once(" listening ")?;
    let field = |name: &str| {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(name))?;
        Some(value.trim_matches('"').to_owned())
    };
    Some((field("listener=")?, field("address=")?.parse().ok()?))
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("a folder");
    }
    fs::write(path, content).expect("a writable folder");
}
