//! The directory where accounts, keys and certificates live, and where proxies that share it meet.
//!
//! ```text
//! accounts/HOST-DIGEST.json     the key of an account, for each authority
//! certificates/NAME.pem         key and chain
//! renewals/NAME.json            when the next one is due, and what failed
//! on-demand/NAME                a name that a client asked for
//! challenges/KIND/KEY           what an authority is answered
//! leases/NAME                   who is at it
//! tickets.json                  what session tickets are sealed with
//! ```
//!
//! A file is written beside its place and renamed: whoever reads finds the old one or the new one, and of a certificate
//! never a key without its chain.

mod common;
mod lease;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::common::Changes;
pub use self::common::Common;
pub(crate) use self::lease::Lease;
use crate::record::Record;
use crate::tickets::TicketSecret;
use crate::{At, ChallengeKind, Stored};

/// No file in it is larger: a chain is some KiB.
const LARGEST: u64 = 1 << 20;

const FOLDERS: [&str; 7] = [
    "accounts",
    "certificates",
    "renewals",
    "challenges/http-01",
    "challenges/tls-alpn-01",
    "leases",
    "on-demand",
];

/// The directory, and what its proxies have in common beside it. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    path: Arc<Path>,
    common: Option<Arc<dyn Common>>,
}

impl PartialEq for Storage {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.common.is_some() == other.common.is_some()
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

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
        Self { path: path.into(), common: None }
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
        let storage = Self::at(path);
        let probe = storage.path.join("leases").join(temporary("probe"));
        new_file(&probe)?;
        fs::remove_file(probe)?;
        Ok(storage)
    }

    /// The same, of proxies that meet elsewhere.
    #[must_use]
    pub fn with_common(self, common: Option<Arc<dyn Common>>) -> Self {
        Self { common, ..self }
    }

    /// Removes what proxies that were killed have left.
    pub(crate) fn tidy(&self) {
        const LEFT: Duration = Duration::from_secs(24 * 3600);
        for folder in FOLDERS {
            let entries = fs::read_dir(self.path.join(folder)).into_iter().flatten().flatten();
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
        &self.path
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
        fs::metadata(self.path.join("certificates")).and_then(|metadata| metadata.modified()).ok()
    }

    pub(crate) fn set_certificate(&self, name: &str, certificate: &Stored) -> io::Result<()> {
        replace(&self.certificate_path(name), certificate.pem(), Sync::Yes)?;
        match &self.common {
            Some(common) => publish(&**common, name, certificate),
            None => Ok(()),
        }
    }

    /// Which certificates changed, for proxies that meet elsewhere.
    pub(crate) fn changes(&self) -> io::Result<Option<Changes>> {
        self.common.as_ref().map(|common| Changes::read(&**common)).transpose()
    }

    /// Has the better one of the certificate that the proxies have in common and the one that is here in both places.
    pub(crate) fn reconcile(&self, name: &str) -> io::Result<()> {
        let Some(common) = &self.common else { return Ok(()) };
        let here = self.certificate(name).unwrap_or_default();
        let there = common.get(&certificate_key(name))?.and_then(|pem| Stored::parse(pem).ok());
        match (here, there.filter(|there| there.has_name(name))) {
            (here, Some(there)) if here.as_ref().is_none_or(|here| here.not_after() < there.not_after()) => {
                replace(&self.certificate_path(name), there.pem(), Sync::Yes)
            }
            (Some(here), there)
                if there.as_ref().is_none_or(|there| there.not_after() < here.not_after()) =>
            {
                publish(&**common, name, &here)
            }
            _ => Ok(()),
        }
    }

    fn certificate_path(&self, name: &str) -> PathBuf {
        self.path.join("certificates").join(format!("{}.pem", stem(name)))
    }

    /// What is remembered of a name: nothing if it cannot be read.
    pub(crate) fn record(&self, name: &str) -> Record {
        let there = self.common.as_ref().and_then(|common| common.get(&record_key(name)).ok().flatten());
        let text = there.or_else(|| read(&self.record_path(name)).ok().flatten());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    pub(crate) fn set_record(&self, name: &str, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        replace(&self.record_path(name), &text, Sync::No)?;
        match &self.common {
            Some(common) => common.set(&record_key(name), &text, Some(PASSING)),
            None => Ok(()),
        }
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.path.join("renewals").join(format!("{}.json", stem(name)))
    }

    /// The names that clients asked for.
    pub(crate) fn demanded(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path.join("on-demand")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Remembers that a client asked for a name.
    pub(crate) fn set_demanded(&self, name: &str) -> io::Result<()> {
        replace(&self.path.join("on-demand").join(name), b"", Sync::No)
    }

    /// Forgets a name that a client asked for, with all that there is of it.
    pub(crate) fn forget(&self, name: &str) {
        for path in
            [self.path.join("on-demand").join(name), self.certificate_path(name), self.record_path(name)]
        {
            let _ = fs::remove_file(path);
        }
    }

    pub(crate) fn account(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        let here = read(&self.account_path(key))?;
        let Some(common) = &self.common else { return Ok(here) };
        let there = common.get(&account_key(key))?;
        match (here, there) {
            (Some(here), None) => {
                common.replace(&account_key(key), None, &here, None)?;
                Ok(Some(here))
            }
            (here, Some(there)) => {
                if here.as_ref() != Some(&there) {
                    replace(&self.account_path(key), &there, Sync::Yes)?;
                }
                Ok(Some(there))
            }
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn set_account(&self, key: &str, text: &[u8]) -> io::Result<()> {
        replace(&self.account_path(key), text, Sync::Yes)?;
        match &self.common {
            Some(common) => common.set(&account_key(key), text, None),
            None => Ok(()),
        }
    }

    /// Puts an account aside that the authority does not know.
    pub(crate) fn forget_account(&self, key: &str) {
        let path = self.account_path(key);
        // If it is not there, another proxy was faster.
        let _ = fs::rename(&path, path.with_extension("unknown"));
        if let Some(common) = &self.common {
            let _ = common.remove(&account_key(key));
        }
    }

    fn account_path(&self, key: &str) -> PathBuf {
        self.path.join("accounts").join(format!("{key}.json"))
    }

    pub(crate) fn ticket_secrets(&self) -> Result<Vec<TicketSecret>, String> {
        let path = self.path.join("tickets.json");
        let text = match &self.common {
            Some(common) => common.get(TICKETS),
            None => read(&path),
        };
        let text = text.map_err(|error| error.to_string())?;
        // No message repeats anything of it.
        text.map_or(Ok(Vec::new()), |text| serde_json::from_slice(&text))
            .map_err(|_| format!("{} cannot be read", path.display()))
    }

    pub(crate) fn set_ticket_secrets(&self, secrets: &[TicketSecret]) -> io::Result<()> {
        let text = serde_json::to_vec(secrets)?;
        match &self.common {
            Some(common) => common.set(TICKETS, &text, None),
            None => replace(&self.path.join("tickets.json"), &text, Sync::Yes),
        }
    }

    /// `key` is a token or a name, which the caller has looked at.
    pub(crate) fn challenge(&self, kind: ChallengeKind, key: &str) -> Option<String> {
        let text = match &self.common {
            Some(common) => common.get(&challenge_key(kind, key)),
            None => read(&self.challenge_path(kind, key)),
        };
        String::from_utf8(text.ok().flatten()?).ok()
    }

    pub(crate) fn set_challenge(&self, kind: ChallengeKind, key: &str, answer: &str) -> io::Result<()> {
        match &self.common {
            Some(common) => common.set(&challenge_key(kind, key), answer.as_bytes(), Some(ANSWERED)),
            None => replace(&self.challenge_path(kind, key), answer.as_bytes(), Sync::No),
        }
    }

    pub(crate) fn remove_challenge(&self, kind: ChallengeKind, key: &str) {
        // What is not removed goes by itself.
        let _ = match &self.common {
            Some(common) => common.remove(&challenge_key(kind, key)),
            None => fs::remove_file(self.challenge_path(kind, key)),
        };
    }

    fn challenge_path(&self, kind: ChallengeKind, key: &str) -> PathBuf {
        self.path.join("challenges").join(kind.to_string()).join(key)
    }

    /// The right to be the only one at something; `None` while another proxy has it.
    pub(crate) fn lease(&self, what: &str) -> io::Result<Option<Lease>> {
        match &self.common {
            Some(common) => Lease::take_in_common(common, what),
            None => Lease::take(&self.path.join("leases"), &stem(what)),
        }
    }
}

/// Shows the others a certificate.
fn publish(common: &dyn Common, name: &str, certificate: &Stored) -> io::Result<()> {
    let lifetime = certificate.not_after().since(At::now()) + PASSING;
    common.set(&certificate_key(name), certificate.pem(), Some(lifetime))?;
    Changes::add(common, name)
}

/// How long what was of use is kept in common.
const PASSING: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long an answer to an authority is.
const ANSWERED: Duration = Duration::from_secs(24 * 3600);

const TICKETS: &str = "tickets";

fn certificate_key(name: &str) -> String {
    format!("certificate/{name}")
}

fn record_key(name: &str) -> String {
    format!("renewal/{name}")
}

fn account_key(key: &str) -> String {
    format!("account/{key}")
}

fn challenge_key(kind: ChallengeKind, key: &str) -> String {
    format!("challenge/{kind}/{key}")
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
        let certificate = |name: &str| {
            let pem = crate::self_signed(&[name.to_owned()]).expect("a certificate");
            Stored::parse(pem).expect("a certificate of ours")
        };
        let of_a = certificate("a.test");
        storage.set_certificate("a.test", &of_a).expect("it is written");
        storage.set_record("a.test", &Record { replaces_failed: true, ..Record::default() }).expect("it is");
        assert_eq!(storage.certificate("a.test").expect("it is read").expect("it is there"), of_a);
        assert!(storage.record("a.test").replaces_failed && !storage.record("b.test").replaces_failed);
        assert_eq!(storage.certificate("b.test"), Ok(None));
        storage.set_certificate("*.w.test", &certificate("*.w.test")).expect("it is written");
        assert!(folder.path().join("deep/acme/certificates/_.w.test.pem").exists());
        assert!(storage.certificate("*.w.test").expect("it is read").is_some());
        storage.set_certificate("b.test", &of_a).expect("it is written");
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
