//! `response`: the response as a policy reads and edits it.

use std::borrow::Cow;

use wasmtime::component::{WasmList, WasmStr};

use super::Interface;
use crate::bodies::Side;
use crate::contract::common::{self, Fields, Store, TextFields, copy, elapsed, header_count};
use crate::contract::v0_2::bindings::tidegate::policy::response::RetryError;
use crate::contract::v0_2::bindings::tidegate::policy::types::{BodyMode, EditError};
use crate::observe::{Change, Number, Text};

pub(super) fn link(response: &mut Interface<'_>) -> wasmtime::Result<()> {
    response.question("status", |store: Store<'_>, (): ()| {
        let status = store.data().number(Number::Status)?.unwrap_or_default();
        Ok((u16::try_from(status).unwrap_or(u16::MAX),))
    })?;
    response.function("set-status", |mut store: Store<'_>, (status,): (u16,)| {
        Ok((store.data_mut().edit()?.set_status(status).map_err(EditError::from),))
    })?;
    link_fields(response)?;
    response.function("content-length", |store: Store<'_>, (): ()| {
        Ok((store.data().response()?.content_length,))
    })?;
    response.question("set-body-mode", |mut store: Store<'_>, (mode,): (BodyMode,)| {
        store.data_mut().change_at_will(Change::SetBodyMode(Side::Response, mode.into()))
    })?;
    response.question("decode-body", |mut store: Store<'_>, (): ()| {
        Ok((store.data_mut().decode_body(Side::Response)?,))
    })?;
    response.function(
        "respond",
        |store: Store<'_>, (status, headers, body): (u16, TextFields, WasmStr)| {
            Ok((common::respond(store, Side::Response, status, &headers, &body)?.map_err(EditError::from),))
        },
    )?;
    response.function(
        "respond-bytes",
        |store: Store<'_>, (status, headers, body): (u16, Fields, WasmList<u8>)| {
            Ok((common::respond(store, Side::Response, status, &headers, &body)?.map_err(EditError::from),))
        },
    )?;
    response.function("retry-at", |mut store: Store<'_>, (name,): (String,)| {
        Ok((store.data_mut().edit()?.retry_at(&name).map_err(RetryError::from),))
    })?;
    link_facts(response)
}

fn link_fields(response: &mut Interface<'_>) -> wasmtime::Result<()> {
    response.question("header", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        Ok((store.data().text(Text::Header(Side::Response, name))?.map(Cow::into_owned),))
    })?;
    response.function("header-values", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        let values = store.data().response()?.headers.get_all(&*name);
        Ok((values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>(),))
    })?;
    response.question("header-count", |store: Store<'_>, (name,): (WasmStr,)| {
        Ok((header_count(&store, Side::Response, &name)?,))
    })?;
    response.function("headers", |store: Store<'_>, (): ()| {
        Ok((copy(&store.data().response()?.headers).collect::<Vec<_>>(),))
    })?;
    response.question("set-header", |store: Store<'_>, (name, value): (WasmStr, WasmStr)| {
        Ok((common::set_header(store, Side::Response, &name, &value)?.map_err(EditError::from),))
    })?;
    response.question("set-header-bytes", |store: Store<'_>, (name, value): (WasmStr, WasmList<u8>)| {
        Ok((common::set_header(store, Side::Response, &name, &value)?.map_err(EditError::from),))
    })?;
    response.question("append-header", |store: Store<'_>, (name, value): (WasmStr, WasmStr)| {
        Ok((common::append_header(store, Side::Response, &name, &value)?.map_err(EditError::from),))
    })?;
    response.question(
        "append-header-bytes",
        |store: Store<'_>, (name, value): (WasmStr, WasmList<u8>)| {
            Ok((common::append_header(store, Side::Response, &name, &value)?.map_err(EditError::from),))
        },
    )?;
    response.question("remove-header", |store: Store<'_>, (name,): (WasmStr,)| {
        Ok((common::remove_header(store, Side::Response, &name)?.map_err(EditError::from),))
    })
}

/// Where it came from, and what became of it.
fn link_facts(response: &mut Interface<'_>) -> wasmtime::Result<()> {
    response.function("origin", |store: Store<'_>, (): ()| Ok((store.data().response()?.origin.clone(),)))?;
    response.function("server", |store: Store<'_>, (): ()| {
        store.data().response()?;
        Ok((store.data().exchange()?.tally.server.clone(),))
    })?;
    response.function("attempts", |store: Store<'_>, (): ()| {
        store.data().response()?;
        Ok((store.data().exchange()?.tally.attempts,))
    })?;
    response.function("failure", |store: Store<'_>, (): ()| {
        let failure = store.data().response()?.failure;
        Ok((failure.or(store.data().exchange()?.tally.failure).map(str::to_owned),))
    })?;
    response.function("elapsed", |store: Store<'_>, (): ()| Ok((elapsed(store.data())?,)))?;
    response
        .function("bytes-sent", |store: Store<'_>, (): ()| Ok((store.data().exchange()?.tally.bytes_sent,)))
}
