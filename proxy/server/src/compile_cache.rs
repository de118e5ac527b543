//! Where compiled plugins are kept between starts.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tidegate_config::{CompileCache, Config, Problem};
use tidegate_plugin_host::{Host, HostError, Services};

/// Others that may write: group and world.
const OTHERS: u32 = 0o022;
/// Only the owner of a file may rename it.
const STICKY: u32 = 0o1000;

/// The sandbox with the cache that the configuration names, or without one. A problem is of the cache alone: plugins are then
/// compiled at each start.
pub(crate) fn host(config: &Config, services: Services) -> Result<(Host, Option<Problem>), HostError> {
    let named = match &config.compile_cache {
        CompileCache::Off => return Ok((Host::new(services)?, None)),
        CompileCache::Directory(directory) => Some(directory.clone()),
        CompileCache::System => None,
    };
    let Some(directory) = named.clone().or_else(of_system) else { return Ok((Host::new(services)?, None)) };
    let error = match usable(&directory) {
        Ok(directory) => match Host::with_cache(services.clone(), &directory) {
            Err(HostError::Cache(error)) => error,
            result => return Ok((result?, None)),
        },
        Err(error) => error.to_string(),
    };
    let message = format!("{} cannot keep compiled plugins: {error}", directory.display());
    // Where nobody asked for one, a read-only home is as it should be.
    if named.is_none() && std::env::var_os("CACHE_DIRECTORY").is_some() {
        tracing::warn!(target: "plugins", "$CACHE_DIRECTORY: {message}; they are compiled at each start");
    }
    let problem = named.map(|_| Problem {
        help: Some("give it to the user that runs the proxy, mode 0700, or write \"off\"".to_owned()),
        ..config.positions.problem("plugins.compile-cache", message)
    });
    Ok((Host::new(services)?, problem))
}

/// Where caches are kept for whoever runs this.
fn of_system() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // systemd names several with colons between them.
    let of_service =
        variable("CACHE_DIRECTORY").and_then(|all| all.to_str()?.split(':').next().map(PathBuf::from));
    of_service
        .or_else(|| variable("XDG_CACHE_HOME").map(|caches| caches.join("tidegate")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/tidegate")))
        .filter(|directory| directory.is_absolute())
}

/// The absolute path of the directory, which is made if there is none. Code that is found there is run, so it must be out of
/// others' reach.
fn usable(directory: &Path) -> io::Result<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let directory = directory.canonicalize()?;
    let metadata = directory.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(io::Error::other("others may write to it"));
    }
    // Who may write to the directory above may put another in its place, unless it is sticky (as /tmp is).
    let above = directory.parent().map(Path::metadata).transpose()?;
    if above.is_some_and(|above| above.mode() & OTHERS != 0 && above.mode() & STICKY == 0) {
        return Err(io::Error::other("others may write to the directory that it is in"));
    }
    // Below it nobody else gets, whatever mode is given to what is made there.
    let modules = directory.join("modules");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&modules)?;
    std::fs::set_permissions(&modules, std::fs::Permissions::from_mode(0o700))?;
    Ok(directory)
}
