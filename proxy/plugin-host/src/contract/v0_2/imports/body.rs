//! `body`: bodies as a policy reads and edits them. The bytes stay here.

use wasmtime::component::WasmList;

use super::Interface;
use crate::contract::common::{Store, body_len, replace, replace_range};
use crate::contract::v0_2::bindings::tidegate::policy::body::Found;
use crate::contract::v0_2::bindings::tidegate::policy::types::EditError;

pub(super) fn link(body: &mut Interface<'_>) -> wasmtime::Result<()> {
    body.function("len", |store: Store<'_>, (): ()| Ok((body_len(store.data())?,)))?;
    body.function("read", |store: Store<'_>, (offset, max): (u64, u32)| {
        Ok((store.data().chunk()?.read(offset, max),))
    })?;
    body.function("find", |store: Store<'_>, (needle, offset): (WasmList<u8>, u64)| {
        Ok((store.data().chunk()?.find(needle.as_le_slice(&store), offset),))
    })?;
    body.function("find-pattern", |mut store: Store<'_>, (patterns, offset): (u32, u64)| {
        let found = store.data_mut().find_pattern(patterns, offset)?;
        Ok((found.map(|found| Found {
            start: found.start as u64,
            end: found.end as u64,
            pattern: found.pattern,
        }),))
    })?;
    body.function("replace", |store: Store<'_>, (bytes,): (WasmList<u8>,)| {
        Ok((replace(store, &bytes)?.map_err(EditError::from),))
    })?;
    body.function("replace-range", |store: Store<'_>, (offset, length, bytes): (u64, u64, WasmList<u8>)| {
        Ok((replace_range(store, offset, length, &bytes)?.map_err(EditError::from),))
    })?;
    body.function("hold-back", |mut store: Store<'_>, (bytes,): (u64,)| {
        store.data_mut().chunk_mut()?.hold_back(bytes);
        Ok(())
    })?;
    body.function("is-last", |store: Store<'_>, (): ()| Ok((store.data().chunk()?.is_last(),)))
}
