//! `http`: bodies as a policy reads and edits them. The bytes stay here; there is one body per call.

use wasmtime::component::{Resource, ResourceType, WasmList};

use super::Interface;
use crate::contract::common::{Store, replace, replace_range};
use crate::contract::v0_1::bindings::tidegate::policy::http::{Body, EditError};

/// Borrowed for the length of a call.
type Handle = Resource<Body>;

pub(super) fn link(http: &mut Interface<'_>) -> wasmtime::Result<()> {
    http.resource("body", ResourceType::host::<Body>())?;
    http.function("[method]body.len", |store: Store<'_>, (_,): (Handle,)| {
        Ok((store.data().chunk()?.len() as u64,))
    })?;
    http.function("[method]body.read", |store: Store<'_>, (_, offset, max): (Handle, u64, u32)| {
        Ok((store.data().chunk()?.read(offset, max),))
    })?;
    http.function(
        "[method]body.find",
        |store: Store<'_>, (_, needle, offset): (Handle, WasmList<u8>, u64)| {
            Ok((store.data().chunk()?.find(needle.as_le_slice(&store), offset).map(|at| at as u64),))
        },
    )?;
    http.function("[method]body.replace", |store: Store<'_>, (_, bytes): (Handle, WasmList<u8>)| {
        Ok((replace(store, &bytes)?.map_err(EditError::from),))
    })?;
    http.function(
        "[method]body.replace-range",
        |store: Store<'_>, (_, offset, length, bytes): (Handle, u64, u64, WasmList<u8>)| {
            Ok((replace_range(store, offset, length, &bytes)?.map_err(EditError::from),))
        },
    )?;
    http.function("[method]body.hold-back", |mut store: Store<'_>, (_, bytes): (Handle, u64)| {
        store.data_mut().chunk_mut()?.hold_back(bytes);
        Ok(())
    })?;
    http.function("[method]body.is-last", |store: Store<'_>, (_,): (Handle,)| {
        Ok((store.data().chunk()?.is_last(),))
    })
}
