//! `environment`: time, chance and the plugin's name.

use super::Interface;
use crate::contract::common::{Store, monotonic_clock, random, wall_clock};

pub(super) fn link(environment: &mut Interface<'_>) -> wasmtime::Result<()> {
    environment.function("wall-clock", |store: Store<'_>, (): ()| Ok((wall_clock(store.data()),)))?;
    environment
        .function("monotonic-clock", |store: Store<'_>, (): ()| Ok((monotonic_clock(store.data()),)))?;
    environment.function("random", |store: Store<'_>, (): ()| Ok((random(store.data()),)))?;
    environment
        .question("plugin-name", |store: Store<'_>, (): ()| Ok((store.data().plugin.name.to_string(),)))
}
