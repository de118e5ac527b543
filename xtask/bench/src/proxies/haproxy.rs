//! HAProxy.

use std::path::PathBuf;
use std::process::Command;

use super::{Behind, Contender, Setup, Site, filled, find_program, free_address, shown};
use crate::files::write;
use crate::terminal::{Result, output};

pub(super) struct Haproxy {
    program: PathBuf,
    name: String,
}

impl Haproxy {
    pub(super) fn find() -> Option<Self> {
        let program = find_program("haproxy", None)?;
        // `HAProxy version 2.6.12-1+deb12u3 2025/10/03 - …`
        let shown = output(Command::new(&program).arg("-v")).unwrap_or_default();
        let version = shown.split_whitespace().nth(2).and_then(|version| version.split('-').next());
        let name = version.map_or_else(|| "HAProxy".to_owned(), |version| format!("HAProxy {version}"));
        Some(Self { program, name })
    }

    pub(super) fn ready(&self, setup: Setup, site: &Site) -> Result<Contender> {
        let (address, folder) = (free_address()?, site.folder.join("haproxy"));
        let bind = match setup.is_secure {
            true => format!("{address} ssl crt {} alpn h2,http/1.1", shown(&site.certificate.both)),
            false => address.to_string(),
        };
        let server = match setup.behind {
            Behind::Grpc => format!("{} proto h2", site.grpc_server),
            Behind::Server | Behind::Files | Behind::Cache => site.server.to_string(),
        };
        let log = if setup.has_log { "log stdout format raw local0\n    option httplog" } else { "" };
        let values = [("BIND", &*bind), ("SERVER", &server), ("LOG", log)];
        let file = write(&folder, "haproxy.cfg", &filled(include_str!("haproxy.cfg"), &values)?)?;
        Ok(Contender::new(&self.name, &self.program, &folder, &["-db", "-f", &shown(&file)], address))
    }
}
