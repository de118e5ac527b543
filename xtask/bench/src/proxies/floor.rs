//! The floor, which is built with the bench.

use std::fs;
use std::path::Path;

use super::{Contender, Setup, Site, free_address, shown};
use crate::files;
use crate::terminal::Result;

pub(super) fn ready(floor: &Path, setup: Setup, site: &Site) -> Result<Contender> {
    if !floor.is_file() {
        return Err(format!("{} is not there: it is built with the bench", floor.display()));
    }
    let (address, folder) = (free_address()?, site.folder.join("floor"));
    fs::create_dir_all(&folder).map_err(|error| files::of(&folder, &error))?;
    let mut arguments = vec![address.to_string(), site.server.to_string()];
    if setup.is_secure {
        arguments.extend([shown(&site.certificate.chain), shown(&site.certificate.key)]);
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Ok(Contender::new("the floor", floor, &folder, &arguments, address))
}
