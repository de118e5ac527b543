//! Keys in PEM: the first section, and what its DER says.

use pem::PemError;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_RSASSAPSS,
    OID_SIG_ED448, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Content, KeyError, Kind, shown};

pub(super) fn read(text: &[u8]) -> Result<Content, KeyError> {
    let section = pem::parse(text).map_err(|error| refused(text, &error))?;
    match section.tag() {
        "PUBLIC KEY" => match SubjectPublicKeyInfo::from_der(section.contents()) {
            Ok(([], info)) => public(&info),
            _ => Err(KeyError::Damaged("a SubjectPublicKeyInfo")),
        },
        "RSA PUBLIC KEY" => Content::rsa(section.contents()),
        "CERTIFICATE" => match X509Certificate::from_der(section.contents()) {
            Ok(([], certificate)) => public(certificate.public_key()),
            _ => Err(KeyError::Damaged("an X.509 certificate")),
        },
        label if label.ends_with("PRIVATE KEY") => Err(KeyError::Private),
        label => Err(KeyError::OtherPem(shown(label))),
    }
}

/// The key of a certificate, or of a `PUBLIC KEY` section (RFC 5280 §4.1.2.7).
fn public(info: &SubjectPublicKeyInfo<'_>) -> Result<Content, KeyError> {
    let algorithm = &info.algorithm.algorithm;
    let bits = &info.subject_public_key;
    if bits.unused_bits != 0 {
        return Err(KeyError::Damaged("a SubjectPublicKeyInfo"));
    }
    let point = |kind| Content::point(kind, bits.data.to_vec());
    let unsupported = |what: &str| Err(KeyError::Unsupported(what.to_owned()));
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        Content::rsa(&bits.data)
    } else if *algorithm == OID_SIG_ED25519 {
        Content::ed25519(bits.data.to_vec())
    } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        match info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok()) {
            Some(curve) if curve == OID_EC_P256 => point(Kind::P256),
            Some(curve) if curve == OID_NIST_EC_P384 => point(Kind::P384),
            Some(curve) => unsupported(&format!("an EC key on the curve {curve}")),
            None => unsupported("an EC key on a curve without a name"),
        }
    } else if *algorithm == OID_PKCS1_RSASSAPSS {
        // Its parameters may forbid what PS256 does. JWS has RSA keys of the ordinary kind for PS as well.
        unsupported("an RSA key that is marked for PSS alone")
    } else if *algorithm == OID_SIG_ED448 {
        unsupported("Ed448")
    } else {
        unsupported(&format!("a key of the algorithm {algorithm}"))
    }
}

fn refused(text: &[u8], error: &PemError) -> KeyError {
    match error {
        PemError::MalformedFraming if !text.windows(11).any(|part| part == b"-----BEGIN ") => {
            KeyError::NotPem
        }
        PemError::MalformedFraming => KeyError::DamagedPem("its section has no end".to_owned()),
        PemError::MismatchedTags(begin, end) => {
            KeyError::DamagedPem(format!("`{}` ends with `{}`", shown(begin), shown(end)))
        }
        PemError::InvalidData(_) => KeyError::DamagedPem("its content is not base64".to_owned()),
        _ => KeyError::DamagedPem("its section cannot be read".to_owned()),
    }
}
