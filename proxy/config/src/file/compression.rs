//! `[compression]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{MediaRange, Size, Text};
use crate::Coding;

/// Compression of responses for clients that accept it.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Compression {
    /// What the proxy uses. Of those a client likes equally, the one further in front.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub codings: Vec<Coding>,
    /// Types of the bodies that are compressed. `text/event-stream` and `application/grpc` (with `+` or `-`
    /// and more) are meant only where they are written out: such streams hold the compressor for as long as
    /// they are open.
    #[schemars(length(min = 1))]
    pub types: Vec<Text<MediaRange>>,
    /// A body that is known to be smaller is left as it is.
    pub min_size: Text<Size>,
    /// How hard each coding tries: higher is smaller and slower. Only for `codings` that are listed.
    pub levels: Levels,
    /// Responses that one worker compresses at a time. Beyond it they are sent as they are.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_in_flight: usize,
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/*+json",
            "application/xml",
            "application/*+xml",
            "application/javascript",
            "application/x-javascript",
            "application/x-ndjson",
            "application/yaml",
            "application/wasm",
            "image/svg+xml",
            "image/bmp",
            "image/x-icon",
            "font/otf",
            "font/ttf",
        ];
        Self {
            codings: vec![Coding::Zstd, Coding::Br, Coding::Gzip],
            types: types.map(|text| Text(MediaRange(text.to_owned()))).into(),
            min_size: Text(Size(1 << 10)),
            levels: Levels::default(),
            max_in_flight: 256,
        }
    }
}

/// `levels.*` where they are not written.
pub(crate) const DEFAULT_LEVELS: crate::Levels = crate::Levels { zstd: 3, br: 4, gzip: 5 };

/// How hard each coding tries. Higher is smaller and slower.
//
// Above these bounds a response costs tens of megabytes and more time than the network saves.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Levels {
    /// Level of zstd.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9), extend("default" = DEFAULT_LEVELS.zstd))]
    pub zstd: Option<u8>,
    /// Quality of br.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 6), extend("default" = DEFAULT_LEVELS.br))]
    pub br: Option<u8>,
    /// Level of gzip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9), extend("default" = DEFAULT_LEVELS.gzip))]
    pub gzip: Option<u8>,
}
