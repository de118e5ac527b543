//! The proxies that are compared: their configuration, and how each is started and ended.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::load::{TEXT, Work};
use crate::build::Built;
use crate::command::{Result, output, say};

/// Where distributions keep nginx's modules.
const NGINX_MODULES: [&str; 4] =
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules", "/etc/nginx/modules"];
/// How long a proxy may take until it accepts connections.
const START: Duration = Duration::from_secs(20);

/// One line of the table.
pub(super) struct Contender {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
    is_baseline: bool,
    work: Work,
    log: PathBuf,
}

impl Contender {
    /// Every proxy that is there, ready to be started in front of `server`; says which are not.
    pub(super) fn find(built: &Built, server: SocketAddr) -> Result<Vec<Self>> {
        let folder = built.target.join("bench");
        let _ = fs::remove_dir_all(&folder);
        let mut found = Vec::new();
        match find_program("nginx", None) {
            Some(nginx) => {
                let version = nginx_version(&nginx);
                let name = format!("{version}, plain");
                found.push(Self::nginx(&name, &nginx, &folder.join("nginx"), |port| {
                    nginx_plain(port, server)
                })?);
                found.last_mut().expect("it was pushed just now").is_baseline = true;
                match lua_modules() {
                    Some(modules) => {
                        let name = format!("{version}, the same rules in Lua");
                        let config = |port| nginx_lua(port, server, &modules);
                        found.push(Self::nginx(&name, &nginx, &folder.join("nginx-lua"), config)?);
                    }
                    None => say("not found, left out: nginx's Lua module (Debian: libnginx-mod-http-lua)"),
                }
            }
            None => say("not found, left out: nginx (Debian: nginx-light); there will be no ratios"),
        }
        match find_program("envoy", std::env::var_os("ENVOY")) {
            Some(envoy) => found.push(Self::envoy(&envoy, &folder.join("envoy"), server)?),
            None => say("not found, left out: Envoy; name a binary in ENVOY"),
        }
        let forward = |port| tidegate(port, server);
        found.push(Self::tidegate("tidegate, no policy", built, &folder.join("tidegate"), &[], forward)?);
        found.push(Self::tidegate(
            "tidegate, three policies",
            built,
            &folder.join("tidegate-3"),
            &POLICIES,
            forward,
        )?);
        found.extend(Self::of_files(built, &folder)?);
        Ok(found)
    }

    /// Those that serve files, each of [`FILES`] a line of its own.
    fn of_files(built: &Built, folder: &Path) -> Result<Vec<Self>> {
        let www = folder.join("www");
        let mut found = Vec::new();
        for (bytes, shown) in FILES {
            write(&www, &bytes.to_string(), &"x".repeat(bytes))?;
            if let Some(nginx) = find_program("nginx", None) {
                let name = format!("{}, file of {shown}", nginx_version(&nginx));
                let folder = folder.join(format!("nginx-{bytes}"));
                let contender = Self::nginx(&name, &nginx, &folder, |port| nginx_files(port, &www))?;
                found.push(Self { is_baseline: true, ..contender.with(Work::File(bytes)) });
            }
            let name = format!("tidegate, file of {shown}");
            let folder = folder.join(format!("tidegate-{bytes}"));
            let contender = Self::tidegate(&name, built, &folder, &[], |port| tidegate_files(port, &www))?;
            found.push(contender.with(Work::File(bytes)));
        }
        Ok(found)
    }

    /// Proxies of one binary that together do what many requests ask for, and the one that stands behind two of them.
    /// `certificate` is the folder of a `certificate.pem` and its `certificate.key`.
    pub(super) fn to_train(
        built: &Built,
        server: SocketAddr,
        folder: &Path,
        certificate: &Path,
    ) -> Result<(Self, Vec<Self>)> {
        let at = |name: &str| folder.join(name);
        let certificate = certificate.display().to_string();
        let secure =
            Self::tidegate("TLS", built, &at("tls"), &[], |port| tidegate_tls(port, server, &certificate))?;
        let behind = secure.address;
        let to_tls = |protocol: &'static str| {
            let certificate = certificate.clone();
            move |port| tidegate_to_tls(port, behind, protocol, &certificate)
        };
        let www = at("www");
        write(&www, "65536", &"x".repeat(64 << 10))?;
        write(&www, TEXT, include_str!("../../../docs/configuration.md"))?;
        let compressing = |port| tidegate_files(port, &www) + "[compression]\n";
        let forward = |port| tidegate(port, server);
        let trained = vec![
            Self::tidegate("no policy", built, &at("plain"), &[], forward)?,
            Self::tidegate("three policies", built, &at("policies"), &POLICIES, forward)?,
            Self::tidegate("three policies that are called", built, &at("calls"), &POLICIES, forward)?
                .with(Work::Varied),
            Self::tidegate("request bodies", built, &at("uploads"), &POLICIES, forward)?.with(Work::Upload),
            Self::tidegate("TLS, HTTP/1.1", built, &at("http1"), &[], to_tls("http1"))?,
            Self::tidegate("TLS, HTTP/2", built, &at("http2"), &[], to_tls("h2"))?,
            Self::tidegate("files", built, &at("files"), &[], |port| tidegate_files(port, &www))?
                .with(Work::File(64 << 10)),
            Self::tidegate("compression", built, &at("compression"), &[], compressing)?
                .with(Work::Compressed),
        ];
        Ok((secure, trained))
    }

    fn with(self, work: Work) -> Self {
        Self { work, ..self }
    }

    /// What is asked of it.
    pub(super) fn work(&self) -> Work {
        self.work
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the others are compared with.
    pub(super) fn is_baseline(&self) -> bool {
        self.is_baseline
    }

    /// Starts it and waits until it accepts connections.
    pub(super) fn start(&self) -> Result<Running> {
        let log = fs::File::create(&self.log).map_err(|error| format!("{}: {error}", self.log.display()))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let mut running = Running { child, address: self.address };
        let deadline = Instant::now() + START;
        while TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_err() {
            let ended = !matches!(running.child.try_wait(), Ok(None));
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("{} did not start:\n{log}", self.name));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    fn nginx(name: &str, nginx: &Path, folder: &Path, config: impl FnOnce(u16) -> String) -> Result<Self> {
        let address = free_address()?;
        let file = write(folder, "nginx.conf", &config(address.port()))?;
        let arguments = ["-p", &folder.to_string_lossy(), "-c", &file.to_string_lossy()].map(str::to_owned);
        Ok(Self::new(name, nginx, folder, &arguments, address))
    }

    fn envoy(envoy: &Path, folder: &Path, server: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let file = write(folder, "envoy.yaml", &envoy_plain(address.port(), server))?;
        let arguments = [
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "--config-path",
            &file.to_string_lossy(),
        ]
        .map(str::to_owned);
        Ok(Self::new("Envoy, plain", envoy, folder, &arguments, address))
    }

    fn tidegate(
        name: &str,
        built: &Built,
        folder: &Path,
        policies: &[(&str, &str, &str)],
        config: impl FnOnce(u16) -> String,
    ) -> Result<Self> {
        let address = free_address()?;
        let plugins = folder.join("plugins");
        for (file, policy, config) in policies {
            write(&plugins, &format!("{file}.toml"), config)?;
            let from = built.plugins.join(format!("{policy}.wasm"));
            fs::copy(&from, plugins.join(format!("{file}.wasm")))
                .map_err(|error| format!("{}: {error}", from.display()))?;
        }
        fs::create_dir_all(&plugins).map_err(|error| format!("{}: {error}", plugins.display()))?;
        let file = write(folder, "tidegate.toml", &config(address.port()))?;
        let arguments = ["run", "--config", &file.to_string_lossy()].map(str::to_owned);
        Ok(Self::new(name, &built.binary, folder, &arguments, address))
    }

    fn new(name: &str, program: &Path, folder: &Path, arguments: &[String], address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            address,
            is_baseline: false,
            work: Work::Forwarded,
            log: folder.join("log"),
        }
    }
}

/// A proxy at work; dropping it ends it. All of them are one process each.
pub(super) struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it end by itself and waits for that.
    pub(super) fn end(mut self) -> Result<()> {
        let ended = kill_process(Pid::from_child(&self.child), Signal::TERM);
        ended
            .map_err(std::io::Error::from)
            .and_then(|()| self.child.wait())
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program by a variable, in PATH, or where it is kept out of the PATH of ordinary users.
fn find_program(name: &str, given: Option<std::ffi::OsString>) -> Option<PathBuf> {
    if let Some(given) = given {
        return Some(PathBuf::from(given)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    let folders =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// `nginx 1.22.1`: it writes `nginx version: nginx/1.22.1` to stderr.
fn nginx_version(nginx: &Path) -> String {
    let shown =
        output(Command::new("sh").arg("-c").arg("exec \"$0\" -v 2>&1").arg(nginx)).unwrap_or_default();
    shown.rsplit_once('/').map_or_else(|| "nginx".to_owned(), |(_, version)| format!("nginx {version}"))
}

/// The modules Lua needs, in the order in which they are loaded.
fn lua_modules() -> Option<[PathBuf; 2]> {
    NGINX_MODULES.iter().find_map(|folder| {
        let modules =
            ["ndk_http_module.so", "ngx_http_lua_module.so"].map(|name| Path::new(folder).join(name));
        modules.iter().all(|module| module.is_file()).then_some(modules)
    })
}

/// A port that was free a moment ago; nginx cannot choose one by itself.
fn free_address() -> Result<SocketAddr> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map_err(|error| format!("no free port: {error}"))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let file = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, text))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}

/// The rules, for tidegate; [`nginx_lua`] has the same.
const POLICIES: [(&str, &str, &str); 3] = [
    (
        "10-access",
        "access-control",
        r#"
[config]
rules = [
  { paths = ["/admin/**"], allow = ["10.0.0.0/8"] },
  { user-agents = ["EvilBot"], deny = true },
]
"#,
    ),
    (
        "20-rewrite",
        "rewrite",
        r#"
[config]
rules = [
  { path = "^/old/(.*)$", to = "/new/$1" },
  { path = "^/go/(.*)$", redirect = "https://example.com/$1", status = 301 },
]
request-headers = { set = { x-edge = "bench" } }
"#,
    ),
    (
        "30-router",
        "router",
        r#"
[config]
rules = [
  { paths = ["/images/**"], to = "images" },
  { hosts = ["api.example.com"], to = "api" },
  { paths = ["/api/**"], to = "api" },
  { user-agents = ["Mobile"], to = "mobile" },
]
"#,
    ),
];

/// Bytes of the files that are asked for, and how they are called: one that goes out in one piece, and one
/// that no cache of a core holds.
const FILES: [(usize, &str); 2] = [(64 << 10, "64 KiB"), (100 << 20, "100 MiB")];

/// The upstreams that the rules name; one server stands behind all of them.
const UPSTREAMS: [&str; 4] = ["app", "images", "api", "mobile"];

fn tidegate(port: u16, server: SocketAddr) -> String {
    let upstreams = UPSTREAMS.map(|name| format!("[upstream.{name}]\nservers = [\"{server}\"]\n"));
    tidegate_with(port, "app", &upstreams.concat())
}

fn tidegate_files(port: u16, www: &Path) -> String {
    tidegate_with(port, "www", &format!("[files.www]\nroot = {:?}\n", www.display().to_string()))
}

/// With an access log, which the others do not have.
fn tidegate_tls(port: u16, server: SocketAddr, certificate: &str) -> String {
    format!(
        "default-upstream = \"app\"\nworkers = 1\n\
         [listener.web]\naddress = \"127.0.0.1:{port}\"\n\
         tls = {{ certificates = [{{ chain = \"{certificate}/certificate.pem\", key = \"{certificate}/certificate.key\" }}] }}\n\
         [access-log]\npath = \"access.log\"\n\
         [limits]\nrequests-per-connection = 1_000_000_000\n\
         [upstream.app]\nservers = [\"{server}\"]\n"
    )
}

fn tidegate_to_tls(port: u16, server: SocketAddr, protocol: &str, certificate: &str) -> String {
    let upstream = format!(
        "[upstream.app]\nservers = [\"{server}\"]\nprotocol = \"{protocol}\"\n\
         tls = {{ ca = \"{certificate}/certificate.pem\", server-name = \"localhost\" }}\n"
    );
    tidegate_with(port, "app", &upstream)
}

fn tidegate_with(port: u16, default: &str, destinations: &str) -> String {
    format!(
        "default-upstream = \"{default}\"\nworkers = 1\n\
         [listener.web]\naddress = \"127.0.0.1:{port}\"\n\
         [access-log]\npath = \"off\"\n\
         [limits]\nrequests-per-connection = 1_000_000_000\n{destinations}"
    )
}

/// What both nginx configurations that forward share.
fn nginx(port: u16, server: SocketAddr, modules: &str, location: &str) -> String {
    let upstreams = UPSTREAMS.map(|name| {
        format!("upstream {name} {{ server {server}; keepalive 64; keepalive_requests 1000000000; }}\n")
    });
    let location = format!(
        "location / {{\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\nproxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header X-Forwarded-Proto $scheme;\n{location}}}\n"
    );
    nginx_with(port, modules, &upstreams.concat(), &location)
}

/// As its documentation advises for files; like a file root, it looks for compressed siblings.
fn nginx_files(port: u16, www: &Path) -> String {
    let http = "sendfile on;\ntcp_nopush on;\ngzip_static on;\n";
    nginx_with(port, "", http, &format!("root {};\n", www.display()))
}

/// One process, so that its CPU time is that of the proxy.
fn nginx_with(port: u16, modules: &str, http: &str, server: &str) -> String {
    format!(
        "{modules}daemon off;\nmaster_process off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
         access_log off;\nkeepalive_requests 1000000000;\n\
         client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n{http}\
         server {{\nlisten 127.0.0.1:{port};\n{server}}}\n}}\n"
    )
}

fn nginx_plain(port: u16, server: SocketAddr) -> String {
    nginx(port, server, "", "proxy_pass http://app;\n")
}

fn nginx_lua(port: u16, server: SocketAddr, modules: &[PathBuf; 2]) -> String {
    let modules: String =
        modules.iter().map(|module| format!("load_module {};\n", module.display())).collect();
    // Written as one who knows the module would: compiled patterns, no table of all headers.
    let rules = r#"
set $destination app;
rewrite_by_lua_block {
    local var, re = ngx.var, ngx.re
    local uri, agent = var.uri, var.http_user_agent or ""
    if uri == "/admin" or uri:sub(1, 7) == "/admin/" then
        if var.remote_addr:sub(1, 3) ~= "10." then return ngx.exit(403) end
    elseif re.find(agent, "EvilBot", "ijo") then
        return ngx.exit(403)
    end

    local old = re.match(uri, "^/old/(.*)$", "jo")
    if old then
        uri = "/new/" .. old[1]
        ngx.req.set_uri(uri)
    else
        local go = re.match(uri, "^/go/(.*)$", "jo")
        if go then return ngx.redirect("https://example.com/" .. go[1], 301) end
    end
    ngx.req.set_header("x-edge", "bench")

    if uri == "/images" or uri:sub(1, 8) == "/images/" then
        var.destination = "images"
    elseif var.host == "api.example.com" then
        var.destination = "api"
    elseif uri == "/api" or uri:sub(1, 5) == "/api/" then
        var.destination = "api"
    elseif re.find(agent, "Mobile", "ijo") then
        var.destination = "mobile"
    end
}
proxy_pass http://$destination;
"#;
    // Debian's module comes with lua-resty-core; without a line about it, it is loaded anyway.
    nginx(port, server, &modules, rules)
}

fn envoy_plain(port: u16, server: SocketAddr) -> String {
    let (host, backend) = (server.ip(), server.port());
    format!(
        r#"
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: app }}
  clusters:
  - name: app
    type: STATIC
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {backend} }} }} }}
"#
    )
}
