//! Where a request bears its token (RFC 6750 §2), and how it is taken out before the server sees it.

use tidegate_plugin_sdk::prelude::*;

use crate::refusal::Refusal;

/// Beside `authorization`.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) cookie: Option<String>,
    pub(crate) query: Option<String>,
}

impl Places {
    /// The token of the request. More than one, in whatever places, is none that can be relied on: the server might look at
    /// the other (RFC 6750 §3.1).
    pub(crate) fn token(&self, request: &Request) -> Result<Option<String>, Refusal> {
        let mut tokens = Vec::new();
        let fields = request.header_values("authorization");
        if fields.len() > 1 {
            return Err(Refusal::Request("more than one authorization field"));
        }
        for field in fields {
            if let Some(token) = bearer(&field) {
                tokens.push(token.ok_or(Refusal::Request("the authorization field is malformed"))?);
            }
        }
        if let Some(name) = &self.cookie {
            for field in request.header_values("cookie") {
                let values = pairs(&field).filter(|(found, _)| *found == name.as_bytes());
                // What a server empties at the end of a session.
                let values = values.map(|(_, value)| unquoted(value)).filter(|value| !value.is_empty());
                tokens.extend(values.map(|value| String::from_utf8_lossy(value).into_owned()));
            }
        }
        if let Some(name) = &self.query {
            tokens.extend(request.query_params(name).into_iter().filter(|value| !value.is_empty()));
        }
        let token = tokens.pop();
        if tokens.is_empty() { Ok(token) } else { Err(Refusal::Request("more than one token")) }
    }

    /// Takes it out of every place where one was looked for.
    pub(crate) fn strip(&self, request: &Request) -> Result<(), EditError> {
        if request.header_values("authorization").iter().any(|field| bearer(field).is_some()) {
            request.remove_header("authorization")?;
        }
        if let Some(name) = &self.cookie {
            strip_cookie(request, name.as_bytes())?;
        }
        if let Some(name) = &self.query {
            strip_parameter(request, name)?;
        }
        Ok(())
    }
}

/// `None` if the field is of another scheme; `None` inside if it is of this one and has no token. The name of the scheme is
/// compared without regard to case (RFC 9110 §11.1).
fn bearer(field: &[u8]) -> Option<Option<String>> {
    let (scheme, rest) = field.split_at_checked(b"bearer".len())?;
    match rest.first() {
        _ if !scheme.eq_ignore_ascii_case(b"bearer") => None,
        Some(b' ') => {
            let token = str::from_utf8(rest).ok().map(|token| token.trim_matches(' '));
            Some(
                token
                    .filter(|token| !token.is_empty() && !token.contains([' ', '\t', ',']))
                    .map(str::to_owned),
            )
        }
        None | Some(b'\t') => Some(None),
        Some(_) => None,
    }
}

/// Name and value of each cookie in a field (RFC 6265 §4.2.1).
fn pairs(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|byte| *byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

fn strip_cookie(request: &Request, name: &[u8]) -> Result<(), EditError> {
    let fields = request.header_values("cookie");
    if !fields.iter().any(|field| pairs(field).any(|(found, _)| found == name)) {
        return Ok(());
    }
    request.remove_header("cookie")?;
    for field in fields {
        let is_it = |pair: &&[u8]| pairs(pair).all(|(found, _)| found != name);
        let kept: Vec<&[u8]> =
            field.split(|byte| *byte == b';').filter(is_it).map(<[u8]>::trim_ascii).collect();
        let kept = kept.join(&b"; "[..]);
        if !kept.is_empty() {
            request.append_header("cookie", kept)?;
        }
    }
    Ok(())
}

fn strip_parameter(request: &Request, name: &str) -> Result<(), EditError> {
    let Some(query) = request.query() else { return Ok(()) };
    let is_other = |pair: &&str| decoded(pair.split('=').next().unwrap_or_default()) != name.as_bytes();
    let kept: Vec<&str> = query.split('&').filter(is_other).collect();
    if kept.len() == query.split('&').count() {
        return Ok(());
    }
    let path = request.path();
    match kept.is_empty() {
        true => request.set_target(&path),
        false => request.set_target(&format!("{path}?{}", kept.join("&"))),
    }
}

/// As forms are (`application/x-www-form-urlencoded`), as the proxy decodes names.
fn decoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let triplet = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let octet = triplet.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (first, octet.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(octet)) => {
                bytes.push(octet);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = after;
    }
    bytes
}
