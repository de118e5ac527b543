//! Who the client is and what the next server is told about it: X-Forwarded-*, Forwarded (RFC 7239), Via.

use std::cell::RefCell;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use ipnet::IpNet;

use tidegate_message::UNKNOWN;
use tidegate_message::fields::{members_from_last, parts, trim};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An `x-request-id` longer than this is replaced: it is copied into every log on the way.
const MAX_REQUEST_ID: usize = 128;

/// What a request says of the client, as far as the source of its connection is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// `http` or `https`, as the client connected to the first proxy.
    pub(crate) scheme: &'static str,
    /// The connection's source is a trusted proxy: its fields are kept and added to.
    pub(crate) source_trusted: bool,
}

/// Finds the client of a request that came from `source` over `scheme`. The source of a connection is its
/// peer, or whom a PROXY protocol header names in the peer's place.
///
/// From a trusted source, the addresses it lists are read from the last to the first until one is not a
/// trusted proxy; that is the client. `X-Forwarded-For` is read if present, else `Forwarded`; or `field` alone, which
/// has one address. What cannot be read stands for a client that is [`UNKNOWN`], never for who passed it on.
pub(crate) fn client(
    source: IpAddr,
    scheme: &'static str,
    headers: &HeaderMap,
    trusted: &[IpNet],
    field: Option<&HeaderName>,
) -> Client {
    let source = source.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_trusted(source) {
        return Client { address: source, scheme, source_trusted: false };
    }
    let (mut address, mut proto) = (source, None);
    let mut follow = |hop: Option<IpAddr>| {
        address = hop.map(|hop| hop.to_canonical()).filter(|hop| !hop.is_unspecified()).unwrap_or(UNKNOWN);
        is_trusted(address)
    };
    // How many hops were believed: what else is said of them is read as far.
    let mut hops = 0;
    if let Some(field) = field {
        let mut values = headers.get_all(field).iter().map(HeaderValue::as_bytes);
        match (values.next(), values.next()) {
            (None, _) => {}
            (Some(value), None) => drop(follow(node(value))),
            (Some(_), Some(_)) => drop(follow(None)),
        }
    } else if headers.contains_key(&X_FORWARDED_FOR) {
        // Until a member says more: an empty list is one that cannot be read.
        follow(None);
        for hop in members_from_last(headers, &X_FORWARDED_FOR) {
            hops += 1;
            if !follow(node(hop)) {
                break;
            }
        }
    } else if headers.contains_key(header::FORWARDED) {
        follow(None);
        for hop in members_from_last(headers, &header::FORWARDED) {
            proto = parameter(hop, "proto").map(<[u8]>::to_vec);
            if !follow(parameter(hop, "for").and_then(node)) {
                break;
            }
        }
    }
    // One word for all hops, as a rule; else one for each.
    let told: Vec<&[u8]> = members_from_last(headers, &X_FORWARDED_PROTO).collect();
    let told = told.get(hops.clamp(1, told.len().max(1)) - 1).copied().or(proto.as_deref());
    let scheme = match told {
        Some(told) if told.eq_ignore_ascii_case(b"https") => "https",
        Some(told) if told.eq_ignore_ascii_case(b"http") => "http",
        _ => scheme,
    };
    Client { address, scheme, source_trusted: true }
}

/// What the next server is told about one client connection. Most of it is the same for every request
/// on it, so it is put into words once.
#[derive(Debug)]
pub(crate) struct Introduction {
    source: IpAddr,
    source_text: HeaderValue,
    last: RefCell<Option<Words>>,
}

#[derive(Debug)]
struct Words {
    authority: String,
    scheme: &'static str,
    host: HeaderValue,
    forwarded: HeaderValue,
}

impl Introduction {
    pub(crate) fn new(source: IpAddr) -> Self {
        let source = source.to_canonical();
        Self { source, source_text: value(source.to_string()), last: RefCell::default() }
    }

    /// Sets the forwarding fields of a request: added to what a trusted source said, in place of what
    /// any other source did. `authority` is what the client asked for.
    pub(crate) fn set(&self, headers: &mut HeaderMap, client: &Client, authority: &str, version: Version) {
        let (host, forwarded) = self.words(authority, client.scheme);
        let believed = |name: HeaderName| client.source_trusted.then(|| joined(headers, &name)).flatten();
        let with = |before: Option<Vec<u8>>, own: HeaderValue| match before {
            Some(before) => value([&before[..], b", ", own.as_bytes()].concat()),
            None => own,
        };
        let hops = with(believed(X_FORWARDED_FOR), self.source_text.clone());
        let forwarded = with(believed(header::FORWARDED), forwarded);
        let host = believed(X_FORWARDED_HOST).map_or(host, value);
        headers.insert(X_FORWARDED_FOR, hops);
        headers.insert(header::FORWARDED, forwarded);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme));
        headers.insert(X_FORWARDED_HOST, host);
        // RFC 9110 §7.6.3: the version is that of the received message, our name a pseudonym.
        let via = match version {
            Version::HTTP_10 => "1.0 tidegate",
            Version::HTTP_2 => "2 tidegate",
            _ => "1.1 tidegate",
        };
        headers.append(header::VIA, HeaderValue::from_static(via));
    }

    /// `X-Forwarded-Host` and this hop's element of `Forwarded`.
    fn words(&self, authority: &str, scheme: &'static str) -> (HeaderValue, HeaderValue) {
        let mut last = self.last.borrow_mut();
        if let Some(words) = &*last
            && words.scheme == scheme
            && words.authority == authority
        {
            return (words.host.clone(), words.forwarded.clone());
        }
        let mut forwarded = match self.source {
            IpAddr::V4(source) => format!("for={source}"),
            IpAddr::V6(source) => format!("for=\"[{source}]\""),
        };
        if !authority.is_empty() {
            forwarded.push_str(&format!(";host=\"{authority}\""));
        }
        forwarded.push_str(&format!(";proto={scheme}"));
        let words = Words {
            authority: authority.to_owned(),
            scheme,
            host: value(authority.to_owned()),
            forwarded: value(forwarded),
        };
        let words = last.insert(words);
        (words.host.clone(), words.forwarded.clone())
    }
}

/// What is joined here are values that were fields before, addresses and an accepted authority.
fn value(text: impl Into<Vec<u8>>) -> HeaderValue {
    HeaderValue::try_from(text.into()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Keeps a usable `x-request-id`, if there `is_one`, or makes one of the process's own number and the exchange's.
pub(crate) fn request_id(headers: &mut HeaderMap, is_one: bool, process: u64, exchange: u64) -> HeaderValue {
    if is_one
        && let Some(id) = headers.get(&X_REQUEST_ID)
        && (1..=MAX_REQUEST_ID).contains(&id.len())
        && id.as_bytes().iter().all(u8::is_ascii_graphic)
    {
        return id.clone();
    }
    let mut digits = [0; 32];
    let bytes = (u128::from(process) << 64 | u128::from(exchange)).to_be_bytes();
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
    let id = HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("-"));
    headers.insert(X_REQUEST_ID, id.clone());
    id
}

/// All lines of a field in one, as they came.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| trim(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// One parameter of a `Forwarded` element, without its quotes (RFC 7239 §4). `None` if it is not there exactly once.
fn parameter<'a>(element: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = parts(element, b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        trim(&pair[..at]).eq_ignore_ascii_case(name.as_bytes()).then(|| trim(&pair[at + 1..]))
    });
    found.next().filter(|_| found.next().is_none()).map(unquoted)
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(text)
}

/// An address as these fields write it: bare, with a port, or in brackets.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(unquoted(text)).ok()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':')?),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then(|| address.parse().ok())?
}
