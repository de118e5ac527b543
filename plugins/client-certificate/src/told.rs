//! What servers are told of a certificate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidegate_plugin_sdk::OwnHeader;
use tidegate_plugin_sdk::prelude::*;

/// Fields in which servers get single facts of the certificate; those that are left out are not sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Headers {
    /// The subject (RFC 4514): `CN=alice,O=Example`.
    subject: Option<String>,
    /// The serial number, hexadecimal in lower case.
    serial: Option<String>,
    /// The SHA-256 of the certificate, hexadecimal in lower case.
    fingerprint: Option<String>,
    /// The names in it with their kinds, with commas between them: `DNS:a.example.org,URI:spiffe://a/b`.
    names: Option<String>,
}

/// The fields, ready to be filled.
#[derive(Debug)]
pub(crate) struct Told {
    client_cert: OwnHeader,
    /// The proxy is not told the chain; but servers believe what stands in `client-cert-chain`, too.
    client_cert_chain: OwnHeader,
    tells_certificate: bool,
    facts: Vec<(Fact, OwnHeader)>,
}

#[derive(Debug, Clone, Copy)]
enum Fact {
    Subject,
    Serial,
    Fingerprint,
    Names,
}

impl Told {
    /// Errors name the key within `headers`.
    pub(crate) fn new(tells_certificate: bool, headers: Headers) -> Result<Self, Error> {
        let mut told = Self {
            client_cert: OwnHeader::new("client-cert")?,
            client_cert_chain: OwnHeader::new("client-cert-chain")?,
            tells_certificate,
            facts: Vec::new(),
        };
        let written = [
            ("subject", Fact::Subject, headers.subject),
            ("serial", Fact::Serial, headers.serial),
            ("fingerprint", Fact::Fingerprint, headers.fingerprint),
            ("names", Fact::Names, headers.names),
        ];
        for (key, fact, name) in written {
            let Some(name) = name else { continue };
            let header = OwnHeader::new(&name).map_err(|error| Error::at(key, error))?;
            if told.own().any(|other| other.name() == header.name()) {
                return Err(Error::at(key, format!("`{name}` tells something else already")));
            }
            told.facts.push((fact, header));
        }
        Ok(told)
    }

    fn own(&self) -> impl Iterator<Item = &OwnHeader> {
        let facts = self.facts.iter().map(|(_, header)| header);
        [&self.client_cert, &self.client_cert_chain].into_iter().chain(facts)
    }

    /// What the client says is forged (RFC 9440 §2.4).
    pub(crate) fn clear(&self, request: &Request) -> Result<(), EditError> {
        self.own().try_for_each(|header| header.clear(request))
    }

    /// Of a certificate that was verified.
    pub(crate) fn tell(&self, request: &Request) -> Result<(), EditError> {
        if self.tells_certificate
            && let Some(der) = request.client_certificate()
        {
            // A Byte Sequence (RFC 9440 §2.1, RFC 9651 §3.3.5).
            self.client_cert.set(request, format!(":{}:", STANDARD.encode(der)))?;
        }
        for (fact, header) in &self.facts {
            if let Some(text) = fact.of(request) {
                header.set(request, text)?;
            }
        }
        match request.client_certificate_subject() {
            Some(subject) => request.set_attribute("client-certificate", &subject),
            None => Ok(()),
        }
    }
}

impl Fact {
    /// `None` if the certificate does not say.
    fn of(self, request: &Request) -> Option<String> {
        match self {
            Self::Subject => request.client_certificate_subject().map(|subject| encoded(&subject, b"%")),
            Self::Serial => request.client_certificate_serial(),
            Self::Fingerprint => request
                .client_certificate_sha256()
                .map(|sha256| sha256.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))),
            Self::Names => {
                let names = request.client_certificate_names();
                let names = names.iter().map(|name| encoded(name, b"%, "));
                Some(names.collect::<Vec<_>>().join(",")).filter(|names| !names.is_empty())
            }
        }
    }
}

/// Percent-encodes what cannot stand in a field, and `also`: a name with a comma in it is not two.
fn encoded(text: &str, also: &[u8]) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if matches!(byte, b' '..=b'~') && !also.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}
