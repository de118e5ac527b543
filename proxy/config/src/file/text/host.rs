//! Host names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Complaint, Form};

/// A host or `*.` with a host, in lower case.
#[derive(Debug)]
pub(crate) struct HostPattern(pub String);

impl Form for HostPattern {
    const FORMAT: &'static str = "host-pattern";
    const EXAMPLE: &'static str = "*.example.org";
    const NAME: &'static str = "host pattern";
    const RULE: &'static str = "A host without a port, or `*.` and a host: every name below that host, but not the host itself. \
         Case does not matter";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text == "*" {
            return Err(Complaint::new("\"*\" is not a host").help("leave hosts out to match every host"));
        }
        if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return match address.parse::<Ipv6Addr>() {
                Ok(address) => Ok(Self(format!("[{address}]"))),
                Err(_) => Err(Complaint::new(format!("{text:?} is not an IPv6 address"))),
            };
        }
        let (wildcard, host) = match text.strip_prefix("*.") {
            Some(host) => ("*.", host),
            None => ("", text),
        };
        if host.contains('*') {
            return Err(Complaint::new(format!("{text:?} has a \"*\" in the wrong place"))
                .help("\"*.\" stands for any labels and only at the start, as in \"*.example.org\""));
        }
        if let Some((name, _)) = host.split_once(':') {
            return Err(Complaint::new(format!("{text:?} has more than a host"))
                .help(format!("write \"{wildcard}{name}\" without the port")));
        }
        host_name(host, text).map(|host| Self(format!("{wildcard}{host}")))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// The Host field of a request (RFC 9110 §7.2), in lower case: a host, with or without a port.
#[derive(Debug)]
pub(crate) struct HostField(pub String);

impl Form for HostField {
    const FORMAT: &'static str = "host-field";
    const EXAMPLE: &'static str = "app.internal";
    const NAME: &'static str = "host";
    const RULE: &'static str = "A host name or an IP address, with or without a port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(Complaint::new(format!("{text:?} is a URL, and a host is a part of one"))
                .help(format!("write the host without \"{scheme}://\" and path")));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
            return Err(Complaint::new(format!("{text:?} is not a host with a port"))
                .help("write it as in \"app.internal\" or \"app.internal:8080\""));
        }
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => match address.parse::<Ipv6Addr>() {
                Ok(address) => format!("[{address}]"),
                Err(_) => return Err(Complaint::new(format!("{host:?} in {text:?} is not an IPv6 address"))),
            },
            None => host_name(host, text)?,
        };
        Ok(Self(match port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// What a client may ask for by SNI (RFC 6066 §3: names, without a dot at the end): a host, `*.` with a
/// host, or `*`. In lower case; nothing else distinguishes two spellings of one pattern.
#[derive(Debug)]
pub(crate) struct SniPattern(String);

impl Form for SniPattern {
    const FORMAT: &'static str = "sni-pattern";
    const EXAMPLE: &'static str = "*.example.org";
    const NAME: &'static str = "server name";
    const RULE: &'static str = "A host; `*.` and a host: every name below that host, but not the host itself; or `*`: every name, \
         and clients that send none. Case does not matter";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let host = text.strip_prefix("*.").unwrap_or(text);
        if host.parse::<IpAddr>().is_ok() || host.starts_with('[') {
            return Err(Complaint::new(format!(
                "{text:?} is an IP address, and clients only send host names"
            ))
            .help("write \"*\" for clients that send none"));
        }
        if let Some(without) = text.strip_suffix('.') {
            return Err(Complaint::new(format!("{text:?} ends with a dot, which clients never send"))
                .help(format!("write {without:?}")));
        }
        HostPattern::parse(text).map(|HostPattern(pattern)| Self(pattern))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// A name in a certificate: a host or an IP address, in lower case.
#[derive(Debug)]
pub(crate) struct TlsName(pub String);

impl Form for TlsName {
    const FORMAT: &'static str = "tls-name";
    const EXAMPLE: &'static str = "app.internal";
    const NAME: &'static str = "certificate name";
    const RULE: &'static str = "A host name or an IP address, without a port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self(address.to_string()));
        }
        if let Some((name, port)) = text.split_once(':')
            && port.parse::<u16>().is_ok()
        {
            return Err(Complaint::new(format!("{text:?} has more than a host"))
                .help(format!("write {name:?} without the port")));
        }
        host_name(text, text).map(|host| Self(host.trim_end_matches('.').to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// `host` in lower case if it is an IPv4 address or a host name: labels of letters, digits, `-` and
/// (seen in practice) `_`, with the lengths of RFC 1035 §2.3.4. `text` is what was written, for
/// messages.
pub(super) fn host_name(host: &str, text: &str) -> Result<String, Complaint> {
    let of_text = if host == text { String::new() } else { format!(" in {text:?}") };
    let labels = host.strip_suffix('.').unwrap_or(host);
    let label_is_valid = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if labels.len() > 253 || !labels.split('.').all(label_is_valid) {
        return Err(Complaint::new(format!("{host:?}{of_text} is not a host name")));
    }
    // A name that ends in a number would be taken for an address by everyone else.
    let last = labels.rsplit('.').next().unwrap_or(labels);
    if last.chars().all(|c| c.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(Complaint::new(format!("{host:?}{of_text} is not an IPv4 address")));
    }
    Ok(host.to_ascii_lowercase())
}

/// A SHA-256 digest in hexadecimal digits, with or without colons, as OpenSSL prints it.
#[derive(Debug, PartialEq)]
pub(crate) struct Fingerprint(pub [u8; 32]);

impl Form for Fingerprint {
    const FORMAT: &'static str = "sha256-fingerprint";
    const EXAMPLE: &'static str =
        "ba:78:16:bf:8f:01:cf:ea:41:41:40:de:5d:ae:22:23:b0:03:61:a3:96:17:7a:9c:b4:10:ff:61:f2:00:15:ad";
    const NAME: &'static str = "fingerprint";
    const RULE: &'static str = "The SHA-256 digest of a certificate: 64 hexadecimal digits, with or without colons, as \
         `openssl x509 -noout -fingerprint -sha256` prints them";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let bare = text.rsplit('=').next().unwrap_or_default().replace(':', "");
        let digits: Option<Vec<u8>> = bare
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let digest = digits.filter(|_| bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digest.and_then(|digest| digest.try_into().ok()) {
            Some(digest) => Ok(Self(digest)),
            None => Err(Complaint::new(format!("{text:?} is not a SHA-256 fingerprint"))
                .help("write what `openssl x509 -noout -fingerprint -sha256 -in FILE.pem` prints")),
        }
    }

    fn print(&self) -> String {
        self.0.map(|byte| format!("{byte:02x}")).join(":")
    }
}
