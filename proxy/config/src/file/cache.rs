//! `[cache.NAME]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::seconds;
use super::text::{FieldName, FilePath, Size, Text};

/// Responses that the proxy keeps, and answers by.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Cache {
    /// Bytes in memory: small bodies, and the heads of all that is kept, on the disk as well: about 1 KiB for each.
    #[schemars(extend("x-minimum" = "1MiB"))]
    pub memory: Text<Size>,
    /// Bytes on the disk, in `path`. Without this key responses are kept in memory alone, and those of more than a quarter
    /// of it not at all.
    #[schemars(extend("x-minimum" = "1MiB"))]
    pub disk: Option<Text<Size>>,
    /// A directory of the cache's own, which is made if it is not there; its parent must exist. What is in it is found again
    /// after a restart. One that another process uses is used once that has ended.
    #[schemars(extend("examples" = ["/var/cache/tidegate/pages"]))]
    pub path: Option<Text<FilePath>>,
    /// Bytes of a body that is kept. A larger one passes.
    #[schemars(extend("x-minimum" = "1KiB"))]
    pub max_object: Text<Size>,
    /// Responses kept for one URL, each for requests with other values of the fields that `Vary` names. Beyond it the one that
    /// came first goes.
    #[schemars(range(min = 1, max = 1000))]
    pub max_variants: usize,
    /// What tells requests apart beside destination, scheme, host and target.
    pub key: Key,
    /// How long a response is fresh that does not say so, neither directly nor by `Last-Modified`, and whose status allows it
    /// (RFC 9110 §15.1); not where the request has a cookie. `"0s"`: it is not kept.
    #[schemars(extend("x-minimum" = "0s"))]
    pub default_lifetime: Text<Duration>,
    /// How long a response is fresh at most that says when it was last modified, and nothing more: a tenth of the time since
    /// (RFC 9111 §4.2.2); not where the request has a cookie. `"0s"`: nothing is guessed.
    #[schemars(extend("x-minimum" = "0s"))]
    pub heuristic_lifetime: Text<Duration>,
    /// How long a stale response is served while the proxy asks whether it is still good, where the response does not say
    /// (RFC 5861 §3) and does not forbid it.
    #[schemars(extend("x-minimum" = "0s"))]
    pub stale_while_revalidate: Text<Duration>,
    /// How long a stale response is served when no server answers, or one answers with 500, 502, 503 or 504, where the
    /// response does not say (RFC 5861 §4) and does not forbid it.
    #[schemars(extend("x-minimum" = "0s"))]
    pub stale_if_error: Text<Duration>,
    /// Responses that set cookies are kept, with these. `false`: they are not kept, whatever they say.
    pub set_cookie: bool,
    /// Clients may ask for fresh responses, or for none but those kept (`Cache-Control`, `Pragma`). `false`: they may not.
    pub client_directives: bool,
    /// How long a request waits for another that asks a server for the same. Then it asks as well.
    pub max_wait: Text<Duration>,
    /// Requests of each worker that ask whether stale responses are still good while these are served. Beyond it the next
    /// ones see to it.
    #[schemars(range(min = 1, max = 1000))]
    pub max_revalidations: usize,
    /// Responses say how the cache met the request (`Cache-Status`, RFC 9211).
    pub status_field: bool,
}

/// What tells requests apart.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Key {
    /// Fields, with all of their values.
    #[schemars(extend("uniqueItems" = true))]
    pub headers: Vec<Text<FieldName>>,
    /// Cookies, by name.
    #[schemars(extend("uniqueItems" = true))]
    pub cookies: Vec<String>,
    /// Fields that are left out though policies set them: those that change no response, such as an identifier of the request. All others that
    /// policies set tell requests apart by themselves: most say who the client is.
    #[schemars(extend("uniqueItems" = true))]
    pub without_headers: Vec<Text<FieldName>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: Text(Size(64 << 20)),
            disk: None,
            path: None,
            max_object: Text(Size(1 << 30)),
            max_variants: 16,
            key: Key::default(),
            default_lifetime: seconds(0),
            heuristic_lifetime: seconds(3600),
            stale_while_revalidate: seconds(0),
            stale_if_error: seconds(0),
            set_cookie: false,
            client_directives: true,
            max_wait: seconds(5),
            max_revalidations: 16,
            status_field: true,
        }
    }
}
