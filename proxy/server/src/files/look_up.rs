//! From the path of a file below a root to the open file that is sent: directories, their index, compressed
//! siblings and the fallback.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, fstat};
use tidegate_message::Coding;
use tidegate_message::conditional::Modified;

use super::Root;
use super::open::{self, Failure, Links, Lookup};
use super::path::Wanted;
use super::sibling::{self, Preferences};

/// What is at a path.
#[derive(Debug)]
pub(super) enum Found {
    File(Representation),
    /// What is sent in place of what is missing, with 404.
    Instead(Representation),
    /// A directory that has an index, asked for without its slash.
    Directory,
    Missing,
    Forbidden,
}

/// An open file in the form that the client gets (RFC 9110 §3.2).
#[derive(Debug)]
pub(super) struct Representation {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) modified: Modified,
    /// When anything about it was changed.
    pub(super) touched: Modified,
    /// Of the file itself, even if a sibling is open: its name tells the media type.
    pub(super) path: Vec<u8>,
    pub(super) coding: Option<Coding>,
    /// Another client may get another form.
    pub(super) varies: bool,
}

/// Something that was opened.
enum Opened {
    File(OpenFile),
    Directory,
    /// Devices, FIFOs, sockets: not served.
    Other,
}

struct OpenFile {
    descriptor: OwnedFd,
    size: u64,
    modified: Modified,
    touched: Modified,
}

/// What can go wrong that is neither the client's nor the operator's doing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// [`Lookup::Cached`] does not suffice.
    WouldWait,
    Io(io::Error),
}

/// Looks for `wanted`, and for what stands for it; `is_page`: the client may be after a page. Blocks for as long as `lookup` allows.
pub(super) fn look_up(
    root: &Root,
    wanted: &Wanted,
    accepted: Preferences,
    is_page: bool,
    lookup: Lookup,
) -> Result<Found, Trouble> {
    let directory = open::root(&root.path, lookup).map_err(trouble)?;
    let here = Here { root, directory, accepted, lookup };
    let found = match here.open(&wanted.path)? {
        Ok(Opened::File(file)) if !wanted.directory => here.represent(file, wanted.path.clone())?,
        Ok(Opened::Directory) => here.index(wanted)?,
        Ok(Opened::File(_) | Opened::Other) => Found::Missing,
        Err(found) => found,
    };
    if !matches!(found, Found::Missing) {
        return Ok(found);
    }
    let fallback = root.fallback.as_ref().filter(|_| root.fallback_for_all || is_page);
    let instead = match (fallback, &root.not_found) {
        (Some(path), _) => match here.stand_in(path)? {
            Found::Missing => root.not_found.as_ref(),
            found => return Ok(found),
        },
        (None, not_found) => not_found.as_ref(),
    };
    Ok(match instead.map(|path| here.stand_in(path)).transpose()? {
        Some(Found::File(page)) => Found::Instead(page),
        Some(_) | None => Found::Missing,
    })
}

fn trouble(failure: Failure) -> Trouble {
    match failure {
        Failure::WouldWait => Trouble::WouldWait,
        Failure::Io(error) => Trouble::Io(error),
        // Of a root these are Io already.
        Failure::Missing => Trouble::Io(io::ErrorKind::NotFound.into()),
        Failure::Forbidden => Trouble::Io(io::ErrorKind::PermissionDenied.into()),
    }
}

/// One look-up in an open root.
struct Here<'r> {
    root: &'r Root,
    directory: OwnedFd,
    accepted: Preferences,
    lookup: Lookup,
}

impl Here<'_> {
    /// Inner `Err`: what there is in place of an open file.
    fn open(&self, path: &[u8]) -> Result<Result<Opened, Found>, Trouble> {
        let links = if self.root.follow_symlinks { Links::Followed } else { Links::Refused };
        let descriptor = match open::below(&self.directory, path, links, self.lookup) {
            Ok(descriptor) => descriptor,
            Err(Failure::Missing) => return Ok(Err(Found::Missing)),
            Err(Failure::Forbidden) => return Ok(Err(Found::Forbidden)),
            Err(failure) => return Err(trouble(failure)),
        };
        // The kernel has the answer in memory once a file is open.
        let stat = fstat(&descriptor).map_err(|error| Trouble::Io(error.into()))?;
        Ok(Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Opened::File(OpenFile {
                descriptor,
                size: u64::try_from(stat.st_size).unwrap_or(0),
                modified: Modified {
                    seconds: stat.st_mtime,
                    nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
                },
                touched: Modified {
                    seconds: stat.st_ctime,
                    nanoseconds: u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
                },
            }),
            FileType::Directory => Opened::Directory,
            _ => Opened::Other,
        }))
    }

    /// A file that stands for another.
    fn stand_in(&self, path: &[u8]) -> Result<Found, Trouble> {
        match self.open(path)? {
            Ok(Opened::File(file)) => self.represent(file, path.to_vec()),
            Ok(Opened::Directory | Opened::Other) => Ok(Found::Missing),
            Err(found) => Ok(found),
        }
    }

    /// The index of a directory, if it has one and was asked for with its slash.
    fn index(&self, wanted: &Wanted) -> Result<Found, Trouble> {
        for name in &self.root.index {
            let mut path = wanted.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            match self.open(&path)? {
                Ok(Opened::File(file)) if wanted.directory => return self.represent(file, path),
                Ok(Opened::File(_)) => return Ok(Found::Directory),
                Ok(Opened::Directory | Opened::Other) | Err(Found::Missing) => {}
                Err(found) => return Ok(found),
            }
        }
        Ok(Found::Missing)
    }

    /// The form of a file that this client gets.
    fn represent(&self, file: OpenFile, path: Vec<u8>) -> Result<Found, Trouble> {
        let mut varies = false;
        if self.root.precompressed {
            for coding in self.accepted.iter() {
                if let Some(sibling) = self.sibling(&file, &path, coding)? {
                    return Ok(Found::File(sibling.into_representation(path, Some(coding), true)));
                }
            }
            // Whether another client would get another form: caches have to know.
            for coding in sibling::CODINGS.into_iter().filter(|coding| !self.accepted.has(*coding)) {
                varies = varies || self.sibling(&file, &path, coding)?.is_some();
            }
        }
        Ok(Found::File(file.into_representation(path, None, varies)))
    }

    /// The sibling with this coding, unless it is older than its file: a deployment that forgot it would
    /// otherwise be half of the old and half of the new. In whole seconds, as some compressors copy the time
    /// of the file without the rest.
    fn sibling(&self, file: &OpenFile, path: &[u8], coding: Coding) -> Result<Option<OpenFile>, Trouble> {
        let Some(suffix) = sibling::suffix(coding) else { return Ok(None) };
        let path = [path, suffix.as_bytes()].concat();
        Ok(match self.open(&path)? {
            Ok(Opened::File(sibling)) => {
                Some(sibling).filter(|sibling| sibling.modified.seconds >= file.modified.seconds)
            }
            _ => None,
        })
    }
}

impl OpenFile {
    fn into_representation(self, path: Vec<u8>, coding: Option<Coding>, varies: bool) -> Representation {
        let Self { descriptor, size, modified, touched } = self;
        Representation { file: descriptor.into(), size, modified, touched, path, coding, varies }
    }
}
