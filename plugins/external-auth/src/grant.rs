//! What a positive answer says: fields for the server, and fields for the client.

use tidegate_plugin_sdk::OwnHeader;
use tidegate_plugin_sdk::callout::Incoming;
use tidegate_plugin_sdk::prelude::*;

/// Fields in order; names in lower case.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// What of a positive answer counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) for_server: Fields,
    pub(crate) for_client: Fields,
}

impl Grant {
    pub(crate) fn of(answer: &Incoming, for_server: &[OwnHeader], for_client: &[String]) -> Self {
        let values = |name: &str| {
            let name = name.to_owned();
            answer.header_values(&name).into_iter().map(move |value| (name.clone(), value))
        };
        Self {
            for_server: for_server.iter().flat_map(|header| values(header.name())).collect(),
            for_client: for_client.iter().flat_map(|name| values(name)).collect(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Neither of the two stands in a field (RFC 9110 §5.5).
        [encode(&self.for_server), encode(&self.for_client)].join(&b'\0')
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let at = bytes.iter().position(|byte| *byte == b'\0')?;
        Some(Self { for_server: decode(&bytes[..at])?, for_client: decode(&bytes[at + 1..])? })
    }
}

/// A line for each.
pub(crate) fn encode(fields: &Fields) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| [name.as_bytes(), b":", value, b"\n"].concat()).collect()
}

pub(crate) fn decode(lines: &[u8]) -> Option<Fields> {
    let line = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b':')?;
        Some((String::from_utf8(line[..at].to_vec()).ok()?, line[at + 1..].to_vec()))
    };
    match lines {
        [] => Some(Vec::new()),
        [lines @ .., b'\n'] => lines.split(|byte| *byte == b'\n').map(line).collect(),
        _ => None,
    }
}

/// In place of what the client said: fields of `headers` that `fields` does not have are removed, in every spelling.
pub(crate) fn tell_server(
    request: &Request,
    headers: &[OwnHeader],
    fields: &Fields,
) -> Result<(), EditError> {
    // All of them first: the spelling of one may be the name of another.
    headers.iter().try_for_each(|header| header.clear(request))?;
    for header in headers {
        let values = fields.iter().filter(|(known, _)| known == header.name());
        values.map(|(_, value)| value).try_for_each(|value| request.append_header(header.name(), value))?;
    }
    Ok(())
}

/// Cookies beside those of the server, other fields in place of its own.
pub(crate) fn tell_client(response: &Response, fields: &Fields) -> Result<(), EditError> {
    let mut before: Option<&str> = None;
    for (name, value) in fields {
        if name == "set-cookie" || before == Some(name) {
            response.append_header(name, value)?;
        } else {
            response.set_header(name, value)?;
        }
        before = Some(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_granted_is_read_as_it_was_written() {
        let field = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        for (for_server, for_client) in [
            (vec![], vec![]),
            (vec![field("a", b"")], vec![field("set-cookie", b"a:b; c=\xff"), field("set-cookie", b"d")]),
            (vec![field("a", b"1"), field("b", b":")], vec![]),
        ] {
            let grant = Grant { for_server, for_client };
            assert_eq!(Grant::from_bytes(&grant.to_bytes()), Some(grant));
        }
        for bytes in [&b""[..], b"a:b", b"a:b\n", b"a\n\0", b"a:b\0"] {
            assert_eq!(Grant::from_bytes(bytes), None);
        }
    }
}
