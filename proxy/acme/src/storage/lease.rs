//! The right of one proxy among several to be at something.
//!
//! A lease is a file that its holder touches while it works. One that has not been touched for [`EXPIRY`] may be taken over,
//! whatever is in it: its holder is gone. Ages are told by the clock of the file system alone, so the clocks of the machines
//! need not agree. In common ([`Common`]) it is a value with that lifetime. Should two proxies be at the same thing after all (a holder that was suspended, a file system that
//! promises what it does not keep), there is one certificate more.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Common, new_file, replace, temporary};

/// A lease that was not touched for so long is nobody's.
pub(crate) const EXPIRY: Duration = Duration::from_secs(20);
/// How often its holder touches it.
const TOUCH: Duration = Duration::from_secs(4);

/// Given back when it is dropped.
pub(crate) struct Lease {
    place: Place,
    /// Tells this holder from all others.
    holder: String,
}

enum Place {
    File(PathBuf),
    /// A value that goes by itself when nobody writes it again.
    Common {
        common: Arc<dyn Common>,
        key: String,
        /// When it was last written.
        touched: Mutex<Instant>,
    },
}

/// Another proxy has taken the lease over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost;

impl Lease {
    pub(super) fn take(folder: &Path, what: &str) -> io::Result<Option<Self>> {
        let path = folder.join(what);
        let holder = new_holder();
        // Once more after a lease of nobody's was put out of the way.
        for _ in 0..2 {
            match new_file(&path) {
                Ok(mut file) => {
                    file.write_all(holder.as_bytes())?;
                    return Ok(Some(Self { place: Place::File(path), holder }));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            if !put_aside(folder, &path)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    pub(super) fn take_in_common(common: &Arc<dyn Common>, what: &str) -> io::Result<Option<Self>> {
        let (key, holder) = (format!("lease/{what}"), new_holder());
        let touched = Mutex::new(Instant::now());
        if !common.replace(&key, None, holder.as_bytes(), Some(EXPIRY))? {
            return Ok(None);
        }
        let place = Place::Common { common: common.clone(), key, touched };
        Ok(Some(Self { place, holder }))
    }

    /// Whether it is still this one's, and will be for a while.
    pub(crate) fn touch(&self) -> bool {
        let holder = self.holder.as_bytes();
        match &self.place {
            Place::File(path) => is_held(path, holder) && replace(path, holder, super::Sync::No).is_ok(),
            Place::Common { common, key, touched } => {
                let now = Instant::now();
                let mut touched = touched.lock().unwrap_or_else(PoisonError::into_inner);
                match common.replace(key, Some(holder), holder, Some(EXPIRY)) {
                    Ok(is_ours) => {
                        *touched = now;
                        is_ours
                    }
                    // Nobody else can have it yet.
                    Err(_) => touched.elapsed() + TOUCH < EXPIRY,
                }
            }
        }
    }

    /// Does something, and touches the lease meanwhile. When the lease is lost, it is not done to its end.
    pub(crate) async fn hold<T>(&self, work: impl Future<Output = T>) -> Result<T, Lost> {
        let kept = async {
            loop {
                sleep(TOUCH).await;
                if !self.touch() {
                    return Lost;
                }
            }
        };
        tokio::select! {
            done = work => Ok(done),
            lost = kept => Err(lost),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let holder = self.holder.as_bytes();
        match &self.place {
            Place::File(path) if is_held(path, holder) => drop(fs::remove_file(path)),
            Place::File(_) => {}
            // Otherwise it goes by itself.
            Place::Common { common, key, .. } => {
                drop(common.replace(key, Some(holder), b"", Some(Duration::from_millis(1))));
            }
        }
    }
}

fn new_holder() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn is_held(path: &Path, by: &[u8]) -> bool {
    fs::read(path).is_ok_and(|holder| holder == by)
}

/// Takes a lease away that is nobody's; whether it did.
fn put_aside(folder: &Path, path: &Path) -> io::Result<bool> {
    if !is_old(folder, path)? {
        return Ok(false);
    }
    let aside = folder.join(temporary("old"));
    match fs::rename(path, &aside) {
        // Another proxy was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        renamed => renamed?,
    }
    // Or even faster, and what was taken away is its new one: it goes back, unless there is one again.
    let was_old = is_old(folder, &aside)?;
    if !was_old {
        let _ = fs::hard_link(&aside, path);
    }
    let _ = fs::remove_file(&aside);
    Ok(was_old)
}

fn is_old(folder: &Path, path: &Path) -> io::Result<bool> {
    let touched = match fs::metadata(path) {
        Ok(metadata) => metadata.modified()?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let probe = folder.join(temporary("clock"));
    let now = new_file(&probe).and_then(|file| file.metadata()).and_then(|metadata| metadata.modified());
    let _ = fs::remove_file(probe);
    Ok(now?.duration_since(touched).is_ok_and(|age| age > EXPIRY))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_one_has_it_until_it_is_given_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let take = || Lease::take(folder.path(), "a.test").expect("a folder to write to");
        let lease = take().expect("nobody has it");
        assert!(take().is_none());
        assert!(lease.touch());
        drop(lease);
        assert!(take().is_some());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left");
    }

    #[test]
    fn what_nobody_touches_is_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let take = || Lease::take(folder.path(), "a.test").expect("a folder to write to");
        let path = folder.path().join("a.test");
        // As a crash leaves it between two steps.
        fs::write(&path, "").expect("a file");
        assert!(take().is_none());
        let old = SystemTime::now() - EXPIRY - Duration::from_secs(2);
        fs::File::options().write(true).open(&path).expect("it is there").set_modified(old).expect("a file");
        let lease = take().expect("it is nobody's");
        assert!(take().is_none());

        fs::File::options().write(true).open(&path).expect("it is there").set_modified(old).expect("a file");
        let other = take().expect("its holder seems to be gone");
        assert!(!lease.touch(), "it has noticed");
        drop(lease);
        assert!(other.touch(), "what is another's is not given back");
    }
}
