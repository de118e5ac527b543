//! `[files.NAME]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{FieldValue, FileName, FilePath, InnerPath, PathPattern, Text};

/// A directory whose files are served.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Files {
    /// The directory, relative to this file. It may be a symbolic link that is swapped.
    #[schemars(extend("examples" = ["/srv/www"]))]
    pub root: Text<FilePath>,
    /// File names looked for in a directory, in this order.
    #[serde(default = "index")]
    #[schemars(extend("uniqueItems" = true))]
    pub index: Vec<Text<FileName>>,
    /// Path within root of the file that is sent, with status 200, in place of what is not found.
    pub fallback: Option<Text<InnerPath>>,
    /// What Cache-Control says of files; the first entry that matches counts.
    #[serde(default)]
    pub cache_control: Vec<CacheControl>,
    /// Whether NAME.br, NAME.zst and NAME.gz are sent for NAME to clients that accept them.
    #[serde(default = "yes")]
    pub precompressed: bool,
    /// Whether symbolic links below root are followed, wherever they lead.
    #[serde(default)]
    pub follow_symlinks: bool,
    /// Whether responses are compressed as [compression] says.
    #[serde(default = "yes")]
    pub compression: bool,
}

/// What caches are told of some files.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct CacheControl {
    /// Globs over the path of the file from root: * within a segment, ** across segments.
    #[schemars(length(min = 1))]
    pub paths: Vec<Text<PathPattern>>,
    /// The value of the field.
    #[schemars(extend("examples" = ["public, max-age=31536000, immutable"]))]
    pub value: Text<FieldValue>,
}

fn index() -> Vec<Text<FileName>> {
    vec![Text(FileName("index.html".to_owned()))]
}

fn yes() -> bool {
    true
}
