//! The media types whose bodies are worth compressing.

use http::{HeaderMap, header};
use tidegate_config::MediaRange;

/// Streams that stay open and in which every message is flushed by itself: little is gained, and what
/// compresses them is held for as long. gRPC compresses its messages itself. No wildcard means them.
const NAMED_ONLY: [&str; 2] = ["text/event-stream", "application/grpc"];

/// `compression.types`.
pub(super) struct Types(Vec<MediaRange>);

impl Types {
    pub(super) fn new(ranges: &[MediaRange]) -> Self {
        Self(ranges.to_vec())
    }

    /// Whether a body with these fields is of one of the types. One without a type is not: it may be
    /// anything.
    pub(super) fn include(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let media_type = value.split(';').next().unwrap_or(value).trim_matches([' ', '\t']);
        let named_only = NAMED_ONLY.iter().any(|known| {
            let rest = starts_with(media_type, known);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '-']))
        });
        self.0.iter().any(|range| match range {
            MediaRange::Type(name) => media_type.eq_ignore_ascii_case(name),
            MediaRange::Any { prefix, suffix } => {
                !named_only && starts_with(media_type, prefix).is_some_and(|rest| ends_with(rest, suffix))
            }
        })
    }
}

/// What follows `prefix`, if the text begins with it in any case.
fn starts_with<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Whether the text ends with `suffix`, and is longer.
fn ends_with(text: &str, suffix: &str) -> bool {
    let split = text.len().checked_sub(suffix.len()).filter(|at| *at > 0);
    let end = split.and_then(|at| text.split_at_checked(at));
    end.is_some_and(|(_, end)| end.eq_ignore_ascii_case(suffix))
}
