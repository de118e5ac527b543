//! The directory where accounts, keys and certificates live, and where proxies that share it meet.
//!
//! ```text
//! accounts/HOST-DIGEST.json     the key of an account, for each authority
//! certificates/NAME.pem         key and chain
//! renewals/NAME.json            when the next one is due, and what failed
//! challenges/KIND/KEY           what an authority is answered
//! leases/NAME                   who is at it
//! tickets.json                  what session tickets are sealed with
//! ```
//!
//! A file is written beside its place and renamed: whoever reads finds the old one or the new one, and of a certificate
//! never a key without its chain.

mod lease;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use self::lease::Lease;
use crate::record::Record;
use crate::tickets::TicketSecret;
use crate::{ChallengeKind, Stored};

/// No file in it is larger: a chain is some KiB.
const LARGEST: u64 = 1 << 20;

const FOLDERS: [&str; 6] =
    ["accounts", "certificates", "renewals", "challenges/http-01", "challenges/tls-alpn-01", "leases"];

/// The directory. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage(Arc<Path>);

/// Which of its versions a file is, as far as can be told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Storage {
    /// The directory as it is, for reading.
    pub fn at(path: &Path) -> Self {
        Self(path.into())
    }

    /// Makes what is missing of it, for nobody else to read.
    ///
    /// # Errors
    ///
    /// It cannot be made, or not be written to.
    pub fn open(path: &Path) -> io::Result<Self> {
        for folder in FOLDERS {
            DirBuilder::new().recursive(true).mode(0o700).create(path.join(folder))?;
        }
        let storage = Self(path.into());
        let probe = storage.0.join("leases").join(temporary("probe"));
        new_file(&probe)?;
        fs::remove_file(probe)?;
        Ok(storage)
    }

    /// Removes what proxies that were killed have left.
    pub(crate) fn tidy(&self) {
        const LEFT: Duration = Duration::from_secs(24 * 3600);
        for folder in FOLDERS {
            let entries = fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
            for entry in entries {
                let is_passing = folder.starts_with("challenges") || folder == "leases";
                let is_temporary = entry.file_name().as_encoded_bytes().starts_with(b".");
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT));
                if is_old && (is_passing || is_temporary) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The certificate of a name, if there is one.
    ///
    /// # Errors
    ///
    /// There is something else in its place.
    pub fn certificate(&self, name: &str) -> Result<Option<Stored>, String> {
        let path = self.certificate_path(name);
        let problem = |error: String| format!("{}: {error}", path.display());
        let Some(pem) = read(&path).map_err(|error| problem(error.to_string()))? else { return Ok(None) };
        let stored = Stored::parse(pem).map_err(problem)?;
        if !stored.has_name(name) {
            return Err(problem(format!("this certificate is not for {name}")));
        }
        Ok(Some(stored))
    }

    pub(crate) fn certificate_version(&self, name: &str) -> Option<Version> {
        let metadata = fs::metadata(self.certificate_path(name)).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Version { inode: metadata.ino(), size: metadata.size(), modified })
    }

    /// When a certificate was last put in, by whichever proxy.
    pub(crate) fn certificates_changed(&self) -> Option<SystemTime> {
        fs::metadata(self.0.join("certificates")).and_then(|metadata| metadata.modified()).ok()
    }

    pub(crate) fn set_certificate(&self, name: &str, pem: &[u8]) -> io::Result<()> {
        replace(&self.certificate_path(name), pem, Sync::Yes)
    }

    fn certificate_path(&self, name: &str) -> PathBuf {
        self.0.join("certificates").join(format!("{}.pem", stem(name)))
    }

    /// What is remembered of a name: nothing if it cannot be read.
    pub(crate) fn record(&self, name: &str) -> Record {
        let text = read(&self.record_path(name)).ok().flatten();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    pub(crate) fn set_record(&self, name: &str, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        replace(&self.record_path(name), &text, Sync::No)
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.0.join("renewals").join(format!("{}.json", stem(name)))
    }

    pub(crate) fn account(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        read(&self.account_path(key))
    }

    pub(crate) fn set_account(&self, key: &str, text: &[u8]) -> io::Result<()> {
        replace(&self.account_path(key), text, Sync::Yes)
    }

    /// Puts an account aside that the authority does not know.
    pub(crate) fn forget_account(&self, key: &str) {
        let path = self.account_path(key);
        // If it is not there, another proxy was faster.
        let _ = fs::rename(&path, path.with_extension("unknown"));
    }

    fn account_path(&self, key: &str) -> PathBuf {
        self.0.join("accounts").join(format!("{key}.json"))
    }

    pub(crate) fn ticket_secrets(&self) -> Result<Vec<TicketSecret>, String> {
        let path = self.0.join("tickets.json");
        let text = read(&path).map_err(|error| error.to_string())?;
        // No message repeats anything of it.
        text.map_or(Ok(Vec::new()), |text| serde_json::from_slice(&text))
            .map_err(|_| format!("{} cannot be read", path.display()))
    }

    pub(crate) fn set_ticket_secrets(&self, secrets: &[TicketSecret]) -> io::Result<()> {
        replace(&self.0.join("tickets.json"), &serde_json::to_vec(secrets)?, Sync::Yes)
    }

    /// `key` is a token or a name, which the caller has looked at.
    pub(crate) fn challenge(&self, kind: ChallengeKind, key: &str) -> Option<String> {
        let text = read(&self.challenge_path(kind, key)).ok().flatten()?;
        String::from_utf8(text).ok()
    }

    pub(crate) fn set_challenge(&self, kind: ChallengeKind, key: &str, answer: &str) -> io::Result<()> {
        replace(&self.challenge_path(kind, key), answer.as_bytes(), Sync::No)
    }

    pub(crate) fn remove_challenge(&self, kind: ChallengeKind, key: &str) {
        let _ = fs::remove_file(self.challenge_path(kind, key));
    }

    fn challenge_path(&self, kind: ChallengeKind, key: &str) -> PathBuf {
        self.0.join("challenges").join(kind.to_string()).join(key)
    }

    /// The right to be the only one at something; `None` while another proxy has it.
    pub(crate) fn lease(&self, what: &str) -> io::Result<Option<Lease>> {
        Lease::take(&self.0.join("leases"), &stem(what))
    }
}

/// What files of a name are called: `_` in place of `*`, which shells take for something else, and which no name has.
fn stem(name: &str) -> String {
    name.replace('*', "_")
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= LARGEST => match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        },
        Ok(_) => Err(io::Error::other("this is not a file of the proxy's")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(PartialEq)]
enum Sync {
    Yes,
    No,
}

/// Whoever reads finds the old content or the new one.
fn replace(path: &Path, content: &[u8], sync: Sync) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(temporary(&name));
    let written = new_file(&beside).and_then(|mut file| {
        file.write_all(content)?;
        if sync == Sync::Yes { file.sync_all() } else { Ok(()) }
    });
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A name that nobody else takes, of files on their way. Only its beginning is taken from `name`: names of files are bounded.
fn temporary(name: &str) -> String {
    let short: String = name.chars().take(64).collect();
    format!(".{short}.{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_stored_is_for_nobody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(&folder.path().join("deep/acme")).expect("it is made");
        let pem = crate::self_signed(&["a.test".to_owned()]).expect("a certificate");
        storage.set_certificate("a.test", &pem).expect("it is written");
        storage.set_record("a.test", &Record { replaces_failed: true, ..Record::default() }).expect("it is");
        assert_eq!(storage.certificate("a.test").expect("it is read").expect("it is there").pem(), pem);
        assert!(storage.record("a.test").replaces_failed && !storage.record("b.test").replaces_failed);
        assert_eq!(storage.certificate("b.test"), Ok(None));
        let pem = crate::self_signed(&["*.w.test".to_owned()]).expect("a certificate");
        storage.set_certificate("*.w.test", &pem).expect("it is written");
        assert!(folder.path().join("deep/acme/certificates/_.w.test.pem").exists());
        assert!(storage.certificate("*.w.test").expect("it is read").is_some());
        let pem = crate::self_signed(&["a.test".to_owned()]).expect("a certificate");
        storage.set_certificate("b.test", &pem).expect("it is written");
        assert!(storage.certificate("b.test").expect_err("another name").contains("not for b.test"));
        let mode = |path: &str| {
            fs::metadata(storage.path().join(path)).expect("it is there").permissions().mode() & 0o777
        };
        assert_eq!((mode("certificates"), mode("certificates/a.test.pem")), (0o700, 0o600));
        let left: Vec<_> = fs::read_dir(storage.path().join("certificates")).expect("a folder").collect();
        assert_eq!(left.len(), 3, "nothing is left beside them: {left:?}");
    }

    #[test]
    fn a_broken_file_is_told_and_overcome() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(folder.path()).expect("it is made");
        fs::write(folder.path().join("certificates/a.test.pem"), "").expect("a file");
        fs::write(folder.path().join("renewals/a.test.json"), "{").expect("a file");
        assert!(storage.certificate("a.test").is_err());
        assert_eq!(storage.record("a.test"), Record::default());
        fs::create_dir(folder.path().join("certificates/b.test.pem")).expect("a folder");
        assert!(storage.certificate("b.test").is_err());
    }
}
