//! What functions of all versions do alike: take what a plugin passes, and do what is asked.
//!
//! What an edit takes is looked at where it lies in the plugin's memory, and copied when it is not too large.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::HeaderMap;
use tidegate_crypto::{Key, KeyFormat};
use wasmtime::StoreContextMut;
use wasmtime::component::{Lift, WasmList, WasmStr};

use crate::activation::Narrowing;
use crate::bodies::Side;
use crate::edit::{MAX_COPY, wire_size};
use crate::exchange::Exchange;
use crate::log::{Level, clean};
use crate::matching::{Definition, Matchers, Watch};
use crate::observe::{Change, Number, Refused};
use crate::refusal::EditError;
use crate::services::{Defined, LimiterSpec, MetricSpec, Table};
use crate::settings::Shared;
use crate::state::{Stage, State};
use crate::trial::Fixed;

pub(super) type Store<'a> = StoreContextMut<'a, State>;
/// Fields as bytes, and as texts.
pub(super) type Fields = WasmList<(WasmStr, WasmList<u8>)>;
pub(super) type TextFields = WasmList<(WasmStr, WasmStr)>;
pub(super) type Edited<T = ()> = wasmtime::Result<Result<T, EditError>>;

/// Of an error that is repeated where a crash is reported.
const MAX_LAST_WORDS: usize = 512;

/// A text of the plugin's, to be kept.
pub(super) fn text(text: Cow<'_, str>) -> Result<String, EditError> {
    if text.len() > MAX_COPY { Err(EditError::TooLarge) } else { Ok(text.into_owned()) }
}

/// Bytes of the plugin's, to be kept.
pub(super) fn bytes(bytes: &[u8]) -> Result<Vec<u8>, EditError> {
    if bytes.len() > MAX_COPY { Err(EditError::TooLarge) } else { Ok(bytes.to_vec()) }
}

/// All fields, copied.
pub(super) fn copy(headers: &HeaderMap) -> impl Iterator<Item = (String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
}

/// The same of a request, whose host is its authority.
pub(super) fn copy_of_request(exchange: &Exchange) -> Vec<(String, Vec<u8>)> {
    let request = &exchange.request;
    let mut fields = vec![("host".to_owned(), request.authority.clone().into_bytes())];
    fields.extend(copy(&request.headers).filter(|(name, _)| name != "host"));
    fields
}

/// `ip:port`.
pub(super) fn address(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// Bytes where a plugin keeps them, as text or as they are.
pub(super) trait Bytes {
    fn look<'s>(&self, store: &'s Store<'_>) -> wasmtime::Result<Cow<'s, [u8]>>;
}

impl Bytes for WasmList<u8> {
    fn look<'s>(&self, store: &'s Store<'_>) -> wasmtime::Result<Cow<'s, [u8]>> {
        Ok(Cow::Borrowed(self.as_le_slice(store)))
    }
}

impl Bytes for WasmStr {
    fn look<'s>(&self, store: &'s Store<'_>) -> wasmtime::Result<Cow<'s, [u8]>> {
        Ok(match self.to_str(store)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }
}

/// Name and value of a field.
fn field(
    store: &Store<'_>,
    name: &WasmStr,
    value: &impl Bytes,
) -> wasmtime::Result<Result<(String, Vec<u8>), EditError>> {
    let name = text(name.to_str(store)?);
    let value = bytes(&value.look(store)?);
    Ok(name.and_then(|name| Ok((name, value?))))
}

pub(super) fn header_count(store: &Store<'_>, side: Side, name: &WasmStr) -> wasmtime::Result<u32> {
    let name = name.to_str(store)?;
    let count = store.data().number(Number::HeaderCount(side, name))?.unwrap_or_default();
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

pub(super) fn set_header(mut store: Store<'_>, side: Side, name: &WasmStr, value: &impl Bytes) -> Edited {
    let change = match field(&store, name, value)? {
        Ok((name, value)) => Change::set_header(side, &name, value),
        Err(error) => Err(Refused { side, error }),
    };
    Ok(store.data_mut().change(change)?.map(|_| ()))
}

pub(super) fn append_header(mut store: Store<'_>, side: Side, name: &WasmStr, value: &impl Bytes) -> Edited {
    let change = match field(&store, name, value)? {
        Ok((name, value)) => Change::append_header(side, &name, value),
        Err(error) => Err(Refused { side, error }),
    };
    Ok(store.data_mut().change(change)?.map(|_| ()))
}

pub(super) fn remove_header(mut store: Store<'_>, side: Side, name: &WasmStr) -> Edited<u32> {
    let change = match text(name.to_str(&store)?) {
        Ok(name) => Change::remove_header(side, &name),
        Err(error) => Err(Refused { side, error }),
    };
    store.data_mut().change(change)
}

pub(super) fn set_target(mut store: Store<'_>, target: &WasmStr) -> Edited {
    let target = text(target.to_str(&store)?);
    let state = store.data_mut();
    let change = match target {
        Ok(target) => Change::set_target(target),
        Err(error) => Err(Refused { side: Side::Request, error }),
    };
    Ok(state.change(change)?.map(|_| ()))
}

pub(super) fn set_method(mut store: Store<'_>, method: &WasmStr) -> Edited {
    let method = text(method.to_str(&store)?);
    let mut editor = store.data_mut().edit()?;
    Ok(method.and_then(|method| editor.set_method(&method)))
}

pub(super) fn set_authority(mut store: Store<'_>, authority: &WasmStr) -> Edited {
    let authority = text(authority.to_str(&store)?);
    let mut editor = store.data_mut().edit()?;
    Ok(authority.and_then(|authority| editor.set_authority(authority)))
}

pub(super) fn set_hash_key(mut store: Store<'_>, key: &WasmStr) -> wasmtime::Result<()> {
    // What is too long for a key and for everything else is as good cut as whole.
    let key = text(key.to_str(&store)?).unwrap_or_default();
    store.data_mut().change_at_will(Change::SetHashKey(key.into()))
}

pub(super) fn set_attribute(mut store: Store<'_>, key: &WasmStr, value: &WasmStr) -> Edited {
    let (key, value) = (text(key.to_str(&store)?), text(value.to_str(&store)?));
    let mut editor = store.data_mut().edit()?;
    Ok(key.and_then(|key| editor.set_attribute(key, value?)))
}

/// Stores a response of the policy's own.
pub(super) fn respond<V: Bytes + Lift>(
    mut store: Store<'_>,
    side: Side,
    status: u16,
    headers: &WasmList<(WasmStr, V)>,
    body: &impl Bytes,
) -> Edited {
    let limit = store.data().exchange()?.limits.response_headers;
    let mut fields = Vec::new();
    let mut size = 0_usize;
    for index in 0..headers.len() {
        let Some(entry) = headers.get(&mut store, index) else { break };
        let (name, value) = entry?;
        size = size.saturating_add(wire_size(name.to_str(&store)?.len(), value.look(&store)?.len()));
        // The rest is not even looked at.
        if size > limit {
            return Ok(Err(EditError::TooLarge));
        }
        match field(&store, &name, &value)? {
            Ok(field) => fields.push(field),
            Err(error) => return Ok(Err(error)),
        }
    }
    let body = bytes(&body.look(&store)?);
    let mut editor = store.data_mut().edit()?;
    Ok(body.and_then(|body| editor.respond(side, status, fields, body)))
}

/// Puts bytes in place of the body.
pub(super) fn replace(mut store: Store<'_>, bytes: &impl Bytes) -> Edited {
    let bytes = {
        let bytes = bytes.look(&store)?;
        if let Err(error) = store.data().chunk()?.check_size(bytes.len()) {
            return Ok(Err(error));
        }
        bytes.to_vec()
    };
    Ok(store.data_mut().chunk_mut()?.replace(bytes))
}

/// Puts bytes in place of a part of it.
pub(super) fn replace_range(mut store: Store<'_>, offset: u64, length: u64, bytes: &WasmList<u8>) -> Edited {
    if let Err(error) = store.data().chunk()?.check_range(offset, length, bytes.len()) {
        return Ok(Err(error));
    }
    let bytes = bytes.as_le_slice(&store).to_vec();
    Ok(store.data_mut().chunk_mut()?.replace_range(offset, length, &bytes))
}

/// The body, if it is text.
pub(super) fn body_text(store: &mut Store<'_>) -> wasmtime::Result<Option<String>> {
    let bytes = store.data_mut().chunk_mut()?.contiguous();
    Ok(str::from_utf8(bytes).ok().map(str::to_owned))
}

/// Writes a line into the proxy's log.
pub(super) fn write_log(mut store: Store<'_>, level: Level, message: &WasmStr) -> wasmtime::Result<()> {
    let last_words = {
        let message = message.to_str(&store)?;
        let state = store.data();
        state.plugin.log.write(level, &message);
        (level == Level::Error).then(|| clean(&message, MAX_LAST_WORDS))
    };
    if last_words.is_some() {
        store.data_mut().last_words = last_words;
    }
    Ok(())
}

/// Narrows when the policy is called. The first instance decides; what later ones say was said before.
pub(super) fn narrow(
    mut store: Store<'_>,
    change: impl FnOnce(&mut Narrowing) -> Result<(), String>,
) -> wasmtime::Result<(Result<(), String>,)> {
    let state = store.data_mut();
    let narrowed = match &mut state.stage {
        Stage::Defining(narrowing) => change(narrowing),
        Stage::Configuring => Ok(()),
        Stage::Starting | Stage::Serving => Err("activation is set in `configure` only".to_owned()),
    };
    state.budget.look()?;
    Ok((narrowed,))
}

/// Tells something that cannot be wrong; outside of `configure` it has no way to fail and no effect.
pub(super) fn tell(mut store: Store<'_>, what: impl FnOnce(&mut Narrowing)) {
    if let Stage::Defining(narrowing) = &mut store.data_mut().stage {
        what(narrowing);
    }
}

/// The first instance defines a matcher; later ones find what it defined.
pub(super) fn define(
    mut store: Store<'_>,
    definition: Definition,
) -> wasmtime::Result<(Result<u32, String>,)> {
    let state = store.data_mut();
    let defined = match state.stage {
        Stage::Defining(_) => Arc::make_mut(&mut state.defined).matchers.define(definition),
        Stage::Configuring => match state.defined.matchers.find(&definition) {
            Some(id) => Ok(id),
            // What was refused then is refused now, in the same words.
            None => Matchers::default().define(definition).and(Err(
                "this matcher was not defined when the plugin was loaded; `configure` must do the same every time"
                    .to_owned(),
            )),
        },
        Stage::Starting | Stage::Serving => Err("matchers are defined in `configure` only".to_owned()),
    };
    state.budget.look()?;
    Ok((defined,))
}

/// The same with anything else that is known by number.
fn define_other<D: Eq + std::hash::Hash + Clone, T>(
    store: &mut Store<'_>,
    definition: D,
    table: impl FnOnce(&mut Defined) -> &mut Table<D, T>,
    known: impl FnOnce(&Defined) -> &Table<D, T>,
    build: impl FnOnce(&D, &Shared) -> Result<T, String>,
) -> wasmtime::Result<Result<u32, String>> {
    let state = store.data_mut();
    state.budget.look()?;
    let plugin = state.plugin.clone();
    let defined = match state.stage {
        Stage::Defining(_) => table(Arc::make_mut(&mut state.defined))
            .define(definition, |definition| build(definition, &plugin)),
        Stage::Configuring => match known(&state.defined).find(&definition) {
            Some(id) => Ok(id),
            // What was refused then is refused now, in the same words.
            None => build(&definition, &plugin).and(Err(
                "this was not defined when the plugin was loaded; `configure` must do the same every time"
                    .to_owned(),
            )),
        },
        Stage::Starting | Stage::Serving => Err("this is defined in `configure` only".to_owned()),
    };
    state.budget.look()?;
    Ok(defined)
}

pub(super) fn define_key(
    mut store: Store<'_>,
    format: KeyFormat,
    key: Vec<u8>,
) -> wasmtime::Result<(Result<u32, String>,)> {
    let parse = |(format, bytes): &(KeyFormat, Vec<u8>), _: &Shared| {
        Key::parse(*format, bytes).map(Arc::new).map_err(|error| error.to_string())
    };
    Ok((define_other(&mut store, (format, key), |to| &mut to.keys, |of| &of.keys, parse)?,))
}

pub(super) fn define_metric(mut store: Store<'_>, spec: MetricSpec) -> wasmtime::Result<Result<u32, String>> {
    let define = |spec: &MetricSpec, plugin: &Shared| match &plugin.granted.metrics {
        Some(metrics) => spec.define(metrics),
        None => Err("not granted".to_owned()),
    };
    define_other(&mut store, spec, |to| &mut to.metrics, |of| &of.metrics, define)
}

pub(super) fn define_limiter(
    mut store: Store<'_>,
    spec: LimiterSpec,
) -> wasmtime::Result<Result<u32, String>> {
    let open = |spec: &LimiterSpec, plugin: &Shared| spec.open(&plugin.name, &plugin.granted.services);
    define_other(&mut store, spec, |to| &mut to.limiters, |of| &of.limiters, open)
}

/// A shared store was asked where nothing may wait: the linker is not the one for it.
pub(super) fn unexpected_wait() -> wasmtime::Error {
    wasmtime::Error::msg("the shared store is not to be waited for here")
}

/// Milliseconds since 1970; a clock set before that reads as 1970.
pub(super) fn wall_clock(state: &State) -> u64 {
    let since = match fixed(state) {
        Some(fixed) => fixed.now(),
        None => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default(),
    };
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn monotonic_clock(state: &State) -> u64 {
    let since = fixed(state).map_or_else(|| state.plugin.started.elapsed(), Fixed::now);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Plugins make tokens of it: a cryptographic generator, per thread.
pub(super) fn random(state: &State) -> u64 {
    fixed(state).map_or_else(rand::random, Fixed::random)
}

pub(super) fn random_bytes(state: &State, count: usize) -> wasmtime::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    match fixed(state) {
        Some(fixed) => bytes.fill_with(|| fixed.random().to_le_bytes()[0]),
        None => {
            tidegate_crypto::random(&mut bytes).map_err(|error| wasmtime::Error::msg(error.to_string()))?
        }
    }
    Ok(bytes)
}

fn fixed(state: &State) -> Option<&Fixed> {
    state.plugin.granted.services.fixed.as_deref()
}

/// Microseconds since the request head was complete.
pub(super) fn elapsed(state: &State) -> wasmtime::Result<u64> {
    let elapsed = state.exchange()?.started.elapsed();
    Ok(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}
