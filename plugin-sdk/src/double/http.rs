//! Requests and responses that lie in the test itself.

use std::cell::RefCell;
use std::net::IpAddr;

pub(crate) use crate::bindings::imports::tidegate::policy::http::{
    BodyMode, EditError, IpAddress, RouteError, TlsInfo, Version,
};
pub(crate) use crate::double::body::Body;
use crate::double::path;
use crate::http::{Reply, is_owned_by_proxy, is_token};

/// Has the methods of the bindings' `Request`.
pub(crate) struct Request(pub(crate) RefCell<RequestFacts>);

/// What a test says about a request, and what a policy did to it.
#[derive(Debug)]
pub(crate) struct RequestFacts {
    pub(crate) listener: String,
    pub(crate) client: IpAddr,
    pub(crate) tls: Option<TlsInfo>,
    pub(crate) server_name: Option<String>,
    pub(crate) client_certificate: Option<(Vec<u8>, Vec<String>)>,
    pub(crate) version: Version,
    pub(crate) method: String,
    pub(crate) scheme: &'static str,
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) headers: Fields,
    /// `None` = every name is known and granted.
    pub(crate) routes: Option<Vec<String>>,
    pub(crate) route: Option<String>,
    pub(crate) timeout_milliseconds: Option<u32>,
    pub(crate) hash_key: Option<String>,
    pub(crate) reply: Option<Reply>,
    pub(crate) body_mode: BodyMode,
    pub(crate) decodes_body: bool,
    pub(crate) token: u64,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn client(&self) -> IpAddr {
        self.0.borrow().client.to_canonical()
    }

    pub(crate) fn id(&self) -> u64 {
        1
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

    pub(crate) fn tls(&self) -> Option<TlsInfo> {
        self.0.borrow().tls
    }

    pub(crate) fn server_name(&self) -> Option<String> {
        self.0.borrow().server_name.clone()
    }

    pub(crate) fn client_certificate_sha256(&self) -> Option<Vec<u8>> {
        self.0.borrow().client_certificate.as_ref().map(|(digest, _)| digest.clone())
    }

    pub(crate) fn client_certificate_names(&self) -> Vec<String> {
        self.0.borrow().client_certificate.as_ref().map(|(_, names)| names.clone()).unwrap_or_default()
    }

    pub(crate) fn version(&self) -> Version {
        self.0.borrow().version
    }

    pub(crate) fn method(&self) -> String {
        self.0.borrow().method.clone()
    }

    pub(crate) fn method_is(&self, method: &str) -> bool {
        self.0.borrow().method == method
    }

    pub(crate) fn set_method(&self, method: &str) -> Result<(), EditError> {
        valid(is_token(method))?;
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
        let plain = |byte: u8| byte.is_ascii_graphic() && !br#"/\@?#"#.contains(&byte);
        valid(!authority.is_empty() && !authority.starts_with(':') && authority.bytes().all(plain))?;
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
        self.normalized_path().starts_with(prefix)
    }

    pub(crate) fn query(&self) -> Option<String> {
        self.0.borrow().target.split_once('?').map(|(_, query)| query.to_owned())
    }

    pub(crate) fn set_target(&self, path_and_query: &str) -> Result<(), EditError> {
        valid(is_target(path_and_query))?;
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
        let host = ("host".to_owned(), self.authority().into_bytes());
        [host].into_iter().chain(self.0.borrow().headers.0.clone()).collect()
    }

    pub(crate) fn set_header(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().headers.set(name, value)
    }

    pub(crate) fn append_header(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
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
        self.0.borrow_mut().timeout_milliseconds = Some(milliseconds);
    }

    pub(crate) fn set_hash_key(&self, key: &str) {
        self.0.borrow_mut().hash_key = Some(key.to_owned());
    }

    pub(crate) fn respond(&self, status: u16, headers: &[Field], body: &[u8]) -> Result<(), EditError> {
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
        let decodable = decodable(&facts.headers);
        facts.decodes_body |= decodable == Some(true);
        decodable.is_some()
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
        self.0.borrow().headers.0.clone()
    }

    pub(crate) fn set_header(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().headers.set(name, value)
    }

    pub(crate) fn append_header(&self, name: &str, value: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().headers.append(name, value)
    }

    pub(crate) fn remove_header(&self, name: &str) -> Result<u32, EditError> {
        self.0.borrow_mut().headers.remove(name)
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    pub(crate) fn respond(&self, status: u16, headers: &[Field], body: &[u8]) -> Result<(), EditError> {
        self.0.borrow_mut().reply = Some(reply(status, headers, body)?);
        Ok(())
    }

    pub(crate) fn set_body_mode(&self, mode: BodyMode) {
        self.0.borrow_mut().body_mode = mode;
    }

    pub(crate) fn decode_body(&self) -> bool {
        let mut facts = self.0.borrow_mut();
        let is_part = !facts.headers.values("content-range").is_empty();
        // A part of a coded body is no coded body.
        let decodable = decodable(&facts.headers).filter(|coded| !(*coded && is_part));
        facts.decodes_body |= decodable == Some(true);
        decodable.is_some()
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

/// Header fields in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(pub(crate) Vec<Field>);

impl Fields {
    fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let named = self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.clone()).collect()
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), EditError> {
        check_field(name, value)?;
        self.remove(name)?;
        self.append(name, value)
    }

    fn append(&mut self, name: &str, value: &[u8]) -> Result<(), EditError> {
        check_field(name, value)?;
        self.0.push((name.to_ascii_lowercase(), value.to_vec()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<u32, EditError> {
        check_field(name, b"")?;
        let removed = count(&self.values(name));
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        Ok(removed)
    }
}

/// Whether there are content codings (RFC 9110 §8.4.1) to undo; `None` if one is unknown or there are too many.
fn decodable(headers: &Fields) -> Option<bool> {
    let values = headers.values("content-encoding");
    let mut codings = 0;
    for value in &values {
        for name in str::from_utf8(value).ok()?.split(',') {
            match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" | "deflate" | "br" | "zstd" => codings += 1,
                _ => return None,
            }
        }
    }
    if codings > 4 { None } else { Some(codings > 0) }
}

fn reply(status: u16, headers: &[Field], body: &[u8]) -> Result<Reply, EditError> {
    valid((200..=599).contains(&status))?;
    for (name, value) in headers {
        check_field(name, value)?;
    }
    Ok(Reply { status, headers: headers.to_vec(), body: body.to_vec() })
}

fn check_field(name: &str, value: &[u8]) -> Result<(), EditError> {
    valid(is_token(name) && value.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f)))?;
    if is_owned_by_proxy(name) {
        return Err(EditError::Forbidden);
    }
    Ok(())
}

fn is_target(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte > 0x20 && byte != 0x7f && byte != b'#')
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
