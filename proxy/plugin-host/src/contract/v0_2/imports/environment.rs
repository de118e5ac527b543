//! `environment`: time, chance, the plugin's name, and secrets.

use wasmtime::component::WasmStr;

use super::Interface;
use crate::contract::common::{Store, monotonic_clock, random, wall_clock};

pub(super) fn link(environment: &mut Interface<'_>) -> wasmtime::Result<()> {
    environment.function("wall-clock", |store: Store<'_>, (): ()| Ok((wall_clock(store.data()),)))?;
    environment
        .function("monotonic-clock", |store: Store<'_>, (): ()| Ok((monotonic_clock(store.data()),)))?;
    environment.function("random", |store: Store<'_>, (): ()| Ok(((random(store.data()) >> 32) as u32,)))?;
    environment
        .question("plugin-name", |store: Store<'_>, (): ()| Ok((store.data().plugin.name.to_string(),)))?;
    // They are the same as long as the plugin is.
    environment.question("secret", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        Ok((store.data().plugin.secrets.get(&name).map(<[u8]>::to_vec),))
    })?;
    environment.question("secret-text", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        let text = store.data().plugin.secrets.get(&name).and_then(|secret| str::from_utf8(secret).ok());
        Ok((text.map(|text| text.trim_end().to_owned()),))
    })
}
