//! What is in memory on file systems that do not say so (`RWF_NOWAIT`): tmpfs, and overlayfs as containers have it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::fs::fstatfs;
use tidegate_io::Millis;

/// A file that was read from its disk so lately is read by the worker itself: the kernel keeps what was read last. It
/// may be wrong under memory pressure, and the worker then waits for one disk read.
const LATELY: Duration = Duration::from_secs(10);
/// Larger files are worth the way to another thread and back, which costs 10 to 15 µs.
const SMALL: u64 = 256 << 10;
/// Files that a worker remembers at most.
const MOST: usize = 1024;

/// File systems that are memory and nothing else (statfs(2)).
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

thread_local! {
    /// When files were read last, by device and inode.
    static READ: RefCell<HashMap<(u64, u64), Millis>> = RefCell::default();
}

/// Whether all of a file is in memory, for certain or nearly so.
pub(super) fn holds(file: &File) -> bool {
    let is_memory = fstatfs(file).is_ok_and(|system| matches!(system.f_type, TMPFS | RAMFS));
    is_memory || small(file).is_some_and(|id| READ.with_borrow(|read| read.get(&id).is_some_and(is_late)))
}

/// Notes that a file was read to its end.
pub(super) fn note(file: &File) {
    let Some(id) = small(file) else { return };
    READ.with_borrow_mut(|read| {
        if read.len() >= MOST {
            read.retain(|_, last| is_late(last));
        }
        if read.len() < MOST {
            read.insert(id, Millis::now());
        }
    });
}

fn is_late(last: &Millis) -> bool {
    Millis::now().time_since(*last) < LATELY
}

/// Which file it is, if it is a small one.
fn small(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok()?;
    (metadata.len() <= SMALL).then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_is_in_memory_once_it_was_read() {
        // Wherever temporary files are: on a file system that is memory there is nothing to learn.
        let file = tempfile::tempfile().expect("a temporary file");
        let is_memory = holds(&file);
        note(&file);
        assert!(holds(&file));
        file.set_len(SMALL + 1).expect("a writable file");
        assert_eq!(holds(&file), is_memory);
    }
}
