//! Keys as JSON objects (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Content, KeyError, Kind, shown};
use crate::Algorithm;

/// The members that mean something here. Others are ignored (RFC 7517 §4); one that comes twice is an error of
/// the derived code, as it should be: two readers of the same key could take it for two.
#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    /// Of a set (RFC 7517 §5).
    keys: Option<IgnoredAny>,
}

/// The key, and the algorithm that it is restricted to.
pub(super) fn read(text: &[u8]) -> Result<(Content, Option<Algorithm>), KeyError> {
    // The message of the error could quote the key; where it is will do.
    let jwk: Jwk = serde_json::from_slice(text)
        .map_err(|error| KeyError::NotJwk { line: error.line(), column: error.column() })?;
    if jwk.keys.is_some() && jwk.kty.is_none() {
        return Err(KeyError::KeySet);
    }
    let only = jwk.restriction()?;
    let content = match jwk.kty.as_deref() {
        None => return Err(KeyError::Missing("kty")),
        Some("RSA" | "EC" | "OKP") if jwk.is_private() => return Err(KeyError::Private),
        Some("RSA") => jwk.rsa()?,
        Some("EC") => jwk.ec()?,
        Some("OKP") => jwk.okp()?,
        Some("oct") => Content::symmetric(bytes("k", jwk.k.as_deref())?),
        Some(other) => return Err(KeyError::Unsupported(format!("the `kty` \"{}\"", shown(other)))),
    };
    Ok((content, only))
}

impl Jwk {
    fn restriction(&self) -> Result<Option<Algorithm>, KeyError> {
        if let Some(used) = self.r#use.as_deref()
            && used != "sig"
        {
            return Err(KeyError::OtherUse(format!("its `use` is \"{}\", not \"sig\"", shown(used))));
        }
        if let Some(operations) = &self.key_ops
            && !operations.iter().any(|operation| operation == "verify")
        {
            return Err(KeyError::OtherUse("its `key_ops` are without \"verify\"".to_owned()));
        }
        self.alg
            .as_deref()
            .map(|name| {
                name.parse().map_err(|unknown| {
                    KeyError::OtherUse(format!("its `alg` is \"{}\"; {unknown}", shown(name)))
                })
            })
            .transpose()
    }

    fn is_private(&self) -> bool {
        let members = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth];
        members.into_iter().any(Option::is_some)
    }

    fn rsa(&self) -> Result<Content, KeyError> {
        // Some writers put a zero in front, as DER does (RFC 7518 §6.3.1.1).
        let number = |member, text| {
            let bytes = bytes(member, text)?;
            let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
            Ok(bytes[zeros..].to_vec())
        };
        let n = number("n", self.n.as_deref())?;
        let e = number("e", self.e.as_deref())?;
        let key = RsaPublicKeyComponents { n, e }.as_der();
        Content::rsa(key.map_err(|_| KeyError::Damaged("an RSA public key"))?.as_ref())
    }

    fn ec(&self) -> Result<Content, KeyError> {
        let (kind, needed) = match self.crv.as_deref() {
            Some("P-256") => (Kind::P256, 32),
            Some("P-384") => (Kind::P384, 48),
            other => return Err(curve(other)),
        };
        // The point without compression (SEC 1 §2.3.3).
        let mut point = vec![4];
        for (member, text) in [("x", &self.x), ("y", &self.y)] {
            let coordinate = bytes(member, text.as_deref())?;
            if coordinate.len() != needed {
                return Err(KeyError::Coordinate { member, found: coordinate.len(), needed });
            }
            point.extend(coordinate);
        }
        Content::point(kind, point)
    }

    fn okp(&self) -> Result<Content, KeyError> {
        if self.crv.as_deref() != Some("Ed25519") {
            return Err(curve(self.crv.as_deref()));
        }
        Content::ed25519(bytes("x", self.x.as_deref())?)
    }
}

fn bytes(member: &'static str, text: Option<&str>) -> Result<Vec<u8>, KeyError> {
    let text = text.ok_or(KeyError::Missing(member))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::NotBase64(member))
}

fn curve(name: Option<&str>) -> KeyError {
    match name {
        Some(name) => KeyError::Unsupported(format!("the `crv` \"{}\"", shown(name))),
        None => KeyError::Missing("crv"),
    }
}
