//! `request`: the request as a policy reads and edits it.

use std::borrow::Cow;
use std::time::Duration;

use tidegate_message::{ClientCertificate, cookie, query};
use wasmtime::component::{WasmList, WasmStr};

use super::Interface;
use crate::bodies::Side;
use crate::contract::common::{
    self, Fields, Store, TextFields, copy_of_request, header_count, set_authority, set_hash_key, set_method,
    set_target,
};
use crate::contract::v0_2::bindings::tidegate::policy::types::{
    BodyMode, EditError, IpAddress, RouteError, Version,
};
use crate::observe::{Change, Fact, Text};

pub(super) fn link(request: &mut Interface<'_>) -> wasmtime::Result<()> {
    link_connection(request)?;
    link_certificate(request)?;
    link_target(request)?;
    link_fields(request)?;
    link_edits(request)?;
    link_body(request)
}

/// Facts of the connection.
fn link_connection(request: &mut Interface<'_>) -> wasmtime::Result<()> {
    request
        .function("id", |store: Store<'_>, (): ()| Ok((format!("{:016x}", store.data().exchange()?.id),)))?;
    request
        .question("listener", |store: Store<'_>, (): ()| Ok((store.data().some_text(Text::Listener)?,)))?;
    request.function("client-ip", |store: Store<'_>, (): ()| {
        Ok((IpAddress::from(store.data().exchange()?.client),))
    })?;
    request.function("client-ip-text", |store: Store<'_>, (): ()| {
        Ok((store.data().exchange()?.client.to_canonical().to_string(),))
    })?;
    request.function("peer-address", |store: Store<'_>, (): ()| {
        Ok((common::address(store.data().exchange()?.connection.peer),))
    })?;
    request.function("local-address", |store: Store<'_>, (): ()| {
        Ok((common::address(store.data().exchange()?.connection.destination),))
    })?;
    request.function("http-version", |store: Store<'_>, (): ()| {
        Ok((Version::from(store.data().exchange()?.request.version),))
    })?;
    request.question("is-tls", |store: Store<'_>, (): ()| Ok((store.data().is(Fact::IsTls)?,)))?;
    request.function("tls-version", |store: Store<'_>, (): ()| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls.map(|tls| tls.version),))
    })?;
    request.function("tls-cipher-suite", |store: Store<'_>, (): ()| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls.map(|tls| tls.cipher_suite),))
    })?;
    request.question("server-name", |store: Store<'_>, (): ()| {
        Ok((store.data().text(Text::ServerName)?.map(Cow::into_owned),))
    })
}

/// Facts of the client's certificate.
fn link_certificate(request: &mut Interface<'_>) -> wasmtime::Result<()> {
    request.question("client-verified", |store: Store<'_>, (): ()| {
        Ok((store.data().is(Fact::ClientVerified)?,))
    })?;
    request.function("client-certificate-sha256", |store: Store<'_>, (): ()| {
        Ok((client_certificate(&store)?.map(|certificate| certificate.sha256.to_vec()),))
    })?;
    request.function("client-certificate-names", |store: Store<'_>, (): ()| {
        Ok((client_certificate(&store)?.map(|certificate| certificate.names.clone()).unwrap_or_default(),))
    })?;
    request.function("client-certificate-subject", |store: Store<'_>, (): ()| {
        Ok((client_certificate(&store)?.map(|certificate| certificate.subject.clone()),))
    })?;
    request.function("client-certificate-serial", |store: Store<'_>, (): ()| {
        Ok((client_certificate(&store)?.map(|certificate| certificate.serial.clone()),))
    })?;
    request.function("client-certificate", |store: Store<'_>, (): ()| {
        Ok((client_certificate(&store)?.map(|certificate| certificate.der.clone()),))
    })
}

fn client_certificate<'s>(store: &'s Store<'_>) -> wasmtime::Result<Option<&'s ClientCertificate>> {
    let tls = store.data().exchange()?.connection.tls.as_ref();
    Ok(tls.and_then(|tls| tls.client_certificate.as_deref()))
}

fn link_target(request: &mut Interface<'_>) -> wasmtime::Result<()> {
    request.question("method", |store: Store<'_>, (): ()| Ok((store.data().some_text(Text::Method)?,)))?;
    request.question("method-is", |store: Store<'_>, (method,): (WasmStr,)| {
        let method = method.to_str(&store)?;
        Ok((store.data().is(Fact::MethodIs(method))?,))
    })?;
    request.question("scheme", |store: Store<'_>, (): ()| Ok((store.data().some_text(Text::Scheme)?,)))?;
    request
        .question("authority", |store: Store<'_>, (): ()| Ok((store.data().some_text(Text::Authority)?,)))?;
    request.question("path", |store: Store<'_>, (): ()| Ok((store.data().some_text(Text::Path)?,)))?;
    request.question("normalized-path", |store: Store<'_>, (): ()| {
        Ok((store.data().some_text(Text::NormalizedPath)?,))
    })?;
    request.question("path-starts-with", |store: Store<'_>, (prefix,): (WasmStr,)| {
        let prefix = prefix.to_str(&store)?;
        Ok((store.data().is(Fact::PathStartsWith(prefix))?,))
    })?;
    request.question("query", |store: Store<'_>, (): ()| {
        Ok((store.data().text(Text::Query)?.map(Cow::into_owned),))
    })?;
    request.question("query-param", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        Ok((store.data().text(Text::QueryParam(name))?.map(Cow::into_owned),))
    })?;
    request.function("query-params", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        let query = store.data().exchange()?.request.target().query();
        Ok((query::params(query, &name).map(Cow::into_owned).collect::<Vec<_>>(),))
    })?;
    request.function("original-target", |store: Store<'_>, (): ()| {
        Ok((store.data().exchange()?.request.received().as_str().to_owned(),))
    })
}

fn link_fields(request: &mut Interface<'_>) -> wasmtime::Result<()> {
    request.question("header", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        Ok((store.data().text(Text::Header(Side::Request, name))?.map(Cow::into_owned),))
    })?;
    request.function("header-values", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        let values = store.data().exchange()?.request.values(&name);
        Ok((values.map(<[u8]>::to_vec).collect::<Vec<_>>(),))
    })?;
    request.question("header-count", |store: Store<'_>, (name,): (WasmStr,)| {
        Ok((header_count(&store, Side::Request, &name)?,))
    })?;
    request.question("header-contains", |store: Store<'_>, (name, text): (WasmStr, WasmStr)| {
        let (name, text) = (name.to_str(&store)?, text.to_str(&store)?);
        Ok((store.data().is(Fact::HeaderContains(name, text))?,))
    })?;
    request
        .function("headers", |store: Store<'_>, (): ()| Ok((copy_of_request(store.data().exchange()?),)))?;
    request.function("cookie", |store: Store<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        let values = store.data().exchange()?.request.values("cookie");
        Ok((cookie::find(values, &name).map(str::to_owned),))
    })?;
    request.question("set-header", |store: Store<'_>, (name, value): (WasmStr, WasmStr)| {
        Ok((common::set_header(store, Side::Request, &name, &value)?.map_err(EditError::from),))
    })?;
    request.question("set-header-bytes", |store: Store<'_>, (name, value): (WasmStr, WasmList<u8>)| {
        Ok((common::set_header(store, Side::Request, &name, &value)?.map_err(EditError::from),))
    })?;
    request.question("append-header", |store: Store<'_>, (name, value): (WasmStr, WasmStr)| {
        Ok((common::append_header(store, Side::Request, &name, &value)?.map_err(EditError::from),))
    })?;
    request.question("append-header-bytes", |store: Store<'_>, (name, value): (WasmStr, WasmList<u8>)| {
        Ok((common::append_header(store, Side::Request, &name, &value)?.map_err(EditError::from),))
    })?;
    request.question("remove-header", |store: Store<'_>, (name,): (WasmStr,)| {
        Ok((common::remove_header(store, Side::Request, &name)?.map_err(EditError::from),))
    })
}

/// What becomes of it.
fn link_edits(request: &mut Interface<'_>) -> wasmtime::Result<()> {
    request.function("set-method", |store: Store<'_>, (method,): (WasmStr,)| {
        Ok((set_method(store, &method)?.map_err(EditError::from),))
    })?;
    request.function("set-authority", |store: Store<'_>, (authority,): (WasmStr,)| {
        Ok((set_authority(store, &authority)?.map_err(EditError::from),))
    })?;
    request.question("set-target", |store: Store<'_>, (target,): (WasmStr,)| {
        Ok((set_target(store, &target)?.map_err(EditError::from),))
    })?;
    request.question("route-to", |mut store: Store<'_>, (name,): (String,)| {
        Ok((store.data_mut().route_to(&name)?.map_err(RouteError::from),))
    })?;
    request.question("route", |store: Store<'_>, (): ()| {
        Ok((store.data().text(Text::Route)?.map(Cow::into_owned),))
    })?;
    request.question("set-timeout", |mut store: Store<'_>, (milliseconds,): (u32,)| {
        let timeout = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
        store.data_mut().change_at_will(Change::SetTimeout(timeout))
    })?;
    request.question("set-hash-key", |store: Store<'_>, (key,): (WasmStr,)| set_hash_key(store, &key))?;
    request.question("use-cache", |mut store: Store<'_>, (name,): (String,)| {
        let is_known = store.data_mut().use_cache(&name)?;
        Ok((if is_known { Ok(()) } else { Err(RouteError::Unknown) },))
    })?;
    request.question("bypass-cache", |mut store: Store<'_>, (): ()| {
        store.data_mut().change_at_will(Change::BypassCache)
    })?;
    request.question("add-cache-key", |mut store: Store<'_>, (part,): (String,)| {
        let added = store.data_mut().change(Ok(Change::AddCacheKey(part.into())))?;
        Ok((added.map(drop).map_err(EditError::from),))
    })?;
    request.question("set-cache-lifetime", |mut store: Store<'_>, (seconds,): (u32,)| {
        store.data_mut().change_at_will(Change::SetCacheLifetime(seconds))
    })?;
    request.question("add-cache-tag", |mut store: Store<'_>, (tag,): (String,)| {
        let added = store.data_mut().change(Ok(Change::AddCacheTag(tag.into())))?;
        Ok((added.map(drop).map_err(EditError::from),))
    })?;
    request.question("limit-body", |mut store: Store<'_>, (bytes,): (u64,)| {
        store.data_mut().change_at_will(Change::LimitBody(bytes))
    })?;
    request.function(
        "respond",
        |store: Store<'_>, (status, headers, body): (u16, TextFields, WasmStr)| {
            Ok((common::respond(store, Side::Request, status, &headers, &body)?.map_err(EditError::from),))
        },
    )?;
    request.function(
        "respond-bytes",
        |store: Store<'_>, (status, headers, body): (u16, Fields, WasmList<u8>)| {
            Ok((common::respond(store, Side::Request, status, &headers, &body)?.map_err(EditError::from),))
        },
    )
}

fn link_body(request: &mut Interface<'_>) -> wasmtime::Result<()> {
    request.question("has-body", |store: Store<'_>, (): ()| Ok((store.data().is(Fact::HasBody)?,)))?;
    request.function("content-length", |store: Store<'_>, (): ()| {
        Ok((store.data().exchange()?.request.content_length,))
    })?;
    request.question("set-body-mode", |mut store: Store<'_>, (mode,): (BodyMode,)| {
        store.data_mut().change_at_will(Change::SetBodyMode(Side::Request, mode.into()))
    })?;
    request.question("decode-body", |mut store: Store<'_>, (): ()| {
        Ok((store.data_mut().decode_body(Side::Request)?,))
    })?;
    request.function("bytes-received", |store: Store<'_>, (): ()| {
        Ok((store.data().exchange()?.tally.bytes_received,))
    })
}
