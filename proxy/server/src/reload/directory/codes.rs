//! The code of plugins as it was read, for as long as a scan is repeated: a hundred plugins that are loaded one after
//! the other are not read a hundred times each.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::regular;
use crate::reload::watch::{Stat, stat};

/// A file that has not changed for this long when it is read looks different after the next change: the clocks of file
/// systems are coarse, but not that coarse.
const OLD: Duration = Duration::from_secs(1);

pub(super) type Hash = [u8; 32];

#[derive(Default)]
pub(super) struct Codes(HashMap<PathBuf, (Stat, Code)>);

/// What is in a file.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) bytes: Arc<[u8]>,
    pub(super) hash: Hash,
}

impl Codes {
    /// What is in the file now.
    ///
    /// # Errors
    /// Those of [`regular::read`].
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Code> {
        // Before it is read: what changes meanwhile looks different afterwards.
        let now = stat(path);
        if let (Some((then, code)), Some(now)) = (self.0.get(path), now)
            && *then == now
        {
            return Ok(code.clone());
        }
        let bytes = regular::read(path)?;
        let code = Code { hash: Sha256::digest(&bytes).into(), bytes: bytes.into() };
        if let Some(now) = now.filter(|now| now.is_older_than(OLD)) {
            self.0.insert(path.to_owned(), (now, code.clone()));
        }
        Ok(code)
    }

    /// A scan came to its end.
    pub(super) fn forget(&mut self) {
        self.0 = HashMap::new();
    }
}
