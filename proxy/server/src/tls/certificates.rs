//! Certificates and keys from PEM files, and which of them a client gets.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, RootCertStore, SignatureAlgorithm};
use sha2::{Digest, Sha256};
use tidegate_message::ClientCertificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::regular;

/// A certificate with its key, and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    /// DNS names, in lower case; `*.` in front of some.
    names: Vec<String>,
    not_after: SystemTime,
}

/// What is wrong with a certificate: with which of its files, and how to mend it.
pub(crate) enum Fault {
    Chain(String),
    Key(String),
}

impl Certificate {
    /// Reads and checks one certificate.
    pub(crate) fn load(chain: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let chain = certificates(chain).map_err(|error| faults.push(Fault::Chain(error)));
        let key = private_key(key).map_err(|error| faults.push(Fault::Key(error)));
        let (Ok(chain), Ok(key)) = (chain, key) else { return Err(faults) };
        Self::new(chain, key, provider)
    }

    /// The same of one text, which has both.
    pub(super) fn of_pem(pem: &[u8], provider: &CryptoProvider) -> Result<Self, String> {
        let (chain, key) = of_pem(pem)?;
        Self::new(chain, key, provider).map_err(|faults| {
            let texts = faults.into_iter().map(|fault| match fault {
                Fault::Chain(text) | Fault::Key(text) => text,
            });
            texts.collect::<Vec<_>>().join("; ")
        })
    }

    /// `chain` is not empty.
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, Vec<Fault>> {
        let fault = |fault| vec![fault];
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| fault(Fault::Key(format!("cannot use this key: {error}"))))?;
        let (_, leaf) = X509Certificate::from_der(&chain[0])
            .map_err(|error| fault(Fault::Chain(format!("the first certificate is not X.509: {error}"))))?;
        let names = dns_names(&leaf);
        let seconds = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => {
                let message = "this key does not belong to the first certificate of the chain";
                return Err(fault(Fault::Key(message.to_owned())));
            }
        }
        Ok(Self { key: Arc::new(key), names, not_after })
    }

    /// The same, found by these names.
    pub(super) fn with_names(self, names: Vec<String>) -> Self {
        Self { names, ..self }
    }

    /// Whether a client that asks for `name` finds it.
    pub(super) fn has_name(&self, name: &str) -> bool {
        // RFC 6125 §6.4.3: a wildcard stands for exactly the first label.
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.names.iter().any(|known| known == name || wildcard.as_ref() == Some(known))
    }

    pub(super) fn into_key(self) -> Arc<CertifiedKey> {
        self.key
    }

    /// Shown to every server that asks.
    pub(crate) fn into_single(self) -> rustls::sign::SingleCertAndKey {
        rustls::sign::SingleCertAndKey::from(self.key)
    }

    /// What an operator should know although the certificate works.
    pub(crate) fn warning(&self) -> Option<String> {
        if self.not_after <= SystemTime::now() {
            return Some("the certificate has expired: clients will refuse it".to_owned());
        }
        self.names
            .is_empty()
            .then(|| "the certificate names no host (subjectAltName): SNI never chooses it".to_owned())
    }
}

/// A chain that is not empty, and a key, of one text that has both.
pub(super) fn of_pem(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| pem_fault(&error))?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| pem_fault(&error))?;
    Ok((chain, key))
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    sections(file, "certificate", "CERTIFICATE")
}

/// The first certificate of a PEM file: that of who has the file.
pub(super) fn first_certificate(file: &Path) -> Result<CertificateDer<'static>, String> {
    certificates(file).map(|mut certificates| certificates.swap_remove(0))
}

/// The certificates of a PEM file, as those whose signature is believed.
pub(super) fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| format!("a certificate in it is no authority: {error}"))?;
    }
    Ok(roots)
}

/// The revocation lists of a PEM file, at least one.
pub(crate) fn revocation_lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    sections(file, "revocation list", "X509 CRL")
}

/// The sections of one kind in a PEM file, at least one.
fn sections<T: PemObject>(file: &Path, what: &str, label: &str) -> Result<Vec<T>, String> {
    let text = read(file)?;
    let sections: Result<Vec<_>, _> = T::pem_slice_iter(&text).collect();
    match sections.map_err(|error| pem_fault(&error)) {
        Ok(sections) if sections.is_empty() => {
            Err(format!("there is no {what} in it: no `BEGIN {label}` line"))
        }
        other => other,
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        pem::Error::NoItemsFound => "there is no private key in it: no `BEGIN … PRIVATE KEY` line".to_owned(),
        other => pem_fault(&other),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    regular::read(file).map_err(|error| format!("cannot read it: {error}"))
}

fn pem_fault(error: &pem::Error) -> String {
    format!("not PEM: {error}")
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    general_names(certificate, |name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    })
}

/// The same of a certificate in PEM, of several sections the first.
///
/// # Errors
///
/// There is none in it, or none that can be read.
pub(crate) fn client_certificate_of_pem(text: &str) -> Result<ClientCertificate, String> {
    let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => "there is no `BEGIN CERTIFICATE` line in it".to_owned(),
        other => pem_fault(&other),
    })?;
    X509Certificate::from_der(&der).map_err(|error| format!("this is no certificate: {error}"))?;
    Ok(client_certificate(&der))
}

/// What policies are told of a client's certificate.
pub(crate) fn client_certificate(der: &[u8]) -> ClientCertificate {
    let (names, subject, serial) = match X509Certificate::from_der(der) {
        Ok((_, certificate)) => {
            let serial = format!("{:x}", certificate.tbs_certificate.serial);
            (alternative_names(&certificate), distinguished_name(certificate.subject()), serial)
        }
        // What was verified can be read.
        Err(_) => Default::default(),
    };
    ClientCertificate { sha256: Sha256::digest(der).into(), names, subject, serial, der: der.to_vec() }
}

/// A name as text (RFC 4514): the most specific part first, each with the short name of its type, or with its number.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let attribute = |attribute: &AttributeTypeAndValue<'_>| {
        let kind = attribute.attr_type();
        let kind = match oid2abbrev(kind, oid_registry()) {
            Ok(short) => short.to_owned(),
            Err(_) => kind.to_id_string(),
        };
        match attribute.as_str() {
            Ok(text) => format!("{kind}={}", escaped(text)),
            Err(_) => {
                let hex: String = attribute.as_slice().iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{kind}=#{hex}")
            }
        }
    };
    let parts: Vec<_> = name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>()).collect();
    parts.iter().rev().map(|part| part.join("+")).collect::<Vec<_>>().join(",")
}

/// A value in a distinguished name (RFC 4514 §2.4).
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let at_edge = (at == 0 && matches!(character, ' ' | '#')) || (at == last && character == ' ');
        if at_edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            out.push('\\');
        }
        match character {
            '\0' => out.push_str("\\00"),
            other => out.push(other),
        }
    }
    out
}

/// Subject alternative names with their kind (RFC 5280 §4.2.1.6): `DNS:…`, `URI:…`, `IP:…`, `email:…`.
fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    general_names(certificate, |name| match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::IPAddress(bytes) => ip_address(bytes).map(|address| format!("IP:{address}")),
        _ => None,
    })
}

fn general_names(
    certificate: &X509Certificate<'_>,
    pick: impl Fn(&GeneralName<'_>) -> Option<String>,
) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names.value.general_names.iter().filter_map(pick).collect()
}

fn ip_address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(Into::into);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(Into::into)).ok()
}

/// Chooses a certificate by the name a client asks for (SNI, RFC 6066 §3), and among several by what it can verify.
pub(crate) struct ByName {
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// All of them, in order.
    all: Vec<Arc<CertifiedKey>>,
    /// What connections may be encrypted with.
    suites: Vec<CipherSuite>,
}

impl ByName {
    /// The first certificate is the default, and where two have a name the first of them goes before the other. `None`
    /// without any.
    pub(crate) fn new(certificates: &[Certificate], provider: &CryptoProvider) -> Option<Self> {
        let mut names: HashMap<String, Vec<_>> = HashMap::new();
        for certificate in certificates {
            for name in &certificate.names {
                names.entry(name.clone()).or_default().push(certificate.key.clone());
            }
        }
        let all: Vec<_> = certificates.iter().map(|certificate| certificate.key.clone()).collect();
        let suites = provider.cipher_suites.iter().map(|suite| suite.suite()).collect();
        (!all.is_empty()).then_some(Self { names, all, suites })
    }

    /// Whether one of them is for `name`.
    pub(super) fn has(&self, name: Option<&str>) -> bool {
        self.named(name).any(|_| true)
    }

    /// In the order in which they are tried: those with the name, those with a wildcard for it, all.
    fn candidates(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        self.named(name).chain(&self.all)
    }

    fn named(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let exact = self.names.get(&name);
        // RFC 6125 §6.4.3: a wildcard stands for exactly the first label.
        let wildcard = name.split_once('.').and_then(|(_, parent)| self.names.get(&format!("*.{parent}")));
        [exact, wildcard].into_iter().flatten().flatten()
    }
}

/// Whether the client that says hello can verify a signature of this key, with a suite that both sides have.
fn suits(key: &CertifiedKey, hello: &ClientHello<'_>, suites: &[CipherSuite]) -> bool {
    let algorithm = key.key.algorithm();
    let is_new = |suite: &CipherSuite| suite.as_str().is_some_and(|name| name.starts_with("TLS13_"));
    let common = hello.cipher_suites().iter().filter(|suite| suites.contains(suite));
    let (new, old): (Vec<_>, Vec<_>) = common.copied().partition(is_new);
    // Which version it comes to is not known yet, and some clients name suites of versions that they do not speak.
    let has_suite = match old.is_empty() {
        true => !new.is_empty(),
        false => old.iter().any(|suite| may_sign(*suite, algorithm)),
    };
    has_suite && key.key.choose_scheme(hello.signature_schemes()).is_some()
}

/// Whether a handshake of this suite of TLS 1.2 may be signed so (RFC 8422 §2). TLS 1.3 leaves it to the signature schemes.
fn may_sign(suite: CipherSuite, algorithm: SignatureAlgorithm) -> bool {
    let Some(name) = suite.as_str() else { return false };
    match algorithm {
        SignatureAlgorithm::RSA => name.contains("_RSA_"),
        // Ed25519 goes with the suites of ECDSA (RFC 8422 §5.1).
        SignatureAlgorithm::ECDSA | SignatureAlgorithm::ED25519 => name.contains("_ECDSA_"),
        _ => false,
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names.keys()).finish()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut candidates = self.candidates(hello.server_name());
        let first = candidates.next()?;
        // Of a client that can verify none the handshake fails in the words of the library.
        let suitable = std::iter::once(first).chain(candidates).find(|key| suits(key, &hello, &self.suites));
        Some(suitable.unwrap_or(first).clone())
    }
}
