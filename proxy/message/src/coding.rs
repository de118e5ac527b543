//! Content codings (RFC 9110 §8.4.1).

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// Codings on top of each other. Two are a mistake as a rule, three an attack: each costs a decoder with its
/// window, and multiplies what a small body can grow to.
const MAX_CODINGS: usize = 2;

/// How a body can be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip` or `x-gzip` (RFC 9110 §8.4.1.3).
    Gzip,
    /// `deflate`: the zlib format (RFC 9110 §8.4.1.2).
    Deflate,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
}

impl Coding {
    /// Its name in `Content-Encoding` and `Accept-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The value of `Content-Encoding`.
    pub fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// Those of a body by its `content-encoding`, in the order in which they were applied: the last is undone
    /// first. Empty if there is nothing to undo; `None` if one is unknown or there are more than two.
    pub fn of(headers: &HeaderMap) -> Option<Vec<Self>> {
        let mut codings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().ok()?.split(',') {
                let coding = match name.trim().to_ascii_lowercase().as_str() {
                    // An empty element of a list counts as none (RFC 9110 §5.6.1).
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    "br" => Self::Brotli,
                    "zstd" => Self::Zstd,
                    _ => return None,
                };
                if codings.len() == MAX_CODINGS {
                    return None;
                }
                codings.push(coding);
            }
        }
        Some(codings)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn codings(values: &[&'static str]) -> Option<Vec<Coding>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Coding::of(&headers)
    }

    #[test]
    fn codings_stand_in_the_order_they_were_applied() {
        assert_eq!(codings(&[]), Some(vec![]));
        assert_eq!(codings(&["identity", " , "]), Some(vec![]));
        assert_eq!(codings(&["GZip"]), Some(vec![Coding::Gzip]));
        assert_eq!(codings(&["br", "zstd"]), Some(vec![Coding::Brotli, Coding::Zstd]));
        assert_eq!(codings(&["deflate, x-gzip"]), Some(vec![Coding::Deflate, Coding::Gzip]));
    }

    #[test]
    fn what_cannot_be_undone_is_not_begun() {
        assert_eq!(codings(&["gzip, compress"]), None);
        assert_eq!(codings(&["gzip;q=1"]), None);
        assert_eq!(codings(&["gzip, gzip", "gzip"]), None);
    }
}
