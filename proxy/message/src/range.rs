//! Parts of a file (RFC 9110 §14): which bytes a client asks for, and how several parts are told apart.

use http::{HeaderMap, HeaderValue, header};

/// Parts in one response. A client that asks for more gets the whole file, as RFC 9110 §14.2 advises: a player or
/// a reader of documents wants a handful.
const MAX_PARTS: usize = 16;

/// Bytes of a file; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Position of the first byte, from 0.
    pub first: u64,
    /// At least 1.
    pub length: u64,
}

impl Part {
    /// The value of `Content-Range` in a file of `size` bytes.
    pub fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.first, self.first + self.length - 1)
    }

    fn overlaps(self, other: Self) -> bool {
        self.first < other.first + other.length && other.first < self.first + self.length
    }
}

/// What of a file is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of it: nothing else was asked for, or not in a way to be obeyed.
    Whole,
    /// 206 with this part.
    One(Part),
    /// Two at least, in the order they were asked for, none overlapping another.
    Several(Vec<Part>),
    /// Parts, of which there is none: 416.
    Nothing,
}

impl Selection {
    /// What `Range` selects of a file of `size` bytes.
    pub fn of(headers: &HeaderMap, size: u64) -> Self {
        let mut lines = headers.get_all(header::RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return Self::Whole };
        // Of an empty file no part can be named.
        if size == 0 {
            return Self::Whole;
        }
        line.to_str().ok().and_then(|text| parse(text, size)).unwrap_or(Self::Whole)
    }
}

/// `None` for what is not valid, or asks for too much in too many pieces.
fn parse(text: &str, size: u64) -> Option<Selection> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut count = 0;
    // Empty members of a list mean nothing (RFC 9110 §5.6.1).
    for range in set.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        count += 1;
        let Some(part) = part(range, size)? else { continue };
        if count > MAX_PARTS || parts.iter().any(|other| part.overlaps(*other)) {
            return None;
        }
        parts.push(part);
    }
    match parts[..] {
        [] if count == 0 => None,
        [] => Some(Selection::Nothing),
        [part] => Some(Selection::One(part)),
        _ => Some(Selection::Several(parts)),
    }
}

/// Outer `None` for what is not valid, inner for what lies beyond the file.
fn part(range: &str, size: u64) -> Option<Option<Part>> {
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    match (first, last) {
        (None, None) => None,
        (None, Some(length)) => {
            let length = length.min(size);
            Some((length > 0).then_some(Part { first: size - length, length }))
        }
        (Some(first), Some(last)) if last < first => None,
        (Some(first), last) => {
            let last = last.unwrap_or(u64::MAX).min(size - 1);
            Some((first < size).then(|| Part { first, length: last - first + 1 }))
        }
    }
}

/// Outer `None` for what is not a number, inner for nothing. A number that does not fit is beyond any file.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

/// The texts between the parts of a `multipart/byteranges` body (RFC 9110 §14.6).
#[derive(Debug)]
pub struct Multipart {
    boundary: String,
}

impl Multipart {
    /// The boundary is drawn by lot: no author of a file can foresee it.
    pub fn draw() -> Self {
        Self { boundary: format!("{:032x}", rand::random::<u128>()) }
    }

    /// The value of `Content-Type` for the whole of them.
    pub fn content_type(&self) -> HeaderValue {
        let value = format!("multipart/byteranges; boundary={}", self.boundary);
        HeaderValue::try_from(value).expect("letters and digits")
    }

    /// What stands before a part; `first` for the first one.
    pub fn before(&self, first: bool, part: Part, size: u64, kind: &HeaderValue) -> Vec<u8> {
        let line = if first { "" } else { "\r\n" };
        let (boundary, range) = (&self.boundary, part.content_range(size));
        let mut text = format!("{line}--{boundary}\r\ncontent-range: {range}\r\ncontent-type: ").into_bytes();
        text.extend_from_slice(kind.as_bytes());
        text.extend_from_slice(b"\r\n\r\n");
        text
    }

    /// What stands after the last part.
    pub fn end(&self) -> Vec<u8> {
        format!("\r\n--{}--\r\n", self.boundary).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is selected of a file of 100 bytes, in short.
    fn selected(range: &str) -> String {
        let headers = HeaderMap::from_iter([(header::RANGE, range.parse().expect("a valid value"))]);
        let short = |part: &Part| format!("{}+{}", part.first, part.length);
        match Selection::of(&headers, 100) {
            Selection::Whole => "whole".to_owned(),
            Selection::Nothing => "nothing".to_owned(),
            Selection::One(part) => short(&part),
            Selection::Several(parts) => parts.iter().map(short).collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let many = |count: u64| {
            let list: Vec<_> = (0..count).map(|at| format!("{}-{}", at * 2, at * 2)).collect();
            format!("bytes={}", list.join(","))
        };
        for (range, expected) in [
            ("bytes=0-9", "0+10"),
            ("bytes=0-0", "0+1"),
            ("bytes=90-", "90+10"),
            ("bytes=-10", "90+10"),
            ("bytes=-1000", "0+100"),
            ("bytes=0-", "0+100"),
            ("bytes=99-1000", "99+1"),
            ("BYTES = 0 - 9 ", "0+10"),
            ("bytes=0-0,-1", "0+1 99+1"),
            ("bytes=50-59, 0-9", "50+10 0+10"),
            ("bytes=,0-9,,", "0+10"),
            ("bytes=200-300,0-9", "0+10"),
            ("bytes=100-", "nothing"),
            ("bytes=200-300,400-", "nothing"),
            ("bytes=-0", "nothing"),
            ("bytes=99999999999999999999999-", "nothing"),
            ("bytes=0-99999999999999999999999", "0+100"),
            ("bytes=-99999999999999999999999", "0+100"),
            // Not valid, so not there (RFC 9110 §14.2).
            ("bytes=9-0", "whole"),
            ("bytes=0-9,9-0", "whole"),
            ("bytes=-", "whole"),
            ("bytes=", "whole"),
            ("bytes=,", "whole"),
            ("bytes", "whole"),
            ("bytes=a-b", "whole"),
            ("bytes=+1-2", "whole"),
            ("bytes=1--2", "whole"),
            ("bytes=0x1-2", "whole"),
            ("lines=0-9", "whole"),
            // Signs of a broken client or an attack.
            ("bytes=0-9,5-14", "whole"),
            ("bytes=0-,0-,0-", "whole"),
            (&many(17), "whole"),
        ] {
            assert_eq!(selected(range), expected, "{range}");
        }
        assert_eq!(selected(&many(16)).split(' ').count(), 16);
    }

    #[test]
    fn two_fields_and_an_empty_file_select_nothing_in_particular() {
        let mut headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=0-"))]);
        assert_eq!(Selection::of(&headers, 0), Selection::Whole);
        headers.append(header::RANGE, HeaderValue::from_static("bytes=0-"));
        assert_eq!(Selection::of(&headers, 100), Selection::Whole);
    }

    #[test]
    fn parts_are_told_apart_by_a_boundary_nobody_knows() {
        let (one, other) = (Multipart::draw(), Multipart::draw());
        assert_ne!(one.boundary, other.boundary);
        let kind = HeaderValue::from_static("text/plain");
        let part = Part { first: 5, length: 10 };
        let text = String::from_utf8(one.before(false, part, 100, &kind)).expect("text");
        let expected = format!(
            "\r\n--{}\r\ncontent-range: bytes 5-14/100\r\ncontent-type: text/plain\r\n\r\n",
            one.boundary
        );
        assert_eq!(text, expected);
    }
}
