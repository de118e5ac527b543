//! What a client would rather have: the `accept` field (RFC 9110 §12.5.1).

use crate::{Message, Request};

/// Ranges that are looked at; browsers send fewer than ten.
const MAX_RANGES: usize = 64;

/// Which of these media types the client likes best; of those it likes equally, the one it names more exactly, and of
/// those the first. A client that sends no `accept` takes any; `None` = it wants none of them.
///
/// Of the ranges that fit a type the most exact one counts, with its `q`; parameters other than `q` do not. What is
/// not well-formed is passed over, and so are ranges after the first 64.
///
/// ```
/// # use tidegate_plugin_sdk::{accept, testing};
/// let request = testing::Request::new("GET", "/").with_header("accept", "application/json, text/*;q=0.5");
/// assert_eq!(accept::preferred(&request, &["text/html", "application/json"]), Some("application/json"));
/// ```
pub fn preferred<'a>(request: &Request, offers: &[&'a str]) -> Option<&'a str> {
    let values = request.header_values("accept");
    if values.is_empty() {
        return offers.first().copied();
    }
    let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value)).collect();
    let members = values.iter().flat_map(|value| value.split(','));
    let ranges: Vec<Range<'_>> = members.take(MAX_RANGES).filter_map(Range::parse).collect();
    let mut best = None;
    for offer in offers {
        let liking = liking(&ranges, offer);
        if liking.0 > 0 && best.is_none_or(|(_, best)| liking > best) {
            best = Some((*offer, liking));
        }
    }
    best.map(|(offer, _)| offer)
}

/// Whether the client names this media type itself, rather than taking anything.
pub fn names(request: &Request, media_type: &str) -> bool {
    let values = request.header_values("accept");
    let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value)).collect();
    let members = values.iter().flat_map(|value| value.split(','));
    let mut ranges = members.take(MAX_RANGES).filter_map(Range::parse);
    ranges.any(|range| range.exactness(media_type) == Some(2) && range.quality > 0)
}

/// `text/html;q=0.5`
struct Range<'a> {
    main: &'a str,
    sub: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
        });
        Some(Self { main, sub, quality: quality.map_or(Some(1000), thousandths)? })
    }

    /// 2 = this type, 1 = its main type, 0 = any type; `None` = not this type.
    fn exactness(&self, media_type: &str) -> Option<u8> {
        let (main, sub) = media_type.split_once('/')?;
        match (self.main, self.sub) {
            ("*", "*") => Some(0),
            (own, "*") if own.eq_ignore_ascii_case(main) => Some(1),
            (own, own_sub) if own.eq_ignore_ascii_case(main) && own_sub.eq_ignore_ascii_case(sub) => Some(2),
            _ => None,
        }
    }
}

/// The weight of the most exact range that fits, and how exact it is.
fn liking(ranges: &[Range<'_>], media_type: &str) -> (u16, u8) {
    let fitting = ranges.iter().filter_map(|range| Some((range.exactness(media_type)?, range.quality)));
    fitting.max().map_or((0, 0), |(exactness, quality)| (quality, exactness))
}

/// A weight of RFC 9110 §12.4.2, at most 1 and three digits.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest: u16 = format!("{rest:0<3}").parse().ok()?;
    match (whole, rest) {
        ("0", rest) => Some(rest),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const OFFERS: [&str; 2] = ["text/html", "application/json"];

    fn of(fields: &[&str]) -> Option<&'static str> {
        let request = testing::Request::new("GET", "/");
        let request = fields.iter().fold(request, |request, value| request.with_header("accept", value));
        preferred(&request, &OFFERS)
    }

    #[test]
    fn the_type_of_the_highest_weight_is_preferred() {
        for (fields, preferred) in [
            (&[][..], Some("text/html")),
            (&["*/*"], Some("text/html")),
            (&["application/json"], Some("application/json")),
            (&["Application/JSON; charset=utf-8, text/html;q=0.9"], Some("application/json")),
            (&["application/json, text/html"], Some("text/html")),
            (&["application/json, text/plain, */*"], Some("application/json")),
            (&["text/html;q=0.1", "application/*;q=0.2"], Some("application/json")),
            (&["*/*;q=0.9, text/html;q=0.5"], Some("application/json")),
            (&["text/html;q=0, */*"], Some("application/json")),
            (&["image/png"], None),
            (&["text/html;q=0"], None),
            (&[""], None),
            (&["text/html;q=2, application/json;q=0.0001, nonsense, /, ;q"], None),
        ] {
            assert_eq!(of(fields), preferred, "{fields:?}");
        }
    }

    #[test]
    fn a_type_is_named_when_it_stands_there() {
        let request = testing::Request::new("GET", "/")
            .with_header("accept", "text/html;q=0.5, application/json;q=0, */*");
        assert!(names(&request, "text/html"));
        assert!(!names(&request, "application/json"));
        assert!(!names(&request, "image/png"));
    }
}
