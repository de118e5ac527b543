//! What a positive answer says: fields for the server, and fields for the client.

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
    pub(crate) fn of(answer: &Incoming, for_server: &[String], for_client: &[String]) -> Self {
        let pick = |names: &[String]| {
            let values = |name: &String| {
                let name = name.clone();
                answer.header_values(&name).into_iter().map(move |value| (name.clone(), value))
            };
            names.iter().flat_map(values).collect()
        };
        Self { for_server: pick(for_server), for_client: pick(for_client) }
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

/// In place of what the client said: fields of `names` that `fields` does not have are removed.
pub(crate) fn tell_server(request: &Request, names: &[String], fields: &Fields) -> Result<(), EditError> {
    for name in names {
        let mut values = fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        match values.next() {
            None => drop(request.remove_header(name)?),
            Some(first) => {
                request.set_header(name, first)?;
                for further in values {
                    request.append_header(name, further)?;
                }
            }
        }
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
