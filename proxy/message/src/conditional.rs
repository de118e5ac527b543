//! Whether a client has the file already, or another one than it thinks (RFC 9110 §13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::coding::Coding;

/// What tells one version of a file from the next (RFC 9110 §8.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// Strong: time to the nanosecond, size and coding. It says nothing of the machine, so proxies that
    /// serve copies of a directory, times included, agree; but where the time is a whole second, as tools set it, which
    /// may set the same one for every version, it has when the file was changed in any way.
    tag: String,
    /// Seconds since 1970.
    modified: u64,
    /// The time says something.
    dated: bool,
    /// When the request was looked at, in the same seconds.
    now: u64,
}

/// Up to here, the second of January 1980, a time was set by a tool that leaves times out: 0 and 1, and the first day of
/// zip, which Nix and others set.
const MEANINGLESS: i64 = 315_619_200;

/// When a file was changed, as the file system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modified {
    /// Since 1970; negative before.
    pub seconds: i64,
    /// Of the second, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What the conditions of a request make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They hold, or there are none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl Validators {
    /// Of a file whose content was changed at `modified`, so it is said, and anything about it at `touched`, looked at
    /// `now`.
    pub fn new(
        modified: Modified,
        touched: Modified,
        size: u64,
        coding: Option<Coding>,
        now: SystemTime,
    ) -> Self {
        let Modified { seconds, nanoseconds } = modified;
        let touched = match nanoseconds {
            0 => format!("{:x}.{:x}-", touched.seconds, touched.nanoseconds),
            _ => String::new(),
        };
        let (mark, coding) = coding.map_or(("", ""), |coding| ("-", coding.name()));
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            tag: format!("\"{touched}{seconds:x}-{nanoseconds:x}-{size:x}{mark}{coding}\""),
            // A file from the future has been changed now (RFC 9110 §8.8.2.1), one from before 1970 then.
            modified: u64::try_from(seconds).unwrap_or(0).min(now),
            dated: seconds > MEANINGLESS,
            now,
        }
    }

    /// The value of `ETag`.
    pub fn etag(&self) -> HeaderValue {
        HeaderValue::from_str(&self.tag).expect("digits, letters and hyphens in quotes")
    }

    /// The value of `Last-Modified`, never in the future; `None` where the time is one that says nothing.
    pub fn last_modified(&self) -> Option<HeaderValue> {
        if !self.dated {
            return None;
        }
        let time = UNIX_EPOCH + Duration::from_secs(self.modified);
        Some(HeaderValue::try_from(httpdate::fmt_http_date(time)).expect("a date is ASCII"))
    }

    /// In the order of RFC 9110 §13.2.2; `Range` and `If-Range` come after. For GET and HEAD.
    pub fn check(&self, headers: &HeaderMap) -> Outcome {
        if headers.contains_key(header::IF_MATCH) {
            if !self.is_among(headers, &header::IF_MATCH, |tag| tag == self.tag) {
                return Outcome::Failed;
            }
        } else if let Some(date) = date(headers, &header::IF_UNMODIFIED_SINCE)
            && (self.modified > date || !self.dated)
        {
            return Outcome::Failed;
        }
        if headers.contains_key(header::IF_NONE_MATCH) {
            let weakly = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == self.tag;
            if self.is_among(headers, &header::IF_NONE_MATCH, weakly) {
                return Outcome::NotModified;
            }
        } else if let Some(date) = date(headers, &header::IF_MODIFIED_SINCE)
            && self.modified <= date
            && self.dated
        {
            return Outcome::NotModified;
        }
        Outcome::Proceed
    }

    /// Whether a range may be sent: there is no `If-Range`, or it names this version (RFC 9110 §13.1.5).
    pub fn allow_range(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(header::IF_RANGE).iter();
        match (lines.next().map(HeaderValue::to_str), lines.next()) {
            (None, _) => true,
            (Some(Ok(text)), None) if text.starts_with('"') => text == self.tag,
            // A date is as good only if the file cannot have changed twice within its second (§8.8.2.2).
            (Some(Ok(text)), None) => {
                seconds(text).is_some_and(|date| date == self.modified)
                    && self.modified < self.now
                    && self.dated
            }
            _ => false,
        }
    }

    /// Whether a list of entity tags is `*` or has one that is `equal`. A tag has no comma in it here, and
    /// one that has is none of ours.
    fn is_among(&self, headers: &HeaderMap, name: &HeaderName, equal: impl Fn(&str) -> bool) -> bool {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).map(str::trim).any(|tag| tag == "*" || equal(tag))
    }
}

/// A date that is not valid, or is there twice, is not there (RFC 9110 §13.1.3).
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut lines = headers.get_all(name).iter();
    let (date, None) = (lines.next()?, lines.next()) else { return None };
    seconds(date.to_str().ok()?)
}

fn seconds(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"3b9aca00-7-40\"";
    const THEN: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const BEFORE: &str = "Sun, 09 Sep 2001 01:46:39 GMT";
    const AFTER: &str = "Sun, 09 Sep 2001 01:46:41 GMT";

    /// A file of 64 bytes that was changed at [`THEN`], so many seconds ago.
    fn file(age: u64) -> Validators {
        let modified = Modified { seconds: 1_000_000_000, nanoseconds: 7 };
        Validators::new(modified, modified, 64, None, UNIX_EPOCH + Duration::from_secs(1_000_000_000 + age))
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().expect("a valid value"));
        }
        headers
    }

    #[test]
    fn validators_tell_versions_and_codings_apart() {
        let file = file(60);
        assert_eq!(
            (file.etag(), file.last_modified()),
            (HeaderValue::from_static(TAG), Some(HeaderValue::from_static(THEN)))
        );
        let modified = Modified { seconds: 1, nanoseconds: 2 };
        let of = |coding| Validators::new(modified, modified, 1, coding, SystemTime::now());
        assert_eq!(of(None).tag, "\"1-2-1\"");
        assert_eq!(of(Some(Coding::Brotli)).tag, "\"1-2-1-br\"");
    }

    #[test]
    fn a_time_that_a_tool_has_set_does_not_hide_a_change() {
        let set = Modified { seconds: 1_600_000_000, nanoseconds: 0 };
        let at = |seconds| {
            let touched = Modified { seconds, nanoseconds: 5 };
            Validators::new(set, touched, 1, None, SystemTime::now())
        };
        assert_ne!(at(1_700_000_000).etag(), at(1_700_000_001).etag());
        let since = HeaderMap::from_iter([(header::IF_MODIFIED_SINCE, HeaderValue::from_static(THEN))]);
        let file = Validators::new(Modified { seconds: 1, nanoseconds: 0 }, set, 1, None, SystemTime::now());
        assert_eq!(file.check(&since), Outcome::Proceed);
    }

    #[test]
    fn odd_times_give_valid_dates() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (seconds, expected) in [
            (i64::MAX, Some(THEN)),
            (2_000_000_000, Some(THEN)),
            (315_532_800, None),
            (1, None),
            (-5, None),
            (i64::MIN, None),
        ] {
            let modified = Modified { seconds, nanoseconds: 1 };
            let file = Validators::new(modified, modified, 1, None, now);
            assert_eq!(file.last_modified(), expected.map(HeaderValue::from_static));
            file.etag();
        }
    }

    #[test]
    fn conditions_are_checked_in_the_order_of_the_standard() {
        use Outcome::{Failed, NotModified, Proceed};
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
        let weak = format!("W/{TAG}");
        let several = format!("\"other\", {TAG}");
        let cases: &[(&[(HeaderName, &str)], Outcome)] = &[
            (&[], Proceed),
            (&[(IF_NONE_MATCH, TAG)], NotModified),
            (&[(IF_NONE_MATCH, &weak)], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, &several)], NotModified),
            (&[(IF_NONE_MATCH, "\"other\""), (IF_NONE_MATCH, TAG)], NotModified),
            (&[(IF_NONE_MATCH, "\"other\"")], Proceed),
            (&[(IF_NONE_MATCH, "rubbish")], Proceed),
            (&[(IF_MODIFIED_SINCE, THEN)], NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Proceed),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Proceed),
            (&[(IF_MODIFIED_SINCE, THEN), (IF_MODIFIED_SINCE, THEN)], Proceed),
            // The tag knows better than the date.
            (&[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, AFTER)], Proceed),
            (&[(IF_MATCH, TAG)], Proceed),
            (&[(IF_MATCH, "*")], Proceed),
            (&[(IF_MATCH, &weak)], Failed),
            (&[(IF_MATCH, "\"other\"")], Failed),
            (&[(IF_UNMODIFIED_SINCE, THEN)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Proceed),
            (&[(IF_MATCH, TAG), (IF_UNMODIFIED_SINCE, BEFORE)], Proceed),
            (&[(IF_MATCH, "\"other\""), (IF_NONE_MATCH, TAG)], Failed),
            (&[(IF_MATCH, TAG), (IF_NONE_MATCH, TAG)], NotModified),
        ];
        for (fields, expected) in cases {
            assert_eq!(file(60).check(&headers(fields)), *expected, "{fields:?}");
        }
    }

    #[test]
    fn a_range_belongs_to_one_version() {
        use header::IF_RANGE;
        assert!(file(60).allow_range(&HeaderMap::new()));
        assert!(file(60).allow_range(&headers(&[(IF_RANGE, TAG)])));
        assert!(file(60).allow_range(&headers(&[(IF_RANGE, THEN)])));
        for value in ["\"other\"", &format!("W/{TAG}"), BEFORE, AFTER, "rubbish", ""] {
            assert!(!file(60).allow_range(&headers(&[(IF_RANGE, value)])), "{value}");
        }
        assert!(!file(60).allow_range(&headers(&[(IF_RANGE, TAG), (IF_RANGE, TAG)])));
        assert!(
            !file(0).allow_range(&headers(&[(IF_RANGE, THEN)])),
            "it may change again within this second"
        );
    }
}
