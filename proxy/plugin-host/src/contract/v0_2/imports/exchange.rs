//! `exchange`: what policies note about an exchange.

use wasmtime::component::{WasmList, WasmStr};

use super::Interface;
use crate::contract::common::{self, Store, set_attribute};
use crate::contract::v0_2::bindings::tidegate::policy::types::EditError;
use crate::observe::{Change, Number};

pub(super) fn link(exchange: &mut Interface<'_>) -> wasmtime::Result<()> {
    exchange.question("token", |store: Store<'_>, (): ()| {
        Ok((store.data().number(Number::Token)?.unwrap_or_default(),))
    })?;
    exchange.question("set-token", |mut store: Store<'_>, (token,): (u64,)| {
        store.data_mut().change_at_will(Change::SetToken(token))
    })?;
    exchange.function("note", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        let state = store.data();
        Ok((state.exchange()?.note(state.plugin.id, &name).map(<[u8]>::to_vec),))
    })?;
    exchange.function("set-note", |mut store: Store<'_>, (name, value): (WasmStr, WasmList<u8>)| {
        let name = common::text(name.to_str(&store)?);
        let value = common::bytes(value.as_le_slice(&store));
        let mut editor = store.data_mut().edit()?;
        Ok((name.and_then(|name| editor.set_note(name, value?)).map_err(EditError::from),))
    })?;
    exchange.function("attribute", |store: Store<'_>, (key,): (WasmStr,)| {
        let key = key.to_str(&store)?;
        Ok((store.data().exchange()?.attribute(&key).map(str::to_owned),))
    })?;
    exchange.function("set-attribute", |store: Store<'_>, (key, value): (WasmStr, WasmStr)| {
        Ok((set_attribute(store, &key, &value)?.map_err(EditError::from),))
    })
}
