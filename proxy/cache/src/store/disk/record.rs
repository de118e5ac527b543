//! How a stored response is written to a file: its body, then what is known of it, then what says that all of it is there.
//!
//! The body comes first, so that it can be written while it comes, and begins where a page does. What is known of it can be
//! written anew behind it. A process that ends in between leaves a file whose end does not say so, and which is not there then.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::decide::{Aged, Directives, Lifetime, Selection, Shielded};
use crate::store::head::Head;
use crate::store::key::Key;
use crate::time::Time;

/// The format; another one is another file.
const MAGIC: [u8; 8] = *b"tdgcach1";
/// Magic, size of the body, its checksum, size of what is known, its checksum, and one of all these: eight bytes each, but for
/// the size of what is known.
const FOOTER: usize = 44;
/// What is known is mostly fields; `limits.response-headers` is far below.
const MOST: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Record {
    key: Vec<u8>,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    reason: Option<Vec<u8>>,
    lifetime: u64,
    initial_age: u64,
    received: u64,
    selection: Vec<(String, Option<Vec<u8>>)>,
    validity: u64,
}

/// What a file says.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) key: Key,
    pub(super) head: Head,
    pub(super) size: u64,
    pub(super) checksum: u64,
}

/// What stands behind a body of this size and checksum.
pub(super) fn tail(key: &Key, head: &Head, size: u64, checksum: u64) -> Vec<u8> {
    let fields = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let selected =
        head.selection.iter().map(|(name, value)| (name.to_string(), value.map(|value| value.to_vec())));
    let record = Record {
        key: key.as_bytes().to_vec(),
        status: head.status.as_u16(),
        headers: fields.collect(),
        reason: head.reason.as_ref().map(|reason| reason.to_vec()),
        lifetime: head.lifetime,
        initial_age: head.aged.initial,
        received: head.aged.received.0,
        selection: selected.collect(),
        validity: head.validity(),
    };
    // Nothing in it can fail to be written.
    let mut tail = postcard::to_allocvec(&record).unwrap_or_default();
    let known = (tail.len() as u32, xxh3_64(&tail));
    let mut footer = Vec::with_capacity(FOOTER);
    footer.extend_from_slice(&MAGIC);
    footer.extend_from_slice(&size.to_le_bytes());
    footer.extend_from_slice(&checksum.to_le_bytes());
    footer.extend_from_slice(&known.0.to_le_bytes());
    footer.extend_from_slice(&known.1.to_le_bytes());
    footer.extend_from_slice(&xxh3_64(&footer).to_le_bytes());
    tail.extend_from_slice(&footer);
    tail
}

/// What a file says of itself; `None` if it is not whole, or of another format. The body is not looked at.
pub(super) fn read(file: &File) -> io::Result<Option<Kept>> {
    let length = file.metadata()?.len();
    let Some(at) = length.checked_sub(FOOTER as u64) else { return Ok(None) };
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, at)?;
    let long = |from: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| footer[from + byte]));
    let known = u64::from(u32::from_le_bytes([24, 25, 26, 27].map(|byte: usize| footer[byte])));
    let is_whole = footer[..8] == MAGIC && long(36) == xxh3_64(&footer[..36]);
    let (size, checksum, known_checksum) = (long(8), long(16), long(28));
    if !is_whole || size.checked_add(known) != Some(at) || known > MOST {
        return Ok(None);
    }
    let mut record = vec![0; known as usize];
    file.read_exact_at(&mut record, size)?;
    if xxh3_64(&record) != known_checksum {
        return Ok(None);
    }
    let record = postcard::from_bytes(&record).ok();
    Ok(record.and_then(unpack).map(|(key, head)| Kept { key, head, size, checksum }))
}

fn unpack(record: Record) -> Option<(Key, Head)> {
    let mut headers = HeaderMap::with_capacity(record.headers.len());
    for (name, value) in record.headers {
        headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    let selected = record
        .selection
        .into_iter()
        .map(|(name, value)| Some((HeaderName::try_from(name).ok()?, value.map(Bytes::from))));
    let shielded = Shielded {
        directives: Directives::of(&headers),
        lifetime: Lifetime::Explicit(record.lifetime),
        selection: Selection::from_parts(selected.collect::<Option<_>>()?),
    };
    let aged = Aged { initial: record.initial_age, received: Time(record.received) };
    let status = StatusCode::from_u16(record.status).ok()?;
    let head = Head::new(status, headers, record.reason.map(Bytes::from), shielded, aged);
    Some((Key::read(&record.key)?, head.with_validity(record.validity)))
}

/// The checksum of the first `size` bytes of a file.
pub(super) fn checksum(file: &File, size: u64) -> io::Result<u64> {
    let mut hasher = Xxh3::new();
    let mut piece = vec![0; 256 << 10];
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).map_or(piece.len(), |left| left.min(piece.len()));
        file.read_exact_at(&mut piece[..length], at)?;
        hasher.update(&piece[..length]);
        at += length as u64;
    }
    Ok(hasher.digest())
}
