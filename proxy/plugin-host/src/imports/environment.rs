//! `environment`: time, chance and the plugin's name.

use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::state::State;

pub(super) fn link(environment: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    environment.func_wrap("wall-clock", |store: StoreContextMut<'_, State>, (): ()| {
        store.data().recorder.give_up();
        // A clock set before 1970 reads as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((u64::try_from(since.as_millis()).unwrap_or(u64::MAX),))
    })?;
    environment.func_wrap("monotonic-clock", |store: StoreContextMut<'_, State>, (): ()| {
        store.data().recorder.give_up();
        let since = store.data().plugin.started.elapsed();
        Ok((u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),))
    })?;
    // Plugins make tokens of it: a cryptographic generator, per thread.
    environment.func_wrap("random", |store: StoreContextMut<'_, State>, (): ()| {
        store.data().recorder.give_up();
        Ok((rand::random::<u64>(),))
    })?;
    environment.func_wrap("plugin-name", |store: StoreContextMut<'_, State>, (): ()| {
        Ok((store.data().plugin.name.to_string(),))
    })
}
