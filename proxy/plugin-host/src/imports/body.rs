//! `http`: bodies as a policy reads and edits them. The bytes stay here; there is one body per call.

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType, WasmList};

use crate::bindings::tidegate::policy::http::Body;
use crate::state::State;

type Store<'a> = StoreContextMut<'a, State>;
/// Borrowed for the length of a call.
type Handle = Resource<Body>;

pub(super) fn link(http: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    http.resource("body", ResourceType::host::<Body>(), |_, _| Ok(()))?;
    http.func_wrap("[method]body.len", |store: Store<'_>, (_,): (Handle,)| {
        Ok((u64::try_from(store.data().chunk()?.len()).unwrap_or(u64::MAX),))
    })?;
    http.func_wrap("[method]body.read", |store: Store<'_>, (_, offset, max): (Handle, u64, u32)| {
        Ok((store.data().chunk()?.read(offset, max),))
    })?;
    http.func_wrap(
        "[method]body.find",
        |store: Store<'_>, (_, needle, offset): (Handle, WasmList<u8>, u64)| {
            Ok((store.data().chunk()?.find(needle.as_le_slice(&store), offset),))
        },
    )?;
    http.func_wrap("[method]body.replace", |mut store: Store<'_>, (_, bytes): (Handle, WasmList<u8>)| {
        if let Err(error) = store.data().chunk()?.check_size(bytes.len()) {
            return Ok((Err(error),));
        }
        let bytes = bytes.as_le_slice(&store).to_vec();
        Ok((store.data_mut().chunk_mut()?.replace(bytes),))
    })?;
    http.func_wrap(
        "[method]body.replace-range",
        |mut store: Store<'_>, (_, offset, length, bytes): (Handle, u64, u64, WasmList<u8>)| {
            if let Err(error) = store.data().chunk()?.check_range(offset, length, bytes.len()) {
                return Ok((Err(error),));
            }
            let bytes = bytes.as_le_slice(&store).to_vec();
            Ok((store.data_mut().chunk_mut()?.replace_range(offset, length, &bytes),))
        },
    )?;
    http.func_wrap("[method]body.hold-back", |mut store: Store<'_>, (_, bytes): (Handle, u64)| {
        store.data_mut().chunk_mut()?.hold_back(bytes);
        Ok(())
    })?;
    http.func_wrap("[method]body.is-last", |store: Store<'_>, (_,): (Handle,)| {
        Ok((store.data().chunk()?.is_last(),))
    })
}
