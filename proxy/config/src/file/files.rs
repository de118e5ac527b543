//! `[files.NAME]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{Charset, FieldValue, FileName, FilePath, InnerPath, PathPattern, Text};

/// A directory whose files the proxy serves itself.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Files {
    /// The directory. `check`, the start and a reload refuse one that is not there. The path of a request
    /// starts in it; a policy (`rewrite`) can take a prefix off.
    #[schemars(extend("examples" = ["/srv/www"]))]
    pub root: Text<FilePath>,
    /// Files that the proxy looks for in a directory, in this order. `[]`: a directory is never found.
    #[serde(default = "index")]
    #[schemars(extend("uniqueItems" = true))]
    pub index: Vec<Text<FileName>>,
    /// The file sent, with status 200, in place of what is not found: for applications that route in the
    /// browser.
    pub fallback: Option<Text<InnerPath>>,
    /// What the fallback stands for.
    #[serde(default)]
    pub fallback_for: FallbackFor,
    /// The file sent, with status 404, in place of what is not found and has no fallback.
    #[schemars(extend("examples" = ["404.html"]))]
    pub not_found: Option<Text<InnerPath>>,
    /// Media types of files by the ending of their names, without the dot, in place of those the proxy knows. Sent as
    /// they are written, with a charset if they have one.
    #[serde(default)]
    #[schemars(extend("examples" = [{ "geojson": "application/geo+json" }]))]
    pub media_types: BTreeMap<String, Text<FieldValue>>,
    /// What `text/*` is said to be encoded in. `"none"`: nothing is said.
    #[serde(default = "utf_8")]
    pub charset: Text<Charset>,
    /// The `Cache-Control` of a file (RFC 9111 §5.2). The first entry that matches counts.
    #[serde(default)]
    pub cache_control: Vec<CacheControl>,
    /// `NAME.br`, `NAME.zst` or `NAME.gz` is sent for `NAME` to a client that accepts it.
    #[serde(default = "yes")]
    pub precompressed: bool,
    /// Symbolic links below `root` are followed, *wherever they lead*: whoever can write there can have any
    /// file served that the proxy can read. `false`: they are not there.
    #[serde(default)]
    pub follow_symlinks: bool,
    /// Files are compressed as `[compression]` says. `precompressed` is not affected.
    #[serde(default = "yes")]
    pub compression: bool,
}

/// What caches are told of some files.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct CacheControl {
    /// Compared with the path of the file that is sent, from `root`: `/docs/index.html`, not `/docs/`, and
    /// that of the fallback where it stands in.
    #[schemars(length(min = 1))]
    pub paths: Vec<Text<PathPattern>>,
    /// The value of the field.
    #[schemars(extend("examples" = ["public, max-age=31536000, immutable"]))]
    pub value: Text<FieldValue>,
}

/// What the fallback of a file root stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FallbackFor {
    /// Paths whose last segment has no dot, and requests that ask for `text/html`, as browsers do for pages and not for
    /// scripts, styles and images.
    #[default]
    Pages,
    /// Everything.
    All,
}

fn utf_8() -> Text<Charset> {
    Text(Charset("utf-8".to_owned()))
}

fn index() -> Vec<Text<FileName>> {
    vec![Text(FileName("index.html".to_owned()))]
}

fn yes() -> bool {
    true
}
