//! Host names.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Complaint, Form};

/// A host or `*.` with a host, in lower case.
#[derive(Debug)]
pub(crate) struct HostPattern(pub String);

impl Form for HostPattern {
    const FORMAT: &'static str = "host-pattern";
    const EXAMPLE: &'static str = "*.example.org";

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
