//! Keys, and what is signed with them here: requests, answers to TLS-ALPN-01, and certificates until there are others.

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize,
};

use crate::KeyType;

/// A new key; some kinds take seconds.
pub(crate) fn generate(kind: KeyType) -> Result<KeyPair, rcgen::Error> {
    match kind {
        KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
    }
}

/// The request (RFC 2986) to have a certificate for `name`, in DER.
pub(crate) fn request(name: &str, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// Key and certificate, in PEM, that answer TLS-ALPN-01 for `name` (RFC 8737 §3).
pub(crate) fn answer(name: &str, digest: &[u8; 32]) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = generate(KeyType::EcdsaP256)?;
    Ok((key.serialize_pem() + &params.self_signed(&key)?.pem()).into_bytes())
}

/// Key and certificate, in PEM, for names that have no other yet. No client believes it.
///
/// # Errors
///
/// There is no randomness, or a name is none.
pub fn self_signed(names: &[String]) -> Result<Vec<u8>, String> {
    let certificate = || {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "tidegate: no certificate yet");
        let key = generate(KeyType::EcdsaP256)?;
        Ok::<_, rcgen::Error>((key.serialize_pem() + &params.self_signed(&key)?.pem()).into_bytes())
    };
    certificate().map_err(|error| error.to_string())
}
