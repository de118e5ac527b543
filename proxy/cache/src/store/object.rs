//! A stored response: its head, and where its body is.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::OnDisk;
use super::head::Head;
use super::key::Key;
use super::room::Room;

/// A stored response. What changes makes another of it.
#[derive(Debug)]
pub struct Object {
    pub(super) key: Key,
    /// Shared with those that differ in where the body is.
    pub(super) head: Arc<Head>,
    /// Bytes of the body.
    pub(super) size: u64,
    pub(super) memory: Option<InMemory>,
    pub(super) file: Option<Arc<OnDisk>>,
}

/// A body in memory.
#[derive(Debug, Clone)]
pub(super) struct InMemory {
    pub(super) bytes: Bytes,
    pub(super) room: Arc<Room>,
}

impl Object {
    /// Its head.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// By what it is found.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Bytes of its body.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its body, if it is in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.memory.as_ref().map(|memory| &memory.bytes)
    }

    /// Its file, if it has one.
    pub fn file(&self) -> Option<&Arc<OnDisk>> {
        self.file.as_ref()
    }

    /// It was asked for.
    pub(super) fn touch(&self) {
        if let Some(memory) = &self.memory {
            memory.room.touch();
        }
        if let Some(file) = &self.file {
            file.room.touch();
        }
    }

    /// The same, with the same parts.
    pub(super) fn copy(&self) -> Self {
        Self {
            key: self.key.clone(),
            head: self.head.clone(),
            size: self.size,
            memory: self.memory.clone(),
            file: self.file.clone(),
        }
    }
}
