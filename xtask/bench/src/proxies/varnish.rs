//! Varnish, as a cache in memory.

use std::path::PathBuf;
use std::process::Command;

use super::{Contender, Site, find_program, free_address, shown};
use crate::files;
use crate::terminal::{Result, output};

pub(super) struct Varnish {
    program: PathBuf,
    name: String,
}

impl Varnish {
    pub(super) fn find() -> Option<Self> {
        let program = find_program("varnishd", None)?;
        // `varnishd (varnish-7.1.1 revision …)`, to stderr.
        let shown = output(Command::new("sh").arg("-c").arg("exec \"$0\" -V 2>&1").arg(&program));
        let shown = shown.unwrap_or_default();
        let version = shown.split_once("varnish-").and_then(|(_, rest)| rest.split_whitespace().next());
        let name = version.map_or_else(|| "Varnish".to_owned(), |version| format!("Varnish {version}"));
        Some(Self { program, name })
    }

    /// Its log in shared memory is a part of it, and stays on; who reads that is not there.
    pub(super) fn ready(&self, site: &Site) -> Result<Contender> {
        let (address, folder) = (free_address()?, site.folder.join("varnish"));
        std::fs::create_dir_all(&folder).map_err(|error| files::of(&folder, &error))?;
        let (listen, server) = (address.to_string(), site.server.to_string());
        let work = shown(&folder.join("work"));
        let arguments = [
            "-F",
            "-n",
            &work,
            "-a",
            &listen,
            "-b",
            &server,
            "-s",
            "default,256m",
            "-p",
            "default_ttl=3600",
            "-j",
            "none",
        ];
        Ok(Contender::new(&self.name, &self.program, &folder, &arguments, address))
    }
}
