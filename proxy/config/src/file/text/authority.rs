//! What is told to those who sign certificates: where they are, who asks, and for which names.

use std::net::IpAddr;

use super::host::{HostField, HostPattern};
use super::{Complaint, Form};

/// The URL of an ACME directory (RFC 8555 §7.1.1).
#[derive(Debug)]
pub(crate) struct DirectoryUrl(pub String);

impl Form for DirectoryUrl {
    const FORMAT: &'static str = "directory-url";
    const EXAMPLE: &'static str = "https://acme-v02.api.letsencrypt.org/directory";
    const NAME: &'static str = "directory URL";
    const RULE: &'static str = "The URL of the directory of an ACME authority, which begins with `https://`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(Complaint::new(format!("{text:?} is not the URL of a directory")).help(format!(
                "write it as in {:?}: ACME is spoken over TLS alone (RFC 8555 §6.1)",
                Self::EXAMPLE
            )));
        };
        let host = rest.split('/').next().unwrap_or_default();
        HostField::parse(host)?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains('#') {
            return Err(Complaint::new(format!("{text:?} has characters that a URL cannot have")));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// An address for mail, as `mailto:` has it without anything else (RFC 8555 §7.3).
#[derive(Debug)]
pub(crate) struct Email(pub String);

impl Form for Email {
    const FORMAT: &'static str = "email";
    const EXAMPLE: &'static str = "ops@example.com";
    const NAME: &'static str = "e-mail address";
    const RULE: &'static str = "One address, without a name and without `mailto:`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '?' | '<' | '>' | '"' | ';');
        match address.rsplit_once('@') {
            Some((who, host))
                if !who.is_empty() && address.chars().all(is_plain) && HostField::parse(host).is_ok() =>
            {
                if address == text {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Complaint::new(format!("{text:?} is a URL")).help(format!("write {address:?}")))
                }
            }
            _ => Err(Complaint::new(format!("{text:?} is not an e-mail address"))
                .help(format!("write one address, as in {:?}", Self::EXAMPLE))),
        }
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// The URL of something in one's own network that is asked or told.
#[derive(Debug)]
pub(crate) struct HookUrl(pub String);

impl Form for HookUrl {
    const FORMAT: &'static str = "hook-url";
    const EXAMPLE: &'static str = "http://127.0.0.1:9800/records";
    const NAME: &'static str = "hook URL";
    const RULE: &'static str = "A URL that begins with `http://` or `https://`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let Some(rest) = rest else {
            return Err(Complaint::new(format!("{text:?} is no URL for HTTP"))
                .help(format!("write it as in {:?}", Self::EXAMPLE)));
        };
        HostField::parse(rest.split(['/', '?']).next().unwrap_or_default())?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains('#') {
            return Err(Complaint::new(format!("{text:?} has characters that a URL cannot have")));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

const LONGEST: usize = 230;

/// A name that certificates are obtained for, in lower case.
#[derive(Debug)]
pub(crate) struct CertificateHost(pub String);

impl Form for CertificateHost {
    const FORMAT: &'static str = "certificate-host";
    const EXAMPLE: &'static str = "www.example.com";
    const NAME: &'static str = "host name";
    const RULE: &'static str = "A host name without a port, or `*.` and a host name: every name one label below that host. No address. Case does not \
         matter";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.parse::<IpAddr>().is_ok() || text.starts_with('[') {
            return Err(Complaint::new(format!("{text:?} is an IP address, and a host name is needed"))
                .help("name files in tls.certificates for it"));
        }
        if let Some(without) = text.strip_suffix('.') {
            return Err(
                Complaint::new(format!("{text:?} ends with a dot")).help(format!("write {without:?}"))
            );
        }
        if text.contains('_') {
            return Err(Complaint::new(format!("{text:?} has a \"_\", which no authority signs")));
        }
        // Files are called by it.
        if text.len() > LONGEST {
            return Err(Complaint::new(format!("{text:?} is longer than {LONGEST} characters")));
        }
        HostPattern::parse(text).map(|HostPattern(host)| Self(host))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}
