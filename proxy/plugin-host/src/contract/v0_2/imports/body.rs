//! `body`: bodies as a policy reads and edits them. The bytes stay here.

use wasmtime::component::{WasmList, WasmStr};

use super::Interface;
use crate::contract::common::{Store, body_text, replace, replace_range};
use crate::contract::v0_2::bindings::tidegate::policy::body::Found;
use crate::contract::v0_2::bindings::tidegate::policy::types::EditError;

pub(super) fn link(body: &mut Interface<'_>) -> wasmtime::Result<()> {
    body.function("len", |store: Store<'_>, (): ()| Ok((position(store.data().chunk()?.len()),)))?;
    body.function("read", |store: Store<'_>, (offset, max): (u32, u32)| {
        Ok((store.data().chunk()?.read(offset.into(), max),))
    })?;
    body.function("text", |mut store: Store<'_>, (): ()| Ok((body_text(&mut store)?,)))?;
    body.function("find", |store: Store<'_>, (needle, offset): (WasmList<u8>, u32)| {
        let found = store.data().chunk()?.find(needle.as_le_slice(&store), offset.into());
        Ok((found.map(position),))
    })?;
    body.function("find-pattern", |mut store: Store<'_>, (patterns, offset): (u32, u32)| {
        let found = store.data_mut().find_pattern(patterns, offset.into())?;
        Ok((found.map(|found| Found {
            start: position(found.start),
            end: position(found.end),
            pattern: found.pattern,
        }),))
    })?;
    body.function("replace", |store: Store<'_>, (bytes,): (WasmList<u8>,)| {
        Ok((replace(store, &bytes)?.map_err(EditError::from),))
    })?;
    body.function("replace-text", |store: Store<'_>, (text,): (WasmStr,)| {
        Ok((replace(store, &text)?.map_err(EditError::from),))
    })?;
    body.function("replace-range", |store: Store<'_>, (offset, length, bytes): (u32, u32, WasmList<u8>)| {
        Ok((replace_range(store, offset.into(), length.into(), &bytes)?.map_err(EditError::from),))
    })?;
    body.function("hold-back", |mut store: Store<'_>, (bytes,): (u32,)| {
        store.data_mut().chunk_mut()?.hold_back(bytes.into());
        Ok(())
    })?;
    body.function("is-last", |store: Store<'_>, (): ()| Ok((store.data().chunk()?.is_last(),)))
}

/// `limits.policy-body` is far below 4 GiB.
fn position(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
