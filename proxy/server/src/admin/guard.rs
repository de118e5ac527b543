//! Who may ask the admin interface, and how: what a page elsewhere makes a browser send is refused, and so is who has no
//! token where one is needed.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use tidegate_config::{Config, Problem, Tls};
use tidegate_crypto::equal;
use tidegate_message::authority;

use crate::regular;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a browser sends in place of the token.
const COOKIE: &str = "tidegate-admin";
/// Sessions that are kept; the oldest go.
const SESSIONS: usize = 64;
/// Shorter secrets can be guessed.
const SHORTEST: usize = 16;

/// What every request is held against.
pub(crate) struct Guard {
    hosts: Vec<String>,
    token: Option<Vec<u8>>,
    /// Certificates are known, so that who shows none is not.
    knows_certificates: bool,
    is_secure: bool,
    sessions: Mutex<VecDeque<String>>,
}

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

/// Reads the token that the configuration names.
pub(crate) fn token(config: &Config, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
    let path = config.admin.as_ref()?.token_file.as_ref()?;
    match read_token(path) {
        Ok(token) => Some(token),
        Err(message) => {
            problems.push(config.positions.problem("admin.token-file", message));
            None
        }
    }
}

fn read_token(path: &Path) -> Result<Vec<u8>, String> {
    let text =
        regular::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let token = text.trim();
    if token.len() < SHORTEST {
        return Err(format!("{}: a token has at least {SHORTEST} characters", path.display()));
    }
    if token.contains(char::is_whitespace) {
        return Err(format!("{}: a token is one word", path.display()));
    }
    Ok(token.as_bytes().to_vec())
}

impl Guard {
    pub(crate) fn new(hosts: Vec<String>, token: Option<Vec<u8>>) -> Self {
        Self { hosts, token, knows_certificates: false, is_secure: false, sessions: Mutex::default() }
    }

    /// The same where this is spoken.
    pub(crate) fn behind(self, tls: Option<&Tls>) -> Self {
        let knows_certificates = tls.is_some_and(|tls| tls.client_ca.is_some());
        Self { knows_certificates, is_secure: tls.is_some(), ..self }
    }

    /// `is_known`: it came through a socket whose file says who may use it, or with a certificate.
    pub(super) fn refuses(&self, request: &Parts, is_known: bool) -> Option<Refusal> {
        let refusal = |status, text: &str| Some(Refusal { status, text: format!("{text}\n") });
        let headers = &request.headers;
        if !headers.contains_key(header::HOST) && request.version == Version::HTTP_11 {
            return refusal(StatusCode::BAD_REQUEST, "no Host (RFC 9112 §3.2)");
        }
        if let Some(text) = self.foreign(headers) {
            return refusal(StatusCode::FORBIDDEN, &text);
        }
        if changes(&request.method) && !is_json(headers) {
            let text = "changes are asked for with Content-Type: application/json";
            return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
        let is_open = is_known || is_free(request.uri.path(), &request.method);
        if !is_open && !self.knows(headers) {
            if self.token.is_none() {
                return refusal(
                    StatusCode::FORBIDDEN,
                    "say who you are: show a certificate of admin.tls.client-ca",
                );
            }
            return refusal(StatusCode::UNAUTHORIZED, "say who you are: Authorization: Bearer TOKEN");
        }
        None
    }

    /// Why a page elsewhere may have made it, in the browser of somebody who can reach this.
    fn foreign(&self, headers: &HeaderMap) -> Option<String> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let authority = text(header::HOST).unwrap_or_default();
        let host = authority::host(authority);
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_local = !host.contains('.') || host.ends_with(".localhost");
        if !is_address && !is_local && !self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            return Some(format!("add {host:?} to admin.hosts to ask by this name"));
        }
        let is_own =
            |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(authority));
        if headers.contains_key(header::ORIGIN) && !text(header::ORIGIN).is_some_and(is_own) {
            return Some("pages of another origin are not answered".to_owned());
        }
        text(SEC_FETCH_SITE)
            .filter(|site| *site == "cross-site" || *site == "same-site")
            .map(|_| "pages of another site are not answered".to_owned())
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return !self.knows_certificates };
        let credentials =
            headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        // The scheme has no case (RFC 9110 §11.1).
        let given = match credentials.split_at_checked(7) {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"bearer ") => given,
            _ => b"",
        };
        equal(given, token) || self.has_session(headers)
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.any(|(name, value)| {
            name == COOKIE && sessions.iter().any(|known| equal(known.as_bytes(), value.as_bytes()))
        })
    }

    /// A cookie for who knows the token: pages cannot send it with every request.
    pub(super) fn open_session(&self, given: &str) -> Option<String> {
        let token = self.token.as_ref()?;
        if !equal(given.as_bytes(), token) {
            return None;
        }
        let id: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() == SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back(id.clone());
        let secure = if self.is_secure { "; Secure" } else { "" };
        Some(format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict{secure}"))
    }
}

pub(super) fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// What tells nothing that has to be kept: what orchestrators ask, and the pages without what they show.
fn is_free(path: &str, method: &Method) -> bool {
    match path {
        "/livez" | "/readyz" | "/" | "/app.js" | "/style.css" => !changes(method),
        "/api/v1/session" => true,
        _ => false,
    }
}

/// A browser sends no such content to another origin without asking first, and is never told that it may (Fetch §3.2).
/// Without any content there is no type.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        let is_empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        return is_empty && !headers.contains_key(header::TRANSFER_ENCODING);
    };
    let essence = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn status(guard: &Guard, method: &str, path: &str, fields: &[(&str, &str)], is_local: bool) -> u16 {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:9900");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("valid").into_parts();
        guard.refuses(&parts, is_local).map_or(200, |refusal| refusal.status.as_u16())
    }

    #[test]
    fn changes_are_asked_for_in_json() {
        let guard = Guard::new(Vec::new(), None);
        let json = ("content-type", "application/json; charset=utf-8");
        for (fields, expected) in [
            (vec![], 200),
            (vec![json], 200),
            (vec![("content-length", "0")], 200),
            (vec![("content-length", "2")], 415),
            (vec![("transfer-encoding", "chunked")], 415),
            (vec![("content-type", "text/plain")], 415),
            (vec![("content-type", "application/x-www-form-urlencoded")], 415),
            (vec![json, ("origin", "http://evil.test")], 403),
            (vec![json, ("sec-fetch-site", "cross-site")], 403),
        ] {
            assert_eq!(status(&guard, "POST", "/api/v1/reload", &fields, false), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_token_is_asked_for_but_not_by_who_may_open_the_socket() {
        let guard = Guard::new(Vec::new(), Some(b"0123456789abcdef".to_vec()));
        let bearer = ("authorization", "bearer 0123456789abcdef");
        for (path, fields, expected) in [
            ("/metrics", vec![], 401),
            ("/metrics", vec![bearer], 200),
            ("/metrics", vec![("authorization", "Bearer 0123456789abcdeF")], 401),
            ("/metrics", vec![("authorization", "Basic 0123456789abcdef")], 401),
            ("/livez", vec![], 200),
            ("/readyz", vec![], 200),
            ("/", vec![], 200),
            ("/api/v1/status", vec![("cookie", "tidegate-admin=")], 401),
        ] {
            assert_eq!(status(&guard, "GET", path, &fields, false), expected, "{path} {fields:?}");
        }
        assert_eq!(status(&guard, "POST", "/", &[], false), 401);
        assert_eq!(status(&guard, "GET", "/metrics", &[], true), 200);
    }

    #[test]
    fn a_session_stands_for_the_token() {
        let guard = Guard::new(Vec::new(), Some(b"0123456789abcdef".to_vec()));
        assert_eq!(guard.open_session("wrong"), None);
        let cookie = guard.open_session("0123456789abcdef").expect("a session");
        let pair = cookie.split(';').next().expect("a pair");
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
        assert_eq!(status(&guard, "GET", "/metrics", &[("cookie", &format!("a=b; {pair}"))], false), 200);
    }
}
