//! Opens files below a root and nothing else, whatever the path and whatever others do to the directories
//! in the meantime: the kernel itself resolves the path within the root (`openat2`, Linux 5.6).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Whether opening may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Only with what the kernel has in memory (`RESOLVE_CACHED`, Linux 5.12).
    Cached,
    /// As long as it takes.
    Patient,
}

/// What becomes of symbolic links below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// They are not there.
    Refused,
    /// They are followed, out of the root as well.
    Followed,
}

/// Why nothing was opened.
#[derive(Debug)]
pub(super) enum Failure {
    /// [`Lookup::Cached`] does not suffice.
    WouldWait,
    /// There is nothing of that name, or it leads through a link that is not followed.
    Missing,
    /// The system does not let this process read it.
    Forbidden,
    /// The system could not.
    Io(io::Error),
}

/// The root. Opened for every request by its name: where that is a link which a deployment swaps, the next
/// request sees the new one, and no request sees half of each.
pub(super) fn root(path: &Path, lookup: Lookup) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match lookup {
        Lookup::Cached => openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED),
        Lookup::Patient => openat(CWD, path, flags, Mode::empty()),
    };
    opened.map_err(|error| match Failure::of(error, lookup) {
        // The root was there when the configuration was read: that it is not is no client's doing.
        Failure::Missing | Failure::Forbidden => Failure::Io(error.into()),
        other => other,
    })
}

/// The file or directory at `path`, which has no `..`, below `root`.
pub(super) fn below(root: &OwnedFd, path: &[u8], links: Links, lookup: Lookup) -> Result<OwnedFd, Failure> {
    let path = if path.is_empty() { b"." } else { path };
    // NONBLOCK: opening a FIFO would wait for a writer. NOCTTY: a terminal would become ours.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut resolve = match links {
        Links::Refused => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        Links::Followed => ResolveFlags::NO_MAGICLINKS,
    };
    if lookup == Lookup::Cached {
        resolve |= ResolveFlags::CACHED;
    }
    match openat2(root, path, flags, Mode::empty(), resolve) {
        // An old kernel, or a sandbox that knows of old kernels only.
        Err(Errno::NOSYS | Errno::PERM) if lookup == Lookup::Patient => {
            step_by_step(root, path, flags, links).map_err(|error| Failure::of(error, lookup))
        }
        opened => opened.map_err(|error| Failure::of(error, lookup)),
    }
}

/// The same without `openat2`: no step leads through a link, so none leads out.
fn step_by_step(root: &OwnedFd, path: &[u8], flags: OFlags, links: Links) -> rustix::io::Result<OwnedFd> {
    if links == Links::Followed {
        return openat(root, path, flags, Mode::empty());
    }
    let on_the_way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut names = path.split(|byte| *byte == b'/').peekable();
    let mut reached: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        if name == b".." {
            return Err(Errno::XDEV);
        }
        let last = names.peek().is_none();
        let flags = if last { flags | OFlags::NOFOLLOW } else { on_the_way };
        let from = reached.as_ref().unwrap_or(root);
        reached = Some(openat(from, name, flags, Mode::empty())?);
    }
    // Splitting gives one name at least.
    reached.ok_or(Errno::NOENT)
}

impl Failure {
    fn of(error: Errno, lookup: Lookup) -> Self {
        match error {
            // INVAL: a kernel that does not know `RESOLVE_CACHED`.
            Errno::AGAIN | Errno::NOSYS | Errno::PERM | Errno::INVAL if lookup == Lookup::Cached => {
                Self::WouldWait
            }
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::NODEV => Self::Missing,
            Errno::ACCESS | Errno::PERM => Self::Forbidden,
            other => Self::Io(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, fstat, mkfifoat};
    use tempfile::TempDir;

    use super::*;

    /// `top/www` is the root; `top/secret` is outside.
    fn place() -> (TempDir, OwnedFd) {
        let top = tempfile::tempdir().expect("a temporary folder");
        let www = top.path().join("www");
        fs::create_dir_all(www.join("a/b")).expect("a new folder");
        fs::write(www.join("a/b/file"), "inside").expect("a new file");
        fs::write(top.path().join("secret"), "outside").expect("a new file");
        symlink("../secret", www.join("out")).expect("a new link");
        symlink("a/b/file", www.join("in")).expect("a new link");
        symlink("a", www.join("dir")).expect("a new link");
        symlink("/", www.join("top")).expect("a new link");
        symlink("loop", www.join("loop")).expect("a new link");
        let root = root(&www, Lookup::Patient).expect("a directory");
        (top, root)
    }

    fn flags() -> OFlags {
        OFlags::RDONLY | OFlags::NONBLOCK
    }

    fn is_missing<T>(result: Result<T, Failure>) -> bool {
        matches!(result, Err(Failure::Missing))
    }

    #[test]
    fn nothing_leads_out_of_a_root() {
        let (_top, root) = place();
        for path in [
            "..",
            "../secret",
            "a/../../secret",
            "/etc/passwd",
            "out",
            "in",
            "dir/b/file",
            "top/etc/passwd",
            "loop",
        ] {
            let open = |lookup| below(&root, path.as_bytes(), Links::Refused, lookup);
            assert!(is_missing(open(Lookup::Patient)), "{path}");
            assert!(open(Lookup::Cached).is_err(), "{path}");
            let opened = step_by_step(&root, path.as_bytes(), flags(), Links::Refused);
            assert!(is_missing(opened.map_err(|error| Failure::of(error, Lookup::Patient))), "{path}");
        }
        assert!(below(&root, b"a/b/file", Links::Refused, Lookup::Patient).is_ok());
        assert!(step_by_step(&root, b"a/b/file", flags(), Links::Refused).is_ok());
        assert!(below(&root, b"", Links::Refused, Lookup::Patient).is_ok());
    }

    #[test]
    fn links_are_followed_where_that_is_wanted() {
        let (_top, root) = place();
        for path in ["out", "in", "dir/b/file"] {
            assert!(below(&root, path.as_bytes(), Links::Followed, Lookup::Patient).is_ok(), "{path}");
            assert!(step_by_step(&root, path.as_bytes(), flags(), Links::Followed).is_ok(), "{path}");
        }
        assert!(is_missing(below(&root, b"loop", Links::Followed, Lookup::Patient)));
    }

    #[test]
    fn a_link_of_the_kernels_is_followed_by_nobody() {
        let (top, root) = place();
        symlink("/proc/self/cwd", top.path().join("www/magic")).expect("a new link");
        assert!(is_missing(below(&root, b"magic", Links::Followed, Lookup::Patient)));
    }

    #[test]
    fn a_fifo_keeps_nobody_waiting() {
        let (top, root) = place();
        mkfifoat(CWD, top.path().join("www/fifo"), Mode::RUSR | Mode::WUSR).expect("a new FIFO");
        let opened = below(&root, b"fifo", Links::Refused, Lookup::Patient).expect("it opens");
        let kind = FileType::from_raw_mode(fstat(&opened).expect("an open file").st_mode);
        assert_eq!(kind, FileType::Fifo);
    }

    #[test]
    fn a_root_that_vanished_is_no_missing_file() {
        let gone = root(Path::new("/nowhere/at/all"), Lookup::Patient);
        assert!(matches!(gone, Err(Failure::Io(_))));
    }
}
