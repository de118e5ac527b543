//! Capability `store`: small values with expiry, of one plugin.

use std::time::Duration;

use tidegate_state::{self as state, Answer};
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Lower, WasmList, WasmStr};

use super::Interface;
use crate::contract::common::{self, unexpected_wait};
use crate::contract::v0_2::bindings::tidegate::policy::store::StoreError;

type Caller<'a> = common::Store<'a>;
type Bytes = WasmList<u8>;
type Asked<T> = Answer<Result<T, state::StoreError>>;

/// `may_wait`: the state is in a shared store.
pub(super) fn link(interface: &mut Interface<'_>, may_wait: bool) -> wasmtime::Result<()> {
    function(interface, may_wait, "get", |store, caller, (key,): (WasmStr,)| {
        Ok(store.get(&key.to_str(caller)?))
    })?;
    function(interface, may_wait, "set", |store, caller, (key, value, ttl): (WasmStr, Bytes, u64)| {
        Ok(store.set(&key.to_str(caller)?, value.as_le_slice(caller), lifetime(ttl)))
    })?;
    function(interface, may_wait, "get-text", |store, caller, (key,): (WasmStr,)| {
        Ok(store.get(&key.to_str(caller)?).map(|value| value.map(text)))
    })?;
    function(
        interface,
        may_wait,
        "set-text",
        |store, caller, (key, value, ttl): (WasmStr, WasmStr, u64)| {
            Ok(store.set(&key.to_str(caller)?, value.to_str(caller)?.as_bytes(), lifetime(ttl)))
        },
    )?;
    function(
        interface,
        may_wait,
        "compare-and-set",
        |store, caller, (key, expected, value, ttl): (WasmStr, Option<Bytes>, Bytes, u64)| {
            let expected = expected.as_ref().map(|expected| expected.as_le_slice(caller));
            let value = value.as_le_slice(caller);
            Ok(store.compare_and_set(&key.to_str(caller)?, expected, value, lifetime(ttl)))
        },
    )?;
    function(interface, may_wait, "increment", |store, caller, (key, delta, ttl): (WasmStr, i64, u64)| {
        Ok(store.increment(&key.to_str(caller)?, delta, lifetime(ttl)))
    })?;
    function(interface, may_wait, "remove", |store, caller, (key,): (WasmStr,)| {
        Ok(store.remove(&key.to_str(caller)?))
    })
}

/// Links what `ask` makes of the parameters and the plugin's store.
fn function<P, T>(
    interface: &mut Interface<'_>,
    may_wait: bool,
    name: &'static str,
    ask: impl Fn(&state::Store, &Caller<'_>, P) -> wasmtime::Result<Asked<T>> + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + Sync + 'static,
    T: ComponentType + Lower + Send + Sync + 'static,
{
    let ask = move |caller: &Caller<'_>, parameters: P| match &caller.data().plugin.granted.store {
        Some(store) => ask(store, caller, parameters).map(Some),
        None => Ok(None),
    };
    if !may_wait {
        return interface.function(name, move |caller: Caller<'_>, parameters: P| {
            Ok((match ask(&caller, parameters)? {
                Some(Answer::Now(answer)) => answer.map_err(StoreError::from),
                Some(Answer::Later(_)) => return Err(unexpected_wait()),
                None => Err(StoreError::NotGranted),
            },))
        });
    }
    interface.suspends(name, move |caller: Caller<'_>, parameters: P| {
        let asked = ask(&caller, parameters);
        Box::new(async move {
            Ok((match asked? {
                Some(asked) => asked.wait().await.map_err(StoreError::from),
                None => Err(StoreError::NotGranted),
            },))
        })
    })
}

fn text(value: Option<Vec<u8>>) -> Option<String> {
    String::from_utf8(value?).ok()
}

/// 0 = no expiry.
fn lifetime(milliseconds: u64) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

impl From<state::StoreError> for StoreError {
    fn from(error: state::StoreError) -> Self {
        match error {
            state::StoreError::TooLarge => Self::TooLarge,
            state::StoreError::Full => Self::Full,
            state::StoreError::NotANumber => Self::NotANumber,
            state::StoreError::Unavailable => Self::Unavailable,
        }
    }
}
