//! `crypto`: digests and signatures, on the library that TLS uses.

use tidegate_crypto as crypto;
use wasmtime::component::WasmList;

use super::Interface;
use crate::contract::common::{Store, define_key, random_bytes};
use crate::contract::v0_2::bindings::tidegate::policy::crypto::{Algorithm, Hash, KeyFormat};
use crate::matching::Watch;

/// Bytes of random numbers in one call.
const MAX_RANDOM: u32 = 64 << 10;

pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.question("digest", |store: Store<'_>, (hash, data): (Hash, WasmList<u8>)| {
        store.data().budget.count_bytes(data.len());
        let digest = crypto::digest(hash.into(), data.as_le_slice(&store));
        store.data().budget.look()?;
        Ok((digest,))
    })?;
    interface.question(
        "hmac",
        |store: Store<'_>, (hash, key, data): (Hash, WasmList<u8>, WasmList<u8>)| {
            store.data().budget.count_bytes(key.len() + data.len());
            let code = crypto::hmac(hash.into(), key.as_le_slice(&store), data.as_le_slice(&store));
            store.data().budget.look()?;
            Ok((code,))
        },
    )?;
    interface.question("equal", |store: Store<'_>, (a, b): (WasmList<u8>, WasmList<u8>)| {
        Ok((crypto::equal(a.as_le_slice(&store), b.as_le_slice(&store)),))
    })?;
    interface.function("random-bytes", |store: Store<'_>, (count,): (u32,)| {
        Ok((random_bytes(store.data(), count.min(MAX_RANDOM) as usize)?,))
    })?;
    interface.question("parse-key", |store: Store<'_>, (format, key): (KeyFormat, Vec<u8>)| {
        define_key(store, format.into(), key)
    })?;
    interface.question(
        "verify",
        |store: Store<'_>,
         (key, algorithm, message, signature): (u32, Algorithm, WasmList<u8>, WasmList<u8>)| {
            let state = store.data();
            state.budget.count();
            let key = state.defined.keys.get(key, "key")?;
            let (message, signature) = (message.as_le_slice(&store), signature.as_le_slice(&store));
            let verified = key.verify(algorithm.into(), message, signature).unwrap_or(false);
            state.budget.look()?;
            Ok((verified,))
        },
    )?;
    interface.question(
        "verify-with",
        |store: Store<'_>,
         (format, key, algorithm, message, signature): (
            KeyFormat,
            WasmList<u8>,
            Algorithm,
            WasmList<u8>,
            WasmList<u8>,
        )| {
            let state = store.data();
            state.budget.count();
            let key = state.plugin.granted.keys.key(format.into(), key.as_le_slice(&store));
            let verified = match key {
                Ok(key) => {
                    let (message, signature) = (message.as_le_slice(&store), signature.as_le_slice(&store));
                    Ok(key.verify(algorithm.into(), message, signature).unwrap_or(false))
                }
                Err(error) => Err(error.to_string()),
            };
            state.budget.look()?;
            Ok((verified,))
        },
    )
}

impl From<Hash> for crypto::Hash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha256 => Self::Sha256,
            Hash::Sha384 => Self::Sha384,
            Hash::Sha512 => Self::Sha512,
        }
    }
}

impl From<KeyFormat> for crypto::KeyFormat {
    fn from(format: KeyFormat) -> Self {
        match format {
            KeyFormat::Pem => Self::Pem,
            KeyFormat::Jwk => Self::Jwk,
            KeyFormat::Raw => Self::Raw,
        }
    }
}

impl From<Algorithm> for crypto::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Hs256 => Self::Hs256,
            Algorithm::Hs384 => Self::Hs384,
            Algorithm::Hs512 => Self::Hs512,
            Algorithm::Rs256 => Self::Rs256,
            Algorithm::Rs384 => Self::Rs384,
            Algorithm::Rs512 => Self::Rs512,
            Algorithm::Ps256 => Self::Ps256,
            Algorithm::Ps384 => Self::Ps384,
            Algorithm::Ps512 => Self::Ps512,
            Algorithm::Es256 => Self::Es256,
            Algorithm::Es384 => Self::Es384,
            Algorithm::Eddsa => Self::EdDsa,
        }
    }
}
