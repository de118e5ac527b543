//! A certificate as it is stored: its key and its chain in one text, so that both are replaced at once.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::At;

/// A certificate with its key, and what is in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    pem: Vec<u8>,
    not_before: At,
    not_after: At,
    names: Vec<String>,
    /// What it is called in questions about its renewal (RFC 9773 §4.1); or by its serial number if it does not tell
    /// who signed it.
    id: String,
}

impl Stored {
    /// Reads the text.
    pub(crate) fn parse(pem: Vec<u8>) -> Result<Self, String> {
        let leaf = CertificateDer::pem_slice_iter(&pem).next();
        let leaf = leaf.ok_or("there is no certificate in it")?;
        let leaf = leaf.map_err(|error| format!("not PEM: {error}"))?;
        let (_, certificate) =
            X509Certificate::from_der(&leaf).map_err(|error| format!("not a certificate: {error}"))?;
        let moment = |timestamp: i64| At(u64::try_from(timestamp).unwrap_or(0));
        let validity = certificate.validity();
        let (not_before, not_after) =
            (moment(validity.not_before.timestamp()), moment(validity.not_after.timestamp()));
        let names = match certificate.subject_alternative_name() {
            Ok(Some(names)) => {
                let names = names.value.general_names.iter().filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                    _ => None,
                });
                names.collect()
            }
            _ => Vec::new(),
        };
        let id = match instant_acme::CertificateIdentifier::try_from(&leaf) {
            Ok(id) => id.to_string(),
            Err(_) => certificate.tbs_certificate.raw_serial_as_string(),
        };
        Ok(Self { not_before, not_after, names, id, pem })
    }

    /// The key and the chain, leaf first, as PEM.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// When it begins to be valid.
    pub fn not_before(&self) -> At {
        self.not_before
    }

    /// When it ends to be valid.
    pub fn not_after(&self) -> At {
        self.not_after
    }

    /// Whether it stands for `name`.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What [`Self::id`] is to the authority, if it tells who signed it.
    pub(crate) fn replaced(&self) -> Option<instant_acme::CertificateIdentifier<'_>> {
        let (authority_key_identifier, serial) = self.id.split_once('.')?;
        Some(instant_acme::CertificateIdentifier {
            authority_key_identifier: authority_key_identifier.into(),
            serial: serial.into(),
        })
    }
}
