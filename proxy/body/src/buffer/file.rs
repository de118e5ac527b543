//! A temporary file without a name: gone with the process, however that ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::chunks::Chunks;
use super::space::{Reserved, TemporaryFiles};

/// What is read at once becomes chunks of this size, as they come from a connection. The client's connection
/// takes a chunk as a whole into what it has still to write.
const CHUNK: usize = 64 << 10;

/// All of these wait for the disk: they are for blocking threads.
///
/// A write to the page cache takes less than handing it to such a thread; but when the kernel has too
/// many unwritten pages, or the disk is slow, it takes as long as the disk, and a worker would stand still
/// with all its connections.
#[derive(Debug)]
pub(super) struct TemporaryFile(Option<Open>);

/// A file that is there, or is to be made on the way.
#[derive(Debug)]
pub(super) enum Target {
    /// With the room it has from the beginning.
    New(TemporaryFiles, Reserved),
    Open(TemporaryFile),
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Dropped after the file: what is given back is there again.
    reserved: Reserved,
}

impl Target {
    pub(super) fn open(self) -> io::Result<TemporaryFile> {
        match self {
            Self::Open(file) => Ok(file),
            Self::New(files, reserved) => {
                let file = tempfile::tempfile_in(&files.directory)?;
                Ok(TemporaryFile(Some(Open { file, reserved })))
            }
        }
    }
}

impl TemporaryFile {
    /// Lets the file be so long, if there is space left. Does not wait.
    pub(super) fn make_room(&mut self, room: u64) -> bool {
        let Some(open) = &mut self.0 else { return false };
        room.checked_sub(open.reserved.bytes()).is_none_or(|more| open.reserved.grow(more))
    }

    /// Writes chunks one after the other, within the room.
    pub(super) fn write(&self, mut at: u64, chunks: &Chunks) -> io::Result<()> {
        for chunk in chunks.iter() {
            self.file()?.write_all_at(chunk, at)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    pub(super) fn read(&self, at: u64, length: usize) -> io::Result<Vec<Bytes>> {
        let read = |from: usize| {
            let mut chunk = vec![0; CHUNK.min(length - from)];
            self.file()?.read_exact_at(&mut chunk, at + from as u64)?;
            Ok(Bytes::from(chunk))
        };
        (0..length).step_by(CHUNK).map(read).collect()
    }

    /// Throws the content away and gives the room back.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if let Some(open) = &mut self.0 {
            open.file.set_len(0)?;
            open.reserved.clear();
        }
        Ok(())
    }

    fn file(&self) -> io::Result<&File> {
        self.0.as_ref().map(|open| &open.file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let open = self.0.take();
        // To close it is to free its pages: 1 GiB of them takes longer than a hundred requests.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(open));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::Purpose;
    use super::super::space::tests::{CLIENT, files};
    use super::*;

    fn chunks(bytes: &[u8]) -> Chunks {
        let mut chunks = Chunks::default();
        chunks.push(Bytes::copy_from_slice(bytes));
        chunks
    }

    #[test]
    fn what_was_written_is_read_in_pieces_and_the_room_comes_back() {
        let (files, held) = files(1 << 20);
        let reserved = files.reserve(Purpose::Response, CLIENT, 200_000).expect("there is room");
        let mut file = Target::New(files, reserved).open().expect("a temporary file");
        let bytes: Vec<u8> = (0..200_000_u32).map(|byte| byte as u8).collect();
        file.write(0, &chunks(&bytes)).expect("it has room");
        let read = file.read(5, 199_000).expect("it is there");
        assert!(read.iter().all(|chunk| chunk.len() <= CHUNK));
        assert_eq!(read.concat(), &bytes[5..199_005]);
        file.read(199_999, 2).expect_err("it ends before");

        assert!(file.make_room(1 << 20) && !file.make_room((1 << 20) + 1) && file.make_room(5));
        assert_eq!(held(), 1 << 20);
        file.clear().expect("it can be cleared");
        assert_eq!(held(), 0);
        file.read(0, 1).expect_err("nothing is left");
        assert!(file.make_room(10));
        drop(file);
        assert_eq!(held(), 0);
    }
}
