//! `[explain]`.

use std::path::PathBuf;

/// Requests of which it is kept what policies made of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// Per cent, at most 100.
    pub share: u8,
    /// Already joined with the directory of the file.
    pub key_file: Option<PathBuf>,
    /// At least 1.
    pub keep: usize,
    /// In lower case, with those that are always hidden.
    pub hide: Vec<String>,
}
