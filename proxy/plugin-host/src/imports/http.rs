//! `http`: requests and responses as a policy reads and edits them.
//!
//! The handles carry nothing: there is one exchange per call, and it is in the store. What an edit takes is looked at
//! where it lies in the plugin's memory, and copied when it is not too large.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use tidegate_message::path;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType, WasmList, WasmStr};

use super::body;
use crate::bindings::tidegate::policy::http::{
    BodyMode, EditError, IpAddress, Request, Response, TlsInfo, Version,
};
use crate::bodies::{self, Side};
use crate::edit::{MAX_COPY, editable_name, valid_target, valid_value, wire_size};
use crate::memo::{self, Answer, Question};
use crate::state::State;

type Store<'a> = StoreContextMut<'a, State>;
/// Borrowed for the length of a call.
type Req = Resource<Request>;
type Resp = Resource<Response>;
type Fields = WasmList<(WasmStr, WasmList<u8>)>;

pub(super) fn link(http: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    http.resource("request", ResourceType::host::<Request>(), |_, _| Ok(()))?;
    http.resource("response", ResourceType::host::<Response>(), |_, _| Ok(()))?;
    link_connection(http)?;
    link_request(http)?;
    link_request_edits(http)?;
    link_notes(http)?;
    link_response(http)?;
    link_response_edits(http)?;
    body::link(http)
}

/// Facts of the connection.
fn link_connection(http: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    http.func_wrap("[method]request.id", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().exchange()?.id,))
    })?;
    http.func_wrap("[method]request.listener", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().exchange()?.connection.listener.clone(),))
    })?;
    http.func_wrap("[method]request.client-ip", |store: Store<'_>, (_,): (Req,)| {
        Ok((ip_address(store.data().exchange()?.client),))
    })?;
    http.func_wrap("[method]request.client-ip-text", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().exchange()?.client.to_canonical().to_string(),))
    })?;
    http.func_wrap("[method]request.peer-address", |store: Store<'_>, (_,): (Req,)| {
        let peer = store.data().exchange()?.connection.peer;
        Ok((SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string(),))
    })?;
    http.func_wrap("[method]request.tls", |store: Store<'_>, (_,): (Req,)| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls.map(|tls| TlsInfo {
            version: tls.version,
            cipher_suite: tls.cipher_suite,
            client_verified: tls.client_verified,
        }),))
    })?;
    http.func_wrap("[method]request.server-name", |store: Store<'_>, (_,): (Req,)| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls.and_then(|tls| tls.server_name.clone()),))
    })?;
    http.func_wrap("[method]request.client-certificate-sha256", |store: Store<'_>, (_,): (Req,)| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls.and_then(|tls| tls.client_certificate_sha256).map(Vec::from),))
    })?;
    http.func_wrap("[method]request.client-certificate-names", |store: Store<'_>, (_,): (Req,)| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls.map(|tls| tls.client_certificate_names.clone()).unwrap_or_default(),))
    })
}

fn link_request(http: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    http.func_wrap("[method]request.version", |store: Store<'_>, (_,): (Req,)| {
        Ok((match store.data().exchange()?.request.version {
            http::Version::HTTP_10 | http::Version::HTTP_09 => Version::Http10,
            http::Version::HTTP_2 => Version::Http2,
            http::Version::HTTP_3 => Version::Http3,
            _ => Version::Http11,
        },))
    })?;
    http.func_wrap("[method]request.method", |store: Store<'_>, (_,): (Req,)| {
        let state = store.data();
        let method = state.noted_exchange()?.request.method.as_str();
        state.recorder.note(|| Question::Method, &Answer::Text(method.into()));
        Ok((method.to_owned(),))
    })?;
    http.func_wrap("[method]request.method-is", |store: Store<'_>, (_, method): (Req, WasmStr)| {
        let method = method.to_str(&store)?;
        let state = store.data();
        let is = state.noted_exchange()?.request.method.as_str() == method;
        state.recorder.note(|| Question::MethodIs((&*method).into()), &Answer::Is(is));
        Ok((is,))
    })?;
    http.func_wrap("[method]request.scheme", |store: Store<'_>, (_,): (Req,)| {
        let state = store.data();
        let scheme = state.noted_exchange()?.request.scheme;
        state.recorder.note(|| Question::Scheme, &Answer::Text(scheme.into()));
        Ok((scheme,))
    })?;
    http.func_wrap("[method]request.authority", |store: Store<'_>, (_,): (Req,)| {
        let state = store.data();
        let authority = &state.noted_exchange()?.request.authority;
        state.recorder.note(|| Question::Authority, &Answer::Text(authority.into()));
        Ok((authority.clone(),))
    })?;
    http.func_wrap("[method]request.path", |store: Store<'_>, (_,): (Req,)| {
        let state = store.data();
        let path = state.noted_exchange()?.request.path();
        state.recorder.note(|| Question::Path, &Answer::Text(path.into()));
        Ok((path.to_owned(),))
    })?;
    http.func_wrap("[method]request.normalized-path", |store: Store<'_>, (_,): (Req,)| {
        let state = store.data();
        let path = state.noted_exchange()?.request.normalized_path();
        state.recorder.note(|| Question::NormalizedPath, &Answer::Text(path.into()));
        Ok((path.to_owned(),))
    })?;
    http.func_wrap("[method]request.path-starts-with", |store: Store<'_>, (_, prefix): (Req, WasmStr)| {
        let prefix = prefix.to_str(&store)?;
        Ok((store.data().exchange()?.request.normalized_path().starts_with(&*path::spelled(&prefix)),))
    })?;
    http.func_wrap("[method]request.query", |store: Store<'_>, (_,): (Req,)| {
        let state = store.data();
        let query = state.noted_exchange()?.request.target().query();
        state.recorder.note(|| Question::Query, &Answer::of_text(query));
        Ok((query.map(str::to_owned),))
    })?;
    http.func_wrap("[method]request.header", |store: Store<'_>, (_, name): (Req, WasmStr)| {
        let name = name.to_str(&store)?;
        let state = store.data();
        let value = memo::header(state.noted_exchange()?, &name);
        state.recorder.note(|| Question::Header((&*name).into()), &Answer::of_text(value));
        Ok((value.map(str::to_owned),))
    })?;
    http.func_wrap("[method]request.header-values", |store: Store<'_>, (_, name): (Req, WasmStr)| {
        let name = name.to_str(&store)?;
        let values = store.data().exchange()?.request.values(&name);
        Ok((values.map(<[u8]>::to_vec).collect::<Vec<_>>(),))
    })?;
    http.func_wrap("[method]request.header-count", |store: Store<'_>, (_, name): (Req, WasmStr)| {
        let name = name.to_str(&store)?;
        Ok((header_count(store.data(), Side::Request, &name)?,))
    })?;
    http.func_wrap(
        "[method]request.header-contains",
        |store: Store<'_>, (_, name, text): (Req, WasmStr, WasmStr)| {
            let name = name.to_str(&store)?;
            let text = text.to_str(&store)?;
            let mut values = store.data().exchange()?.request.values(&name);
            Ok((values.any(|value| String::from_utf8_lossy(value).contains(&*text)),))
        },
    )?;
    http.func_wrap("[method]request.headers", |store: Store<'_>, (_,): (Req,)| {
        let request = &store.data().exchange()?.request;
        let mut fields = vec![("host".to_owned(), request.authority.clone().into_bytes())];
        fields.extend(copy(&request.headers).filter(|(name, _)| name != "host"));
        Ok((fields,))
    })?;
    http.func_wrap("[method]request.content-length", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().exchange()?.request.content_length,))
    })?;
    http.func_wrap("[method]request.set-body-mode", |mut store: Store<'_>, (_, mode): (Req, BodyMode)| {
        set_body_mode(store.data_mut(), Side::Request, mode.into())
    })?;
    http.func_wrap("[method]request.decode-body", |mut store: Store<'_>, (_,): (Req,)| {
        decode_body(store.data_mut(), Side::Request)
    })
}

fn link_request_edits(http: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    http.func_wrap("[method]request.set-method", |mut store: Store<'_>, (_, method): (Req, WasmStr)| {
        let method = text(method.to_str(&store)?);
        let mut editor = store.data_mut().editor()?;
        Ok((method.and_then(|method| editor.set_method(&method)),))
    })?;
    http.func_wrap(
        "[method]request.set-authority",
        |mut store: Store<'_>, (_, authority): (Req, WasmStr)| {
            let authority = text(authority.to_str(&store)?);
            let mut editor = store.data_mut().editor()?;
            Ok((authority.and_then(|authority| editor.set_authority(authority)),))
        },
    )?;
    http.func_wrap("[method]request.set-target", |mut store: Store<'_>, (_, target): (Req, WasmStr)| {
        let target = match text(target.to_str(&store)?) {
            Ok(target) => target,
            Err(error) => return Ok((Err(error),)),
        };
        let state = store.data_mut();
        Ok((match state.noted_edit(|| valid_target(target.clone()).ok().map(Question::SetTarget)) {
            Some(Answer::Edited(edited)) => edited.map(|_| ()),
            _ => state.editor()?.set_target(target),
        },))
    })?;
    http.func_wrap(
        "[method]request.set-header",
        |store: Store<'_>, (_, name, value): (Req, WasmStr, WasmList<u8>)| {
            set_header(store, Side::Request, &name, &value)
        },
    )?;
    http.func_wrap(
        "[method]request.append-header",
        |store: Store<'_>, (_, name, value): (Req, WasmStr, WasmList<u8>)| {
            append_header(store, Side::Request, &name, &value)
        },
    )?;
    http.func_wrap("[method]request.remove-header", |store: Store<'_>, (_, name): (Req, WasmStr)| {
        remove_header(store, Side::Request, &name)
    })?;
    http.func_wrap("[method]request.route-to", |mut store: Store<'_>, (_, name): (Req, String)| {
        let state = store.data_mut();
        Ok((match state.noted_edit(|| Some(Question::RouteTo(name.as_str().into()))) {
            Some(Answer::Routed(routed)) => routed,
            _ => state.editor()?.route_to(&name),
        },))
    })?;
    http.func_wrap("[method]request.set-timeout", |mut store: Store<'_>, (_, milliseconds): (Req, u32)| {
        store.data_mut().editor()?.set_timeout(milliseconds);
        Ok(())
    })?;
    http.func_wrap("[method]request.set-hash-key", |mut store: Store<'_>, (_, key): (Req, WasmStr)| {
        // What is too long for a key and for everything else is as good cut as whole.
        let key = text(key.to_str(&store)?).unwrap_or_default();
        store.data_mut().editor()?.set_hash_key(&key);
        Ok(())
    })?;
    http.func_wrap(
        "[method]request.respond",
        |store: Store<'_>, (_, status, headers, body): (Req, u16, Fields, WasmList<u8>)| {
            respond(store, Side::Request, status, &headers, &body)
        },
    )
}

/// What policies note about the exchange.
fn link_notes(http: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    http.func_wrap("[method]request.route", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().exchange()?.route.clone(),))
    })?;
    http.func_wrap("[method]request.token", |store: Store<'_>, (_,): (Req,)| {
        let state = store.data();
        let token = state.noted_exchange()?.token(state.plugin.id);
        state.recorder.note(|| Question::Token, &Answer::Token(token));
        Ok((token,))
    })?;
    http.func_wrap("[method]request.set-token", |mut store: Store<'_>, (_, token): (Req, u64)| {
        let state = store.data_mut();
        match state.noted_edit(|| Some(Question::SetToken(token))) {
            Some(_) => {}
            None => state.editor()?.set_token(token),
        }
        Ok(())
    })?;
    http.func_wrap("[method]request.attribute", |store: Store<'_>, (_, key): (Req, WasmStr)| {
        let key = key.to_str(&store)?;
        Ok((store.data().exchange()?.attribute(&key).map(str::to_owned),))
    })?;
    http.func_wrap(
        "[method]request.set-attribute",
        |mut store: Store<'_>, (_, key, value): (Req, WasmStr, WasmStr)| {
            let (key, value) = (text(key.to_str(&store)?), text(value.to_str(&store)?));
            let mut editor = store.data_mut().editor()?;
            Ok((key.and_then(|key| editor.set_attribute(key, value?)),))
        },
    )
}

fn link_response(http: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    http.func_wrap("[method]response.status", |store: Store<'_>, (_,): (Resp,)| {
        let state = store.data();
        let status = state.noted_response()?.status.as_u16();
        state.recorder.note(|| Question::Status, &Answer::Count(status.into()));
        Ok((status,))
    })?;
    http.func_wrap("[method]response.header", |store: Store<'_>, (_, name): (Resp, WasmStr)| {
        let name = name.to_str(&store)?;
        let value = store.data().response()?.headers.get(&*name).map(HeaderValue::as_bytes);
        Ok((value.and_then(|value| str::from_utf8(value).ok()).map(str::to_owned),))
    })?;
    http.func_wrap("[method]response.header-values", |store: Store<'_>, (_, name): (Resp, WasmStr)| {
        let name = name.to_str(&store)?;
        let values = store.data().response()?.headers.get_all(&*name);
        Ok((values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>(),))
    })?;
    http.func_wrap("[method]response.header-count", |store: Store<'_>, (_, name): (Resp, WasmStr)| {
        let name = name.to_str(&store)?;
        Ok((header_count(store.data(), Side::Response, &name)?,))
    })?;
    http.func_wrap("[method]response.headers", |store: Store<'_>, (_,): (Resp,)| {
        Ok((copy(&store.data().response()?.headers).collect::<Vec<_>>(),))
    })?;
    http.func_wrap("[method]response.content-length", |store: Store<'_>, (_,): (Resp,)| {
        Ok((store.data().response()?.content_length,))
    })?;
    http.func_wrap("[method]response.set-body-mode", |mut store: Store<'_>, (_, mode): (Resp, BodyMode)| {
        set_body_mode(store.data_mut(), Side::Response, mode.into())
    })?;
    http.func_wrap("[method]response.decode-body", |mut store: Store<'_>, (_,): (Resp,)| {
        decode_body(store.data_mut(), Side::Response)
    })?;
    http.func_wrap("[method]response.origin", |store: Store<'_>, (_,): (Resp,)| {
        Ok((store.data().response()?.origin.clone(),))
    })?;
    http.func_wrap("[method]response.failure", |store: Store<'_>, (_,): (Resp,)| {
        Ok((store.data().response()?.failure.map(Arc::<str>::from),))
    })?;
    http.func_wrap("[method]response.elapsed", |store: Store<'_>, (_,): (Resp,)| {
        let elapsed = store.data().exchange()?.started.elapsed();
        Ok((u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),))
    })
}

fn link_response_edits(http: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    http.func_wrap("[method]response.set-status", |mut store: Store<'_>, (_, status): (Resp, u16)| {
        Ok((store.data_mut().editor()?.set_status(status),))
    })?;
    http.func_wrap(
        "[method]response.set-header",
        |store: Store<'_>, (_, name, value): (Resp, WasmStr, WasmList<u8>)| {
            set_header(store, Side::Response, &name, &value)
        },
    )?;
    http.func_wrap(
        "[method]response.append-header",
        |store: Store<'_>, (_, name, value): (Resp, WasmStr, WasmList<u8>)| {
            append_header(store, Side::Response, &name, &value)
        },
    )?;
    http.func_wrap("[method]response.remove-header", |store: Store<'_>, (_, name): (Resp, WasmStr)| {
        remove_header(store, Side::Response, &name)
    })?;
    http.func_wrap(
        "[method]response.respond",
        |store: Store<'_>, (_, status, headers, body): (Resp, u16, Fields, WasmList<u8>)| {
            respond(store, Side::Response, status, &headers, &body)
        },
    )
}

pub(super) fn ip_address(ip: IpAddr) -> IpAddress {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddress::Ipv4(ip.octets().into()),
        IpAddr::V6(ip) => IpAddress::Ipv6(ip.segments().into()),
    }
}

fn header_count(state: &State, side: Side, name: &str) -> wasmtime::Result<u32> {
    if side == Side::Response {
        state.noted_response()?;
    }
    let count = memo::header_count(state.noted_exchange()?, side, name);
    state.recorder.note(|| Question::HeaderCount(side, name.into()), &Answer::Count(count));
    Ok(count)
}

type Edited<T> = wasmtime::Result<(Result<T, EditError>,)>;

/// A text of the plugin's, to be kept by an edit.
fn text(text: Cow<'_, str>) -> Result<String, EditError> {
    if text.len() > MAX_COPY { Err(EditError::TooLarge) } else { Ok(text.into_owned()) }
}

/// Bytes of the plugin's, to be kept by an edit.
pub(super) fn bytes(bytes: &[u8]) -> Result<Vec<u8>, EditError> {
    if bytes.len() > MAX_COPY { Err(EditError::TooLarge) } else { Ok(bytes.to_vec()) }
}

/// Name and value of a field.
fn field(
    store: &Store<'_>,
    name: &WasmStr,
    value: &WasmList<u8>,
) -> wasmtime::Result<Result<(String, Vec<u8>), EditError>> {
    let name = text(name.to_str(store)?);
    Ok(name.and_then(|name| Ok((name, bytes(value.as_le_slice(store))?))))
}

fn set_header(mut store: Store<'_>, side: Side, name: &WasmStr, value: &WasmList<u8>) -> Edited<()> {
    let (name, value) = match field(&store, name, value)? {
        Ok(field) => field,
        Err(error) => return Ok((Err(error),)),
    };
    let question =
        || Some(Question::SetHeader(side, editable_name(&name).ok()?, valid_value(value.clone()).ok()?));
    let state = store.data_mut();
    Ok((match state.noted_edit(question) {
        Some(Answer::Edited(edited)) => edited.map(|_| ()),
        _ => state.editor()?.set_header(side, &name, value),
    },))
}

fn append_header(mut store: Store<'_>, side: Side, name: &WasmStr, value: &WasmList<u8>) -> Edited<()> {
    let (name, value) = match field(&store, name, value)? {
        Ok(field) => field,
        Err(error) => return Ok((Err(error),)),
    };
    let question =
        || Some(Question::AppendHeader(side, editable_name(&name).ok()?, valid_value(value.clone()).ok()?));
    let state = store.data_mut();
    Ok((match state.noted_edit(question) {
        Some(Answer::Edited(edited)) => edited.map(|_| ()),
        _ => state.editor()?.append_header(side, &name, value),
    },))
}

fn remove_header(mut store: Store<'_>, side: Side, name: &WasmStr) -> Edited<u32> {
    let name = match text(name.to_str(&store)?) {
        Ok(name) => name,
        Err(error) => return Ok((Err(error),)),
    };
    let question = || Some(Question::RemoveHeader(side, editable_name(&name).ok()?));
    let state = store.data_mut();
    Ok((match state.noted_edit(question) {
        Some(Answer::Edited(edited)) => edited,
        _ => state.editor()?.remove_header(side, &name),
    },))
}

fn respond(
    mut store: Store<'_>,
    side: Side,
    status: u16,
    headers: &Fields,
    body: &WasmList<u8>,
) -> Edited<()> {
    let limit = store.data().exchange()?.limits.response_headers;
    let mut fields = Vec::new();
    let mut size = 0_usize;
    for index in 0..headers.len() {
        let Some(entry) = headers.get(&mut store, index) else { break };
        let (name, value) = entry?;
        size = size.saturating_add(wire_size(name.to_str(&store)?.len(), value.len()));
        // The rest is not even looked at.
        if size > limit {
            return Ok((Err(EditError::TooLarge),));
        }
        match field(&store, &name, &value)? {
            Ok(field) => fields.push(field),
            Err(error) => return Ok((Err(error),)),
        }
    }
    let body = bytes(body.as_le_slice(&store));
    let mut editor = store.data_mut().editor()?;
    Ok((body.and_then(|body| editor.respond(side, status, fields, body)),))
}

fn set_body_mode(state: &mut State, side: Side, mode: bodies::BodyMode) -> wasmtime::Result<()> {
    match state.noted_edit(|| Some(Question::SetBodyMode(side, mode))) {
        Some(_) => {}
        None => state.editor()?.set_body_mode(side, mode),
    }
    Ok(())
}

fn decode_body(state: &mut State, side: Side) -> wasmtime::Result<(bool,)> {
    Ok((match state.noted_edit(|| Some(Question::DecodeBody(side))) {
        Some(Answer::Is(decodes)) => decodes,
        _ => state.editor()?.decode_body(side),
    },))
}

impl From<BodyMode> for bodies::BodyMode {
    fn from(mode: BodyMode) -> Self {
        match mode {
            BodyMode::Skip => Self::Skip,
            BodyMode::Chunks => Self::Chunks,
            BodyMode::Whole => Self::Whole,
        }
    }
}

fn copy(headers: &HeaderMap) -> impl Iterator<Item = (String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
}
