//! Exchanges of requests that nobody sent: for trying policies, and for explaining what they do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::header::HeaderMap;
use http::uri::PathAndQuery;
use http::{Method, Version};
use tidegate_message::{Connection, RequestHead, TlsFacts, authority};
use tidegate_plugin_host::{Destinations, EditLimits, Exchange};

use crate::tls;

/// A request as somebody describes it.
pub(crate) struct Imagined<'a> {
    pub(crate) method: &'a str,
    /// `https://host/path?query`, or `/path?query` at `http://example.com`.
    pub(crate) url: &'a str,
    /// Without framing and hop-by-hop fields.
    pub(crate) headers: HeaderMap,
    /// Bytes of the body; `None`: there is none.
    pub(crate) body_length: Option<usize>,
    /// PEM of the certificate that the client showed, with `https` only.
    pub(crate) certificate: Option<&'a str>,
    /// An address.
    pub(crate) client: &'a str,
    /// A name.
    pub(crate) listener: &'a str,
}

impl Imagined<'_> {
    /// As it is before any policy was asked about it.
    ///
    /// # Errors
    ///
    /// What is no request, beginning with what of it: `url: …`.
    pub(crate) fn exchange(
        self,
        destinations: Arc<Destinations>,
        limits: EditLimits,
    ) -> Result<Box<Exchange>, String> {
        let method = self.method;
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| format!("method: {method:?} is no method"))?;
        let (scheme, host, target) = self.parts()?;
        let client = self.client.parse::<IpAddr>();
        let client = client.map_err(|_| format!("client: {:?} is no address", self.client))?;
        let certificate = self.certificate.map(tls::client_certificate_of_pem).transpose();
        let certificate = certificate.map_err(|error| format!("certificate: {error}"))?;
        if certificate.is_some() && scheme != "https" {
            return Err("certificate: only TLS has one: write `https://…` as the url".to_owned());
        }
        let tls = (scheme == "https").then(|| TlsFacts {
            version: 0x0304,
            cipher_suite: 0x1301,
            server_name: Some(authority::host(&host).to_ascii_lowercase()),
            client_verified: certificate.is_some(),
            client_certificate: certificate.map(Box::new),
        });
        let port = if tls.is_some() { 443 } else { 80 };
        let source = SocketAddr::new(client, 40_000);
        let destination = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let connection =
            Connection { listener: self.listener.into(), peer: source, source, destination, tls };
        let mut head = RequestHead::new(method, Version::HTTP_11, scheme, host, target, self.headers);
        head.content_length = self.body_length.map(|length| length as u64);
        let (started, connection) = (Instant::now(), Arc::new(connection));
        let mut exchange = Exchange::new(1, started, connection, client, head, destinations, limits);
        exchange.has_body = self.body_length.is_some_and(|length| length > 0);
        Ok(exchange)
    }

    fn parts(&self) -> Result<(&'static str, String, PathAndQuery), String> {
        let url = self.url;
        let (scheme, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => ("https", rest.to_owned()),
            (None, Some(rest)) => ("http", rest.to_owned()),
            (None, None) if url.starts_with('/') => ("http", format!("example.com{url}")),
            (None, None) => {
                return Err(format!("url: {url:?} begins with neither `/` nor `http://` nor `https://`"));
            }
        };
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !authority::is_valid(host) {
            return Err(format!("url: {host:?} is no host"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let parsed = PathAndQuery::try_from(target.as_str());
        let target = parsed.map_err(|error| format!("url: {target:?} cannot be asked for: {error}"))?;
        Ok((scheme, host.to_owned(), target))
    }
}
