//! The checked `[files.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[files.NAME]`: a directory whose files the proxy serves by itself.
///
/// Its name is one of those requests are routed to, so no upstream has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Absolute or relative to the working directory, already joined with the directory of the file.
    pub root: PathBuf,
    /// Names looked for in a directory, in this order; plain file names. Empty = a directory is not found.
    pub index: Vec<String>,
    /// Served in place of what is not found. Segments within the root, none of which is hidden or leads up;
    /// does not start with `/`.
    pub fallback: Option<String>,
    /// Whether it stands for what can be no page, too.
    pub fallback_for_all: bool,
    /// Sent with 404 in place of what is not found; as [`Files::fallback`].
    pub not_found: Option<String>,
    /// By ending, in lower case and without its dot: values of `Content-Type`.
    pub media_types: BTreeMap<String, String>,
    /// Of `text/*`.
    pub charset: Option<String>,
    /// The first that matches the file is sent.
    pub cache_control: Vec<CacheControl>,
    /// Whether `NAME.br`, `NAME.zst` and `NAME.gz` stand for `NAME`.
    pub precompressed: bool,
    /// Whether symbolic links below the root are followed, wherever they lead.
    pub follow_symlinks: bool,
    /// Whether [`Config::compression`](super::Config::compression) holds for its responses.
    pub compression: bool,
}

/// What caches are told of some files (RFC 9111 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheControl {
    /// Globs over the path of the file from the root, beginning with `/`. Never empty.
    pub paths: Vec<String>,
    /// Visible ASCII and spaces.
    pub value: String,
}
