//! `[explain]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{FieldName, FilePath, Text};

/// Requests of clients of which the proxy keeps what its policies asked and did, for the admin interface.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Explain {
    /// Per cent of the requests, at most 20 a second of each worker.
    #[schemars(range(max = 100))]
    pub share: u8,
    /// A file with a secret of at least 32 bytes. Who knows it can have a request explained, whatever `share` says: with the
    /// field that `tidegate explain --sign` prints.
    #[schemars(extend("examples" = ["explain.key"]))]
    pub key_file: Option<Text<FilePath>>,
    /// Requests that are kept, the latest ones, and 16 MiB at most.
    #[schemars(range(min = 1, max = 4096))]
    pub keep: usize,
    /// Fields whose values are not kept, beside `Authorization`, `Proxy-Authorization`, `Cookie`,
    /// `Set-Cookie` and `X-Api-Key`.
    #[schemars(extend("uniqueItems" = true))]
    pub hide: Vec<Text<FieldName>>,
}

impl Default for Explain {
    fn default() -> Self {
        Self { share: 0, key_file: None, keep: 256, hide: Vec::new() }
    }
}
