//! A request header field that servers believe, since only the policy sets it.

use crate::http::{EditError, is_owned_by_proxy, is_token};
use crate::{Error, Message, Request};

/// A request header field in which a policy tells servers what they shall believe, such as who the client is. What
/// clients send under its name is forged, and has to go from every request, also where the policy has nothing to say.
///
/// Servers that see fields as variables, as CGI does (RFC 3875 §4.1.18) and WSGI, Rack and PHP after it, read `x-user`
/// and `x_user` as the same. So every spelling of the name with `-` and `_` is removed.
#[derive(Debug)]
pub struct OwnHeader {
    name: String,
    /// `name` among them.
    spellings: Vec<String>,
}

/// Each doubles the spellings.
const MAX_SEPARATORS: usize = 4;

impl OwnHeader {
    /// # Errors
    ///
    /// Not the name of a field, one that the proxy owns, or one with more than four `-` and `_`.
    pub fn new(name: &str) -> Result<Self, Error> {
        if !is_token(name) {
            return Err(format!("`{name}` is not a field name").into());
        }
        if is_owned_by_proxy(name) {
            return Err(format!("`{name}` belongs to the proxy").into());
        }
        let name = name.to_ascii_lowercase();
        let separators = name.bytes().filter(|byte| b"-_".contains(byte)).count();
        if separators > MAX_SEPARATORS {
            return Err(
                format!("`{name}` has more than {MAX_SEPARATORS} `-` and `_`; take a shorter name").into()
            );
        }
        let mut spellings = vec![String::new()];
        for character in name.chars() {
            if matches!(character, '-' | '_') {
                let other: Vec<_> = spellings.iter().map(|spelling| format!("{spelling}_")).collect();
                spellings.iter_mut().for_each(|spelling| spelling.push('-'));
                spellings.extend(other);
            } else {
                spellings.iter_mut().for_each(|spelling| spelling.push(character));
            }
        }
        Ok(Self { name, spellings })
    }

    /// In lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes what the client sent.
    ///
    /// # Errors
    ///
    /// [`EditError::Forbidden`] outside the phases in which a request can be edited.
    pub fn clear(&self, request: &Request) -> Result<(), EditError> {
        self.spellings.iter().try_for_each(|spelling| request.remove_header(spelling).map(drop))
    }

    /// Replaces all values of the field, which was cleared before.
    ///
    /// # Errors
    ///
    /// As [`Message::set_header`].
    pub fn set(&self, request: &Request, value: impl AsRef<[u8]>) -> Result<(), EditError> {
        request.set_header(&self.name, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn no_spelling_of_a_forged_field_stays() {
        let request = testing::Request::new("GET", "/")
            .with_header("X-Remote-User", "a")
            .with_header("x_remote_user", "b")
            .with_header("x-remote_user", "c")
            .with_header("x_remote-user", "d")
            .with_header("x-remote", "stays");
        let header = OwnHeader::new("X-Remote-User").unwrap();
        header.clear(&request).unwrap();
        let left = request.headers();
        assert_eq!(left.len(), 2, "{left:?}");
        header.set(&request, "me").unwrap();
        assert_eq!(request.header_values("x-remote-user"), [b"me"]);
    }

    #[test]
    fn names_that_cannot_be_the_policys_are_refused() {
        for (name, reason) in [
            ("", "is not a field name"),
            ("a b", "is not a field name"),
            ("Host", "belongs to the proxy"),
            ("a-b-c-d-e-f", "has more than 4"),
        ] {
            let error = OwnHeader::new(name).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
