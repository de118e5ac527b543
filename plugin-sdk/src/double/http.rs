//! Requests and responses that lie in the test itself.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_RANGE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

pub(crate) use crate::bindings::imports::tidegate::policy::response::RetryError;
pub(crate) use crate::bindings::imports::tidegate::policy::types::{
    BodyMode, EditError, IpAddress, RouteError, Version,
};
pub(crate) use crate::double::body::Body;
use crate::double::path;
use crate::http::{Reply, is_owned_by_proxy};

/// Has the methods of the bindings' `Request`.
pub(crate) struct Request(pub(crate) RefCell<RequestFacts>);

/// What a test says about a request, and what a policy did to it.
#[derive(Debug)]
pub(crate) struct RequestFacts {
    pub(crate) listener: String,
    pub(crate) client: IpAddr,
    /// Version and cipher suite.
    pub(crate) tls: Option<(u16, u16)>,
    pub(crate) server_name: Option<String>,
    pub(crate) client_certificate: Option<ClientCertificate>,
    pub(crate) version: Version,
    pub(crate) method: String,
    pub(crate) scheme: &'static str,
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) original_target: String,
    pub(crate) has_body: bool,
    pub(crate) headers: Fields,
    /// `None` = every name is known and granted.
    pub(crate) routes: Option<Vec<String>>,
    pub(crate) route: Option<String>,
    pub(crate) timeout_milliseconds: Option<u32>,
    pub(crate) hash_key: Option<String>,
    pub(crate) caching: Caching,
    pub(crate) body_limit: Option<u64>,
    pub(crate) notes: Vec<(String, Vec<u8>)>,
    pub(crate) reply: Option<Reply>,
    pub(crate) body_mode: BodyMode,
    pub(crate) decodes_body: bool,
    pub(crate) token: u64,
    pub(crate) attributes: Vec<(String, String)>,
}

/// What a policy said of caches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caching {
    /// What [`use_cache`](crate::Request::use_cache) named.
    pub cache: Option<String>,
    /// Whether no cache has anything to do with the request.
    pub bypassed: bool,
    /// Parts of the key, in order.
    pub key: Vec<String>,
    /// How long what comes may be used.
    pub lifetime: Option<Duration>,
    /// Tags of what comes.
    pub tags: Vec<String>,
}

/// What a test says of the client's certificate.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    pub(crate) sha256: Vec<u8>,
    pub(crate) names: Vec<String>,
    pub(crate) subject: String,
    pub(crate) is_verified: bool,
}

impl Request {
    pub(crate) fn client(&self) -> IpAddr {
        self.0.borrow().client.to_canonical()
    }

    pub(crate) fn id(&self) -> String {
        "0000000000000001".to_owned()
    }

    pub(crate) fn listener(&self) -> String {
        self.0.borrow().listener.clone()
    }

    pub(crate) fn client_ip(&self) -> IpAddress {
        self.client().into()
    }

    pub(crate) fn client_ip_text(&self) -> String {
        self.client().to_string()
    }

    pub(crate) fn peer_address(&self) -> String {
        std::net::SocketAddr::new(self.client(), 50000).to_string()
    }

    pub(crate) fn local_address(&self) -> String {
        let port = if self.is_tls() { 443 } else { 80 };
        format!("192.0.2.254:{port}")
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.0.borrow().tls.is_some()
    }

    pub(crate) fn tls_version(&self) -> Option<u16> {
        self.0.borrow().tls.map(|(version, _)| version)
    }

    pub(crate) fn tls_cipher_suite(&self) -> Option<u16> {
        self.0.borrow().tls.map(|(_, suite)| suite)
    }

    pub(crate) fn server_name(&self) -> Option<String> {
        self.0.borrow().server_name.clone()
    }

    pub(crate) fn client_verified(&self) -> bool {
        self.0.borrow().client_certificate.as_ref().is_some_and(|certificate| certificate.is_verified)
    }

    pub(crate) fn client_certificate_sha256(&self) -> Option<Vec<u8>> {
        self.0.borrow().client_certificate.as_ref().map(|certificate| certificate.sha256.clone())
    }

    pub(crate) fn client_certificate_names(&self) -> Vec<String> {
        let facts = self.0.borrow();
        facts.client_certificate.as_ref().map(|certificate| certificate.names.clone()).unwrap_or_default()
    }

    pub(crate) fn client_certificate_subject(&self) -> Option<String> {
        self.0.borrow().client_certificate.as_ref().map(|certificate| certificate.subject.clone())
    }

    pub(crate) fn client_certificate_serial(&self) -> Option<String> {
        self.0.borrow().client_certificate.as_ref().map(|_| "1".to_owned())
    }

    /// No certificate at all: tests that need one have their own.
    pub(crate) fn client_certificate(&self) -> Option<Vec<u8>> {
        self.0.borrow().client_certificate.as_ref().map(|_| Vec::new())
    }

    pub(crate) fn http_version(&self) -> Version {
        self.0.borrow().version
    }

    pub(crate) fn method(&self) -> String {
        self.0.borrow().method.clone()
    }

    pub(crate) fn method_is(&self, method: &str) -> bool {
        self.0.borrow().method == method
    }

    pub(crate) fn set_method(&self, method: &str) -> Result<(), EditError> {
        match Method::from_bytes(method.as_bytes()) {
            Ok(Method::CONNECT) => return Err(EditError::Forbidden),
            parsed => valid(parsed.is_ok())?,
        }
        self.0.borrow_mut().method = method.to_owned();
        Ok(())
    }

    pub(crate) fn scheme(&self) -> String {
        self.0.borrow().scheme.to_owned()
    }

    pub(crate) fn authority(&self) -> String {
        self.0.borrow().authority.clone()
    }

    pub(crate) fn set_authority(&self, authority: &str) -> Result<(), EditError> {
        valid(is_authority(authority))?;
        self.0.borrow_mut().authority = authority.to_owned();
        Ok(())
    }

    pub(crate) fn path(&self) -> String {
        let target = &self.0.borrow().target;
        target.split('?').next().unwrap_or(target).to_owned()
    }

    pub(crate) fn normalized_path(&self) -> String {
        path::normalize(&self.path())
    }

    pub(crate) fn path_starts_with(&self, prefix: &str) -> bool {
        self.normalized_path().starts_with(&path::spell(prefix))
    }

    pub(crate) fn query(&self) -> Option<String> {
        self.0.borrow().target.split_once('?').map(|(_, query)| query.to_owned())
    }

    pub(crate) fn query_param(&self, name: &str) -> Option<String> {
        self.query_params(name).into_iter().next()
    }

    pub(crate) fn query_params(&self, name: &str) -> Vec<String> {
        let query = self.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
    }

    pub(crate) fn original_target(&self) -> String {
        self.0.borrow().original_target.clone()
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        for value in self.header_values("cookie") {
            for pair in value.split(|byte| *byte == b';') {
                let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
                if pair[..at].trim_ascii() == name.as_bytes() {
                    let value = pair[at + 1..].trim_ascii();
                    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
                    return String::from_utf8(bare.unwrap_or(value).to_vec()).ok();
                }
            }
        }
        None
    }

    pub(crate) fn has_body(&self) -> bool {
        self.0.borrow().has_body
    }

    pub(crate) fn bytes_received(&self) -> u64 {
        0
    }

    pub(crate) fn limit_body(&self, bytes: u64) {
        let limit = &mut self.0.borrow_mut().body_limit;
        *limit = Some(limit.map_or(bytes, |old| old.min(bytes)));
    }

    pub(crate) fn note(&self, name: &str) -> Option<Vec<u8>> {
        let facts = self.0.borrow();
        facts.notes.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn set_note(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
        let notes = &mut self.0.borrow_mut().notes;
        notes.retain(|(known, _)| known != name);
        notes.push((name.to_owned(), value.to_vec()));
        Ok(())
    }

    pub(crate) fn set_target(&self, path_and_query: &str) -> Result<(), EditError> {
        let sendable = path_and_query.bytes().all(|byte| byte.is_ascii_graphic());
        let in_form = sendable && path_and_query.starts_with('/') && !path_and_query.contains('#');
        valid(in_form && path_and_query.parse::<PathAndQuery>().is_ok())?;
        self.0.borrow_mut().target = path_and_query.to_owned();
        Ok(())
    }

    /// `host` and the authority are one thing (RFC 9110 §7.2).
    pub(crate) fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        if name.eq_ignore_ascii_case("host") {
            return vec![self.authority().into_bytes()];
        }
        self.0.borrow().headers.values(name)
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        first_text(self.header_values(name))
    }

    pub(crate) fn header_count(&self, name: &str) -> u32 {
        count(&self.header_values(name))
    }

    pub(crate) fn header_contains(&self, name: &str, text: &str) -> bool {
        let contains = |value: &Vec<u8>| String::from_utf8_lossy(value).contains(text);
        self.header_values(name).iter().any(contains)
    }

    pub(crate) fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let mut fields = vec![("host".to_owned(), self.authority().into_bytes())];
        fields.extend(self.0.borrow().headers.all().into_iter().filter(|(name, _)| name != "host"));
        fields
    }

    pub(crate) fn set_header_bytes(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().headers.set(name, value)
    }

    pub(crate) fn append_header_bytes(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().headers.append(name, value)
    }

    pub(crate) fn remove_header(&self, name: &str) -> Result<u32, EditError> {
        self.0.borrow_mut().headers.remove(name)
    }

    pub(crate) fn route_to(&self, name: &str) -> Result<(), RouteError> {
        let mut facts = self.0.borrow_mut();
        if facts.routes.as_ref().is_some_and(|routes| !routes.iter().any(|route| route == name)) {
            return Err(RouteError::Unknown);
        }
        facts.route = Some(name.to_owned());
        Ok(())
    }

    pub(crate) fn route(&self) -> Option<String> {
        self.0.borrow().route.clone()
    }

    pub(crate) fn set_timeout(&self, milliseconds: u32) {
        // 0 is as configured.
        self.0.borrow_mut().timeout_milliseconds =
            Some(milliseconds).filter(|milliseconds| *milliseconds > 0);
    }

    pub(crate) fn set_hash_key(&self, key: &str) {
        self.0.borrow_mut().hash_key = Some(key.to_owned());
    }

    pub(crate) fn use_cache(&self, name: &str) -> Result<(), RouteError> {
        let caching = &mut self.0.borrow_mut().caching;
        if !caching.bypassed {
            caching.cache = Some(name.to_owned());
        }
        Ok(())
    }

    pub(crate) fn bypass_cache(&self) {
        let caching = &mut self.0.borrow_mut().caching;
        (caching.cache, caching.bypassed) = (None, true);
    }

    pub(crate) fn add_cache_key(&self, part: &str) -> Result<(), EditError> {
        let caching = &mut self.0.borrow_mut().caching;
        if caching.key.iter().map(|part| part.len() + 1).sum::<usize>() + part.len() > 4 << 10 {
            (caching.cache, caching.bypassed) = (None, true);
            return Err(EditError::TooLarge);
        }
        caching.key.push(part.to_owned());
        Ok(())
    }

    pub(crate) fn set_cache_lifetime(&self, seconds: u32) {
        self.0.borrow_mut().caching.lifetime = Some(Duration::from_secs(seconds.into()));
    }

    pub(crate) fn add_cache_tag(&self, tag: &str) -> Result<(), EditError> {
        let tags = &mut self.0.borrow_mut().caching.tags;
        if tag.is_empty() || !tag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            return Err(EditError::Invalid);
        }
        if tags.iter().map(|tag| tag.len() + 1).sum::<usize>() + tag.len() > 4 << 10 {
            return Err(EditError::TooLarge);
        }
        tags.push(tag.to_owned());
        Ok(())
    }

    pub(crate) fn respond_bytes(&self, status: u16, headers: &[Field], body: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().reply = Some(reply(status, headers, body)?);
        Ok(())
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    pub(crate) fn set_body_mode(&self, mode: BodyMode) {
        self.0.borrow_mut().body_mode = mode;
    }

    pub(crate) fn decode_body(&self) -> bool {
        let mut facts = self.0.borrow_mut();
        let codings = facts.headers.codings();
        facts.decodes_body |= codings.is_some_and(|codings| codings > 0);
        codings.is_some()
    }

    pub(crate) fn token(&self) -> u64 {
        self.0.borrow().token
    }

    pub(crate) fn set_token(&self, value: u64) {
        self.0.borrow_mut().token = value;
    }

    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        let facts = self.0.borrow();
        facts.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    pub(crate) fn set_attribute(&self, key: &str, value: &str) -> Result<(), EditError> {
        valid(!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()))?;
        let attributes = &mut self.0.borrow_mut().attributes;
        attributes.retain(|(known, _)| known != key);
        attributes.push((key.to_owned(), value.to_owned()));
        Ok(())
    }
}

/// Has the methods of the bindings' `Response`.
pub(crate) struct Response(pub(crate) RefCell<ResponseFacts>);

/// What a test says about a response, and what a policy did to it.
#[derive(Debug)]
pub(crate) struct ResponseFacts {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    pub(crate) origin: Option<String>,
    pub(crate) failure: Option<String>,
    pub(crate) elapsed_microseconds: u64,
    /// `None` = the request cannot be sent again; otherwise where a policy wants it to go.
    pub(crate) retry: Option<Option<String>>,
    pub(crate) reply: Option<Reply>,
    pub(crate) body_mode: BodyMode,
    pub(crate) decodes_body: bool,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.0.borrow().status
    }

    pub(crate) fn set_status(&self, status: u16) -> Result<(), EditError> {
        valid((200..=599).contains(&status))?;
        self.0.borrow_mut().status = status;
        Ok(())
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        first_text(self.header_values(name))
    }

    pub(crate) fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.borrow().headers.values(name)
    }

    pub(crate) fn header_count(&self, name: &str) -> u32 {
        count(&self.header_values(name))
    }

    pub(crate) fn headers(&self) -> Vec<Field> {
        self.0.borrow().headers.all()
    }

    pub(crate) fn set_header_bytes(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().headers.set(name, value)
    }

    pub(crate) fn append_header_bytes(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().headers.append(name, value)
    }

    pub(crate) fn remove_header(&self, name: &str) -> Result<u32, EditError> {
        self.0.borrow_mut().headers.remove(name)
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    pub(crate) fn respond_bytes(&self, status: u16, headers: &[Field], body: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().reply = Some(reply(status, headers, body)?);
        Ok(())
    }

    pub(crate) fn set_body_mode(&self, mode: BodyMode) {
        self.0.borrow_mut().body_mode = mode;
    }

    pub(crate) fn decode_body(&self) -> bool {
        let mut facts = self.0.borrow_mut();
        let is_part = facts.headers.0.contains_key(CONTENT_RANGE);
        // A part of a coded body is no coded body.
        let codings = facts.headers.codings().filter(|codings| *codings == 0 || !is_part);
        facts.decodes_body |= codings.is_some_and(|codings| codings > 0);
        codings.is_some()
    }

    pub(crate) fn retry_at(&self, destination: &str) -> Result<(), RetryError> {
        match &mut self.0.borrow_mut().retry {
            None => Err(RetryError::NotPossible),
            Some(to) => {
                *to = Some(destination.to_owned());
                Ok(())
            }
        }
    }

    pub(crate) fn server(&self) -> Option<String> {
        self.0.borrow().origin.as_ref().map(|_| "192.0.2.80:80".to_owned())
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.0.borrow().origin.is_some().into()
    }

    pub(crate) fn bytes_sent(&self) -> u64 {
        0
    }

    pub(crate) fn origin(&self) -> Option<String> {
        self.0.borrow().origin.clone()
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.0.borrow().failure.clone()
    }

    pub(crate) fn elapsed(&self) -> u64 {
        self.0.borrow().elapsed_microseconds
    }
}

type Field = (String, Vec<u8>);

/// Header fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(HeaderMap);

impl Fields {
    /// What a test says there is, whoever owns it.
    pub(crate) fn add(&mut self, name: &str, value: &[u8]) {
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value));
        let (Ok(name), Ok(value)) = parsed else {
            panic!("{name:?}: {:?} is no header field", String::from_utf8_lossy(value));
        };
        self.0.append(name, value);
    }

    fn values(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
    }

    fn all(&self) -> Vec<Field> {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.as_bytes().to_vec())
        };
        self.0.iter().map(field).collect()
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), EditError> {
        let (name, value) = (editable_name(name)?, valid_value(value)?);
        self.0.insert(name, value);
        Ok(())
    }

    fn append(&mut self, name: &str, value: &[u8]) -> Result<(), EditError> {
        let (name, value) = (editable_name(name)?, valid_value(value)?);
        self.0.append(name, value);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<u32, EditError> {
        let name = editable_name(name)?;
        let removed = count(&self.values(name.as_str()));
        self.0.remove(name);
        Ok(removed)
    }

    /// How many content codings (RFC 9110 §8.4.1) there are to undo; `None` if one is unknown or there are more
    /// than two.
    fn codings(&self) -> Option<usize> {
        let mut codings = 0;
        for value in self.0.get_all(CONTENT_ENCODING) {
            for name in value.to_str().ok()?.split(',') {
                match name.trim().to_ascii_lowercase().as_str() {
                    "" | "identity" => {}
                    "gzip" | "x-gzip" | "deflate" | "br" | "zstd" => codings += 1,
                    _ => return None,
                }
            }
        }
        Some(codings).filter(|codings| *codings <= 2)
    }
}

fn reply(status: u16, headers: &[Field], body: &[u8]) -> Result<Reply, EditError> {
    valid((200..=599).contains(&status))?;
    for (name, value) in headers {
        editable_name(name)?;
        valid_value(value)?;
    }
    Ok(Reply { status, headers: headers.to_vec(), body: body.to_vec() })
}

fn editable_name(name: &str) -> Result<HeaderName, EditError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| EditError::Invalid)?;
    if is_owned_by_proxy(name.as_str()) { Err(EditError::Forbidden) } else { Ok(name) }
}

fn valid_value(value: &[u8]) -> Result<HeaderValue, EditError> {
    HeaderValue::from_bytes(value).map_err(|_| EditError::Invalid)
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), as the proxy takes it from clients.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) if address.parse::<Ipv6Addr>().is_ok() => ("v6", port),
        Some(_) => return false,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let is_port = |digits: &str| {
        digits.is_empty()
            || (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok())
    };
    let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte);
    !host.is_empty()
        && host.bytes().all(host_byte)
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn valid(condition: bool) -> Result<(), EditError> {
    if condition { Ok(()) } else { Err(EditError::Invalid) }
}

fn first_text(values: Vec<Vec<u8>>) -> Option<String> {
    String::from_utf8(values.into_iter().next()?).ok()
}

fn count(values: &[Vec<u8>]) -> u32 {
    u32::try_from(values.len()).unwrap_or(u32::MAX)
}
