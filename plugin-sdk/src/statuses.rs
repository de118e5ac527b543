//! Status codes: what they are called, and lists of them as operators write them: `[404, "500-599"]`.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Error;

/// One entry, to be read from `[config]`: a status or a text with two.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a status as `404`, or a range as `\"500-599\"`")]
pub enum Status {
    /// This one.
    One(u16),
    /// From the first to the second, both included: `500-599`.
    Range(String),
}

impl Status {
    /// What it stands for.
    ///
    /// # Errors
    ///
    /// It is no status, which is 200 to 599, or no range of them.
    pub fn range(&self) -> Result<RangeInclusive<u16>, Error> {
        let range = match self {
            Self::One(status) => Some(*status..=*status),
            Self::Range(text) => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                first.trim().parse().ok().zip(last.trim().parse().ok()).map(|(first, last)| first..=last)
            }
        };
        let fits = |range: &RangeInclusive<u16>| {
            (200..=599).contains(range.start()) && *range.end() <= 599 && !range.is_empty()
        };
        range.filter(fits).ok_or_else(|| match self {
            Self::One(status) => format!("{status} is not a status from 200 to 599").into(),
            Self::Range(text) => format!("`{text}` is not a range of statuses, as `500-599`").into(),
        })
    }
}

/// A set of status codes.
///
/// ```
/// # use tidegate_plugin_sdk::statuses::{Status, Statuses};
/// let statuses = Statuses::new(&[Status::One(404), Status::Range("500-599".to_owned())]).unwrap();
/// assert!(statuses.has(503) && !statuses.has(403));
/// let error = Statuses::new(&[Status::One(404), Status::One(99)]).unwrap_err();
/// assert_eq!(error.within("statuses").to_string(), "statuses[1]: 99 is not a status from 200 to 599");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Of these entries.
    ///
    /// # Errors
    ///
    /// Names the entry that is none ([`Error::within`] adds the key).
    pub fn new(entries: &[Status]) -> Result<Self, Error> {
        let ranges = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| entry.range().map_err(|error| error.within(format!("[{index}]"))));
        ranges.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the status is one of them.
    pub fn has(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// What people call the status of an error: the registry of RFC 9110 §16.2.1, as far as servers use it. Of others
/// `Request Error` below 500, and `Server Error`.
pub fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        ..500 => "Request Error",
        _ => "Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_statuses_and_ranges() {
        let entries: Vec<Status> = serde_json::from_str(r#"[404, "500-502", "504"]"#).unwrap();
        let statuses = Statuses::new(&entries).unwrap();
        let had: Vec<u16> = (200..600).filter(|status| statuses.has(*status)).collect();
        assert_eq!(had, [404, 500, 501, 502, 504]);
        for wrong in
            [r"[199]", r"[600]", r#"["500-600"]"#, r#"["502-500"]"#, r#"["5xx"]"#, r#"[""]"#, r#"["-"]"#]
        {
            let entries: Vec<Status> = serde_json::from_str(wrong).unwrap();
            assert!(Statuses::new(&entries).unwrap_err().to_string().starts_with("[0]: "), "{wrong}");
        }
        assert!(
            serde_json::from_str::<Status>("true").unwrap_err().to_string().starts_with("expected a status")
        );
    }
}
