//! A request to be sent, whoever makes it, and its wording for one server.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Request, Uri, Version, header};
use http_body::Body;
use tidegate_body::RequestBody;
use tidegate_message::RequestHead;
use tokio::time::Instant;

use crate::pool::Owner;
use crate::target::Target;

/// A request and what is to be known about sending it.
pub struct Outgoing<'a> {
    /// Borrowed, since it is worded anew for each attempt, and its owner may still be asked about it.
    pub head: &'a RequestHead,
    /// What belongs to the connections on either side.
    pub hop: &'a Hop,
    /// What `balance = "hash"` goes by; without it, the client's address.
    pub hash_key: Option<&'a str>,
    /// Its body, which may be sent more than once.
    pub body: RequestBody,
    /// When all of it has to be over, the body of the response included; `None` = as the upstream's timeouts say.
    pub deadline: Option<Instant>,
}

/// What belongs to the connections and not to the request (RFC 9110 §7.6.1).
#[derive(Debug, Clone)]
pub struct Hop {
    /// The protocol the client wants to switch to.
    pub upgrade: Option<HeaderValue>,
    /// The client accepts trailers.
    pub trailers: bool,
    /// Which connection of a client it is, among those of this worker.
    pub connection: u64,
    /// The client, for the PROXY header and for `balance = "hash"`.
    pub client: SocketAddr,
    /// The address it connected to.
    pub destination: SocketAddr,
}

impl Hop {
    /// Whom a server may authenticate by this connection.
    pub(crate) fn owner(&self) -> Owner {
        Owner { connection: self.connection, client: self.client.ip() }
    }
}

/// What a connection asks of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wording<'a> {
    /// It speaks HTTP/2.
    pub(crate) http2: bool,
    /// The protocol to switch to.
    pub(crate) upgrade: Option<&'a HeaderValue>,
    /// Trailers are accepted.
    pub(crate) trailers: bool,
    /// The length of the body, where the fields have to say it.
    pub(crate) length: Option<u64>,
    /// The proxies on the way are named.
    pub(crate) via: bool,
}

/// The request as `target` gets it.
pub(crate) fn word<B: Body>(
    head: &RequestHead,
    target: &Target,
    wording: Wording<'_>,
    body: B,
) -> Request<B> {
    let Wording { http2, upgrade, trailers, length, via } = wording;
    // Cloned, since there may be another attempt, and later phases still see the request.
    let mut headers: HeaderMap = head.headers.clone();
    // Only an HTTP/1.0 client may leave the host out.
    let host = if head.authority.is_empty() { &*target.host } else { &*head.authority };
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    } else if !http2 && !body.is_end_stream() && body.size_hint().exact().is_none() {
        // hyper takes it for granted of most methods, and leaves out the body of GET and HEAD.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if !via {
        headers.remove(header::VIA);
    }
    let uri = if http2 {
        // In `:authority` (RFC 9113 §8.3.1); hyper takes it from the URI.
        headers.remove(header::HOST);
        let scheme = if target.tls.is_some() { "https" } else { "http" };
        let parts = Uri::builder().scheme(scheme).authority(host).path_and_query(head.target().clone());
        parts.build().unwrap_or_else(|_| Uri::from(head.target().clone()))
    } else {
        let kept = headers.get(header::HOST).is_some_and(|kept| kept.as_bytes() == host.as_bytes());
        if !kept && let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(header::HOST, host);
        }
        Uri::from(head.target().clone())
    };
    match upgrade {
        Some(protocol) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
        None if trailers => {
            if !http2 {
                headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
            }
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        None => {}
    }
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    *request.headers_mut() = headers;
    request
}
