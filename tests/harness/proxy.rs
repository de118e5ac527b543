//! The real binary with files of its own, ended with the test.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use http::Request;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::answer::Answer;
use crate::body::{BoxBody, body, empty};
use crate::certificates::Leaf;
use crate::client::{Client, request, request_with};
use crate::log::Lines;
use crate::plugins::Plugin;
use crate::process::{Ended, Process, command};
use crate::raw::Raw;
use crate::tls::TlsOptions;
use crate::upstream::Upstream;
use crate::wait::{eventually, until};

/// The listener that the short forms talk to.
const WEB: &str = "web";
/// The configuration, in the folder of its proxy.
const CONFIG: &str = "tidegate.toml";

/// What a proxy starts with.
#[derive(Debug)]
pub struct Builder {
    workers: u32,
    top: String,
    sections: String,
    whole: Option<String>,
    files: Vec<(String, Vec<u8>)>,
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

    /// Writes the files and starts nothing.
    #[must_use]
    pub fn write(self) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = self
            .whole
            .unwrap_or_else(|| format!("workers = {}\n{}{}", self.workers, self.top, self.sections));
        fs::create_dir(folder.path().join("plugins")).expect("a new folder");
        write(&folder.path().join(CONFIG), config);
        for (path, content) in self.files {
            write(&folder.path().join(path), content);
        }
        folder
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
    pub async fn try_start(self) -> Result<Proxy, Ended> {
        let folder = self.write();
        let mut command = command(&["run", "--config"]);
        command.arg(folder.path().join(CONFIG));
        let mut proxy = Proxy { process: Process::start(command), folder, addresses: BTreeMap::new() };
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
