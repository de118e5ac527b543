//! tidegate, with policies and without.

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Behind, Contender, Setup, Site, filled, free_address, shown};
use crate::files::{self, write};
use crate::terminal::Result;

/// The rules: stock policy and configuration of each.
const ACCESS: (&str, &str) = ("access-control", include_str!("access-control.toml"));
const REWRITE: (&str, &str) = ("rewrite", include_str!("rewrite.toml"));
const ROUTER: (&str, &str) = ("router", include_str!("router.toml"));

/// The policies of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    Empty,
    /// The router.
    One,
    /// Access control, rewriting and the router; nginx-lua.conf has the same rules.
    Three,
    /// The same three, and the first two again and again under other names.
    Ten,
}

impl Chain {
    /// In the order of the chain.
    fn policies(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Empty => Vec::new(),
            Self::One => vec![ROUTER],
            Self::Three => vec![ACCESS, REWRITE, ROUTER],
            Self::Ten => {
                let first = [ACCESS, REWRITE].into_iter().cycle().take(9);
                first.chain([ROUTER]).collect()
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Empty => "tidegate, no policy",
            Self::One => "tidegate, one policy",
            Self::Three => "tidegate, three policies",
            Self::Ten => "tidegate, ten policies",
        }
    }
}

/// What was built.
#[derive(Debug, Clone)]
pub(crate) struct Tidegate {
    pub(crate) program: PathBuf,
    /// The stock policies, `NAME.wasm` each.
    pub(crate) plugins: PathBuf,
}

impl Tidegate {
    /// Set up like the others.
    pub(crate) fn ready(&self, chain: Chain, setup: Setup, site: &Site) -> Result<Contender> {
        let folder = site.folder.join(format!("tidegate-{chain:?}").to_ascii_lowercase());
        self.ready_in(&folder, chain, setup, site)
    }

    /// The same in a folder of its own.
    pub(crate) fn ready_in(
        &self,
        folder: &Path,
        chain: Chain,
        setup: Setup,
        site: &Site,
    ) -> Result<Contender> {
        let more = match setup.behind {
            Behind::Server => upstreams(&["app", "images", "api", "mobile"], site.server),
            Behind::Grpc => {
                format!("[upstream.app]\nservers = [\"{}\"]\nprotocol = \"h2\"\n", site.grpc_server)
            }
            Behind::Cache => format!(
                "[upstream.app]\nservers = [\"{}\"]\ncache = \"pages\"\n\n\
                 [cache.pages]\nmemory = \"256MiB\"\ndefault-lifetime = \"1h\"\n",
                site.server
            ),
            Behind::Files => format!("[files.app]\nroot = \"{}\"\n", shown(&site.www)),
        };
        let contender = self.at(folder, setup, &site.certificate_table(setup), &more)?;
        for (number, (policy, config)) in chain.policies().into_iter().enumerate() {
            self.add(&contender, &format!("{number:02}-{policy}"), policy, config)?;
        }
        Ok(contender.named(chain.name()))
    }

    /// With these tables besides those that all have, and `tls` in the table of the listener.
    pub(crate) fn at(&self, folder: &Path, setup: Setup, tls: &str, more: &str) -> Result<Contender> {
        // The plugins of another round.
        let _ = fs::remove_dir_all(folder);
        let address = free_address()?;
        fs::create_dir_all(folder.join("plugins")).map_err(|error| files::of(folder, &error))?;
        // What is compiled is kept here where a configuration asks for it: nobody else may write there.
        let compiled = folder.join("compiled");
        DirBuilder::new().mode(0o700).create(&compiled).map_err(|error| files::of(&compiled, &error))?;
        let file = write(folder, "tidegate.toml", &configuration(address, setup, tls, more)?)?;
        let arguments = ["run", "--config", &shown(&file)];
        Ok(Contender::new("tidegate", &self.program, folder, &arguments, address))
    }

    /// Puts a policy into the chain, as whoever deploys would: its configuration first.
    pub(crate) fn add(&self, to: &Contender, place: &str, policy: &str, config: &str) -> Result<()> {
        let plugins = to.folder().join("plugins");
        write(&plugins, &format!("{place}.toml"), config)?;
        files::copy(&self.plugins.join(format!("{policy}.wasm")), &plugins, &format!("{place}.wasm"))
    }
}

/// The text of `tidegate.toml`.
pub(crate) fn configuration(address: SocketAddr, setup: Setup, tls: &str, more: &str) -> Result<String> {
    let values = [
        ("PORT", &*address.port().to_string()),
        ("TLS", tls),
        ("LOG", if setup.has_log { "access.log" } else { "off" }),
        ("MORE", more),
    ];
    filled(include_str!("tidegate.toml"), &values)
}

/// Tables of upstreams, all with one server.
pub(crate) fn upstreams(names: &[&str], server: SocketAddr) -> String {
    names.iter().map(|name| format!("[upstream.{name}]\nservers = [\"{server}\"]\n\n")).collect()
}

impl Site {
    /// `tls` of a listener.
    pub(crate) fn certificate_table(&self, setup: Setup) -> String {
        let (chain, key) = (shown(&self.certificate.chain), shown(&self.certificate.key));
        match setup.is_secure {
            true => format!("tls = {{ certificates = [{{ chain = \"{chain}\", key = \"{key}\" }}] }}"),
            false => String::new(),
        }
    }
}
