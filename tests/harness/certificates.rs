//! Certificates made for one test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

/// Of the next certificate.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// An authority that signs certificates and is trusted by clients.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
    serial: SerialNumber,
}

impl Authority {
    /// A new one, unlike every other.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "tidegate test authority");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names, for servers and for clients.
    #[must_use]
    pub fn sign(&self, names: &[&str]) -> Leaf {
        self.sign_key(KeyPair::generate().expect("a key"), names)
    }

    /// The same with an RSA key.
    #[must_use]
    pub fn sign_rsa(&self, names: &[&str]) -> Leaf {
        self.sign_key(KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key"), names)
    }

    fn sign_key(&self, key: KeyPair, names: &[&str]) -> Leaf {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let serial = SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Leaf { certificate, key, serial }
    }

    /// A certificate for what this request (RFC 2986) asks for, valid so long from `since` ago on, and its own after it.
    pub(crate) fn sign_request(&self, request: &[u8], since: Duration, lifetime: Duration) -> String {
        let mut request =
            CertificateSigningRequestParams::from_der(&request.into()).expect("a request that can be read");
        let begin = OffsetDateTime::now_utc() - since;
        (request.params.not_before, request.params.not_after) = (begin, begin + lifetime);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        request.params.serial_number = Some(SerialNumber::from(serial));
        request.params.use_authority_key_identifier_extension = true;
        let certificate = request.signed_by(&self.issuer).expect("a certificate");
        certificate.pem() + &self.pem()
    }

    /// Its revocation list, with these on it, for `client-crl`.
    #[must_use]
    pub fn revoke(&self, leaves: &[&Leaf]) -> String {
        let [then, later] = [rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2100, 1, 1)];
        let revoked = leaves.iter().map(|leaf| RevokedCertParams {
            serial_number: leaf.serial.clone(),
            revocation_time: then,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: then,
            next_update: later,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }

    /// Its own certificate, for `client-ca`.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Its own certificate, for clients that trust it.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Leaf {
    /// For `chain`.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.certificate.pem()
    }

    /// For `key`, PKCS#8.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// What a client sees of it.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).expect("a valid key")
    }
}
