//! The proxies that are compared, and how each is started and ended; their configurations are the files beside this
//! one.

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

/// Bytes of the files that are asked for, and how they are called: one that goes out at once, and one that no cache of
/// a core holds.
const FILES: [(usize, &str); 2] = [(64 << 10, "64 KiB"), (100 << 20, "100 MiB")];

/// The rules: name in the chain, stock policy and configuration of each.
const POLICIES: [(&str, &str, &str); 3] = [
    ("10-access", "access-control", include_str!("access-control.toml")),
    ("20-rewrite", "rewrite", include_str!("rewrite.toml")),
    ("30-router", "router", include_str!("router.toml")),
];

/// What stands in a configuration for each `@NAME@`.
type Values = [(&'static str, String)];

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
        let www = folder.join("www");
        let values = [
            ("SERVER", server.to_string()),
            ("SERVER_ADDRESS", server.ip().to_string()),
            ("SERVER_PORT", server.port().to_string()),
            ("WWW", www.display().to_string()),
        ];
        let mut found = Vec::new();
        match find_program("nginx", None) {
            Some(nginx) => {
                let version = nginx_version(&nginx);
                let (name, at) = (format!("{version}, plain"), folder.join("nginx"));
                let plain = Self::nginx(&name, &nginx, &at, include_str!("nginx.conf"), &values)?;
                found.push(Self { is_baseline: true, ..plain });
                match lua_modules() {
                    Some([ndk, lua]) => {
                        let (name, at) =
                            (format!("{version}, the same rules in Lua"), folder.join("nginx-lua"));
                        let modules = [("NDK_MODULE", ndk), ("LUA_MODULE", lua)];
                        let modules = modules.map(|(name, path)| (name, path.display().to_string()));
                        let values = [&values[..], &modules].concat();
                        let lua = include_str!("nginx-lua.conf");
                        found.push(Self::nginx(&name, &nginx, &at, lua, &values)?);
                    }
                    None => say("not found, left out: nginx's Lua module (Debian: libnginx-mod-http-lua)"),
                }
            }
            None => say("not found, left out: nginx (Debian: nginx-light); there will be no ratios"),
        }
        match find_program("envoy", std::env::var_os("ENVOY")) {
            Some(envoy) => found.push(Self::envoy(&envoy, &folder.join("envoy"), &values)?),
            None => say("not found, left out: Envoy; name a binary in ENVOY"),
        }
        let forward = include_str!("tidegate.toml");
        for (name, at, policies) in [
            ("tidegate, no policy", "tidegate", &[][..]),
            ("tidegate, three policies", "tidegate-3", &POLICIES),
        ] {
            found.push(Self::tidegate(name, built, &folder.join(at), policies, forward, &values)?);
        }
        found.extend(Self::of_files(built, &folder, &www, &values)?);
        Ok(found)
    }

    /// nginx, and tidegate without policies, with three, and with three that memory does not spare a call.
    pub(super) fn to_count(built: &Built, server: SocketAddr) -> Result<Vec<Self>> {
        let folder = built.target.join("bench");
        let _ = fs::remove_dir_all(&folder);
        let values = [("SERVER", server.to_string())];
        let mut found = Vec::new();
        match find_program("nginx", None) {
            Some(nginx) => {
                let (name, at) = (nginx_version(&nginx), folder.join("nginx"));
                let plain = Self::nginx(&name, &nginx, &at, include_str!("nginx.conf"), &values)?;
                found.push(Self { is_baseline: true, ..plain });
            }
            None => say("not found, left out: nginx (Debian: nginx-light); there will be no ratios"),
        }
        let forward = include_str!("tidegate.toml");
        for (name, at, policies, work) in [
            ("tidegate, no policy", "tidegate", &[][..], Work::Forwarded),
            ("tidegate, three policies", "tidegate-3", &POLICIES, Work::Forwarded),
            ("tidegate, three policies that are called", "tidegate-called", &POLICIES, Work::Varied),
        ] {
            let at = folder.join(at);
            found.push(Self::tidegate(name, built, &at, policies, forward, &values)?.with(work));
        }
        Ok(found)
    }

    /// Those that serve files of `www`, each of [`FILES`] a line of its own.
    fn of_files(built: &Built, folder: &Path, www: &Path, values: &Values) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for (bytes, shown) in FILES {
            write(www, &bytes.to_string(), &"x".repeat(bytes))?;
            if let Some(nginx) = find_program("nginx", None) {
                let name = format!("{}, file of {shown}", nginx_version(&nginx));
                let at = folder.join(format!("nginx-{bytes}"));
                let nginx = Self::nginx(&name, &nginx, &at, include_str!("nginx-files.conf"), values)?;
                found.push(Self { is_baseline: true, ..nginx.with(Work::File(bytes)) });
            }
            let name = format!("tidegate, file of {shown}");
            let at = folder.join(format!("tidegate-{bytes}"));
            let files = include_str!("tidegate-files.toml");
            found.push(Self::tidegate(&name, built, &at, &[], files, values)?.with(Work::File(bytes)));
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
        let www = folder.join("www");
        write(&www, "65536", &"x".repeat(64 << 10))?;
        write(&www, TEXT, include_str!("../../../../docs/configuration.md"))?;
        let mut values = vec![
            ("SERVER", server.to_string()),
            ("CERTIFICATE_FOLDER", certificate.display().to_string()),
            ("WWW", www.display().to_string()),
        ];
        let secure = Self::tidegate(
            "TLS",
            built,
            &folder.join("tls"),
            &[],
            include_str!("tidegate-tls.toml"),
            &values,
        )?;
        values.push(("SECURE", secure.address.to_string()));
        let forward = include_str!("tidegate.toml");
        let to_http1 = include_str!("tidegate-to-http1.toml");
        let to_http2 = include_str!("tidegate-to-http2.toml");
        let files = include_str!("tidegate-files.toml");
        let compression = include_str!("tidegate-compression.toml");
        let mut trained = Vec::new();
        for (name, at, policies, config, work) in [
            ("no policy", "plain", &[][..], forward, Work::Forwarded),
            ("three policies", "policies", &POLICIES, forward, Work::Forwarded),
            ("three policies that are called", "calls", &POLICIES, forward, Work::Varied),
            ("request bodies", "uploads", &POLICIES, forward, Work::Upload),
            ("TLS, HTTP/1.1", "http1", &[], to_http1, Work::Forwarded),
            ("TLS, HTTP/2", "http2", &[], to_http2, Work::Forwarded),
            ("files", "files", &[], files, Work::File(64 << 10)),
            ("compression", "compression", &[], compression, Work::Compressed),
        ] {
            let proxy = Self::tidegate(name, built, &folder.join(at), policies, config, &values)?;
            trained.push(proxy.with(work));
        }
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
        self.run(Command::new(&self.program), START)
    }

    /// The same within a tool that takes a program and its arguments; it may be this much slower.
    pub(super) fn start_within(&self, mut tool: Command, slower: u32) -> Result<Running> {
        tool.arg(&self.program);
        self.run(tool, START * slower)
    }

    fn run(&self, mut command: Command, patience: Duration) -> Result<Running> {
        let log = fs::File::create(&self.log).map_err(|error| format!("{}: {error}", self.log.display()))?;
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let mut running = Running { child, address: self.address };
        let deadline = Instant::now() + patience;
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

    fn nginx(name: &str, nginx: &Path, folder: &Path, config: &str, values: &Values) -> Result<Self> {
        let address = free_address()?;
        let file = write(folder, "nginx.conf", &filled(config, address.port(), values)?)?;
        let arguments = ["-p", &folder.to_string_lossy(), "-c", &file.to_string_lossy()].map(str::to_owned);
        Ok(Self::new(name, nginx, folder, &arguments, address))
    }

    fn envoy(envoy: &Path, folder: &Path, values: &Values) -> Result<Self> {
        let address = free_address()?;
        let config = filled(include_str!("envoy.yaml"), address.port(), values)?;
        let file = write(folder, "envoy.yaml", &config)?;
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
        config: &str,
        values: &Values,
    ) -> Result<Self> {
        let address = free_address()?;
        let plugins = folder.join("plugins");
        for (file, policy, rules) in policies {
            write(&plugins, &format!("{file}.toml"), rules)?;
            let from = built.plugins.join(format!("{policy}.wasm"));
            fs::copy(&from, plugins.join(format!("{file}.wasm")))
                .map_err(|error| format!("{}: {error}", from.display()))?;
        }
        fs::create_dir_all(&plugins).map_err(|error| format!("{}: {error}", plugins.display()))?;
        let file = write(folder, "tidegate.toml", &filled(config, address.port(), values)?)?;
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

/// A configuration with its values; `@PORT@` is the one on which the proxy is to listen.
fn filled(config: &str, port: u16, values: &Values) -> Result<String> {
    let config = config.replace("@PORT@", &port.to_string());
    let config =
        values.iter().fold(config, |config, (name, value)| config.replace(&format!("@{name}@"), value));
    let is_name =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    match config.split('@').find(is_name) {
        Some(name) => Err(format!("a configuration names @{name}@, which has no value")),
        None => Ok(config),
    }
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
