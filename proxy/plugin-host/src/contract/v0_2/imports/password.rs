//! `password`: checked beside the traffic, while the plugin waits.

use tidegate_crypto::{self as crypto, Passwords, Verification};

use super::Interface;
use crate::contract::common::Store;
use crate::contract::v0_2::bindings::tidegate::policy::password::PasswordError;

pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.suspends("verify", |store: Store<'_>, (hash, password): (String, Vec<u8>)| {
        let state = store.data();
        let checked = match state.plugin.granted.services.passwords.verify(&hash, &password) {
            Verification::Now(known) => Ok(known),
            Verification::Later(checking) => match state.wait() {
                Some(place) => Err((checking, place)),
                None => Ok(Err(crypto::PasswordError::Busy)),
            },
        };
        Box::new(async move {
            let verified = match checked {
                Ok(known) => known,
                Err((checking, _place)) => checking.await,
            };
            Ok((verified.map_err(PasswordError::from),))
        })
    })?;
    interface.question("dummy", |_: Store<'_>, (like,): (String,)| Ok((Passwords::dummy_like(&like),)))
}

impl From<crypto::PasswordError> for PasswordError {
    fn from(error: crypto::PasswordError) -> Self {
        match error {
            crypto::PasswordError::UnknownFormat(_) => Self::UnknownFormat,
            crypto::PasswordError::TooCostly { .. } => Self::TooCostly,
            crypto::PasswordError::Busy => Self::Busy,
        }
    }
}
