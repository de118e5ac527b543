//! What a client shows: user name and password in `authorization` (RFC 7617).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tidegate_plugin_sdk::prelude::*;

/// A user name and a password; as likely as not of nobody.
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Vec<u8>,
}

/// No password over 512 bytes is right.
const MAX_VALUE: usize = 2048;

/// Some clients leave the `=` at the end out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Credentials {
    /// `None` as well where there are several: which of them a server takes is its own affair.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let [value] = <[Vec<u8>; 1]>::try_from(request.header_values("authorization")).ok()?;
        Self::read(&value)
    }

    fn read(value: &[u8]) -> Option<Self> {
        if value.len() > MAX_VALUE {
            return None;
        }
        let (scheme, token) = str::from_utf8(value).ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = BASE64.decode(token.trim_matches(' ')).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let user = str::from_utf8(&decoded[..colon]).ok()?;
        // §2: "The user-id and password MUST NOT contain any control characters".
        if user.chars().any(char::is_control) {
            return None;
        }
        Some(Self { user: user.to_owned(), password: decoded[colon + 1..].to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: impl AsRef<[u8]>) -> Option<(String, Vec<u8>)> {
        Credentials::read(value.as_ref()).map(|credentials| (credentials.user, credentials.password))
    }

    #[test]
    fn the_first_colon_ends_the_name() {
        for (value, user, password) in [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
            ("bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Aladdin", "open sesame"),
            ("Basic dGVzdDoxMjPCow==", "test", "123£"),
            ("Basic YTpiOmM=", "a", "b:c"),
            ("Basic Og==", "", ""),
        ] {
            assert_eq!(read(value), Some((user.to_owned(), password.as_bytes().to_vec())), "{value}");
        }
    }

    #[test]
    fn what_is_not_in_form_is_nothing() {
        let long = format!("Basic {}", "YTph".repeat(600));
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic !",
            "Basic YWJj",
            "Basic YQo6Yg==",
            "Basic YTpi, Basic YTpi",
            "Bearer YTpi",
            "Basic_YTpi",
            &long,
        ] {
            assert_eq!(read(value), None, "{value}");
        }
        assert_eq!(read(b"Basic \xff"), None);
        assert_eq!(read("Basic /zph"), None, "the name is not UTF-8");
    }
}
