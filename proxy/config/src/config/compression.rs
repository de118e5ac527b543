//! The checked `[compression]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[compression]`: responses are compressed for clients that accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// In order of preference among those a client likes equally; none twice, never empty.
    pub codings: Vec<Coding>,
    /// Media types of the bodies that are compressed; never empty.
    pub types: Vec<MediaRange>,
    /// Bytes; a body that is known to be smaller is left as it is.
    pub min_size: u64,
    /// How hard each coding tries.
    pub levels: Levels,
    /// Responses that one worker compresses at a time, at least 1; beyond it they are sent as they are.
    pub max_in_flight: usize,
}

/// A content coding (RFC 9110 §8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// Brotli, RFC 7932.
    Br,
    /// RFC 1952.
    Gzip,
}

/// `levels = { … }`: higher is smaller and slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// 1 to 9.
    pub zstd: u8,
    /// Its own word is quality; 1 to 6.
    pub br: u8,
    /// 1 to 9.
    pub gzip: u8,
}

/// Media types, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaRange {
    /// One: `application/json`.
    Type(String),
    /// All that begin and end so: `text/` and nothing, `application/` and `+json`.
    Any {
        /// Up to and with the slash.
        prefix: String,
        /// From the plus sign on; may be empty.
        suffix: String,
    },
}
