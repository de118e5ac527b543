//! `http`: requests and responses as a policy reads and edits them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Resource, ResourceType, WasmList, WasmStr};

use super::{Interface, body};
use crate::bodies::{self, Side};
use crate::contract::common::{
    self, Fields, Store, copy, copy_of_request, elapsed, header_count, set_attribute, set_authority,
    set_hash_key, set_method, set_target,
};
use crate::contract::v0_1::bindings::tidegate::policy::http::{
    BodyMode, EditError, IpAddress, Request, Response, RouteError, TlsInfo, Version,
};
use crate::observe::{Change, Fact, Number, Text};
use crate::refusal;
use crate::state::State;

/// Borrowed for the length of a call.
type Req = Resource<Request>;
type Resp = Resource<Response>;

pub(super) fn link(http: &mut Interface<'_>) -> wasmtime::Result<()> {
    http.resource("request", ResourceType::host::<Request>())?;
    http.resource("response", ResourceType::host::<Response>())?;
    link_connection(http)?;
    link_request(http)?;
    link_request_edits(http)?;
    link_notes(http)?;
    link_response(http)?;
    link_response_edits(http)?;
    body::link(http)
}

/// Facts of the connection.
fn link_connection(http: &mut Interface<'_>) -> wasmtime::Result<()> {
    http.function("[method]request.id", |store: Store<'_>, (_,): (Req,)| Ok((store.data().exchange()?.id,)))?;
    http.question("[method]request.listener", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().some_text(Text::Listener)?,))
    })?;
    http.function("[method]request.client-ip", |store: Store<'_>, (_,): (Req,)| {
        Ok((IpAddress::from(store.data().exchange()?.client),))
    })?;
    http.function("[method]request.client-ip-text", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().exchange()?.client.to_canonical().to_string(),))
    })?;
    http.function("[method]request.peer-address", |store: Store<'_>, (_,): (Req,)| {
        Ok((common::address(store.data().exchange()?.connection.peer),))
    })?;
    http.function("[method]request.tls", |store: Store<'_>, (_,): (Req,)| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls.map(|tls| TlsInfo {
            version: tls.version,
            cipher_suite: tls.cipher_suite,
            client_verified: tls.client_verified,
        }),))
    })?;
    http.question("[method]request.server-name", |store: Store<'_>, (_,): (Req,)| {
        Ok((owned(store.data().text(Text::ServerName)?),))
    })?;
    http.function("[method]request.client-certificate-sha256", |store: Store<'_>, (_,): (Req,)| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls.and_then(|tls| tls.client_certificate.as_ref()).map(|it| it.sha256.to_vec()),))
    })?;
    http.function("[method]request.client-certificate-names", |store: Store<'_>, (_,): (Req,)| {
        let tls = store.data().exchange()?.connection.tls.as_ref();
        Ok((tls
            .and_then(|tls| tls.client_certificate.as_ref())
            .map(|it| it.names.clone())
            .unwrap_or_default(),))
    })
}

fn link_request(http: &mut Interface<'_>) -> wasmtime::Result<()> {
    http.function("[method]request.version", |store: Store<'_>, (_,): (Req,)| {
        Ok((match store.data().exchange()?.request.version {
            http::Version::HTTP_10 | http::Version::HTTP_09 => Version::Http10,
            http::Version::HTTP_2 => Version::Http2,
            http::Version::HTTP_3 => Version::Http3,
            _ => Version::Http11,
        },))
    })?;
    http.question("[method]request.method", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().some_text(Text::Method)?,))
    })?;
    http.question("[method]request.method-is", |store: Store<'_>, (_, method): (Req, WasmStr)| {
        let method = method.to_str(&store)?;
        Ok((store.data().is(Fact::MethodIs(method))?,))
    })?;
    http.question("[method]request.scheme", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().some_text(Text::Scheme)?,))
    })?;
    http.question("[method]request.authority", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().some_text(Text::Authority)?,))
    })?;
    http.question("[method]request.path", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().some_text(Text::Path)?,))
    })?;
    http.question("[method]request.normalized-path", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().some_text(Text::NormalizedPath)?,))
    })?;
    http.question("[method]request.path-starts-with", |store: Store<'_>, (_, prefix): (Req, WasmStr)| {
        let prefix = prefix.to_str(&store)?;
        Ok((store.data().is(Fact::PathStartsWith(prefix))?,))
    })?;
    http.question("[method]request.query", |store: Store<'_>, (_,): (Req,)| {
        Ok((owned(store.data().text(Text::Query)?),))
    })?;
    http.question("[method]request.header", |store: Store<'_>, (_, name): (Req, WasmStr)| {
        let name = name.to_str(&store)?;
        Ok((owned(store.data().text(Text::Header(Side::Request, name))?),))
    })?;
    http.function("[method]request.header-values", |store: Store<'_>, (_, name): (Req, WasmStr)| {
        let name = name.to_str(&store)?;
        let values = store.data().exchange()?.request.values(&name);
        Ok((values.map(<[u8]>::to_vec).collect::<Vec<_>>(),))
    })?;
    http.question("[method]request.header-count", |store: Store<'_>, (_, name): (Req, WasmStr)| {
        Ok((header_count(&store, Side::Request, &name)?,))
    })?;
    http.question(
        "[method]request.header-contains",
        |store: Store<'_>, (_, name, text): (Req, WasmStr, WasmStr)| {
            let (name, text) = (name.to_str(&store)?, text.to_str(&store)?);
            Ok((store.data().is(Fact::HeaderContains(name, text))?,))
        },
    )?;
    http.function("[method]request.headers", |store: Store<'_>, (_,): (Req,)| {
        Ok((copy_of_request(store.data().exchange()?),))
    })?;
    http.function("[method]request.content-length", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().exchange()?.request.content_length,))
    })?;
    http.question("[method]request.set-body-mode", |mut store: Store<'_>, (_, mode): (Req, BodyMode)| {
        set_body_mode(store.data_mut(), Side::Request, mode)
    })?;
    http.question("[method]request.decode-body", |mut store: Store<'_>, (_,): (Req,)| {
        Ok((store.data_mut().decode_body(Side::Request)?,))
    })
}

fn link_request_edits(http: &mut Interface<'_>) -> wasmtime::Result<()> {
    http.function("[method]request.set-method", |store: Store<'_>, (_, method): (Req, WasmStr)| {
        Ok((set_method(store, &method)?.map_err(EditError::from),))
    })?;
    http.function("[method]request.set-authority", |store: Store<'_>, (_, authority): (Req, WasmStr)| {
        Ok((set_authority(store, &authority)?.map_err(EditError::from),))
    })?;
    http.question("[method]request.set-target", |store: Store<'_>, (_, target): (Req, WasmStr)| {
        Ok((set_target(store, &target)?.map_err(EditError::from),))
    })?;
    http.question(
        "[method]request.set-header",
        |store: Store<'_>, (_, name, value): (Req, WasmStr, WasmList<u8>)| {
            Ok((common::set_header(store, Side::Request, &name, &value)?.map_err(EditError::from),))
        },
    )?;
    http.question(
        "[method]request.append-header",
        |store: Store<'_>, (_, name, value): (Req, WasmStr, WasmList<u8>)| {
            Ok((common::append_header(store, Side::Request, &name, &value)?.map_err(EditError::from),))
        },
    )?;
    http.question("[method]request.remove-header", |store: Store<'_>, (_, name): (Req, WasmStr)| {
        Ok((common::remove_header(store, Side::Request, &name)?.map_err(EditError::from),))
    })?;
    http.question("[method]request.route-to", |mut store: Store<'_>, (_, name): (Req, String)| {
        Ok((store.data_mut().route_to(&name)?.map_err(RouteError::from),))
    })?;
    http.question("[method]request.set-timeout", |mut store: Store<'_>, (_, milliseconds): (Req, u32)| {
        let timeout = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
        store.data_mut().change_at_will(Change::SetTimeout(timeout))
    })?;
    http.question("[method]request.set-hash-key", |store: Store<'_>, (_, key): (Req, WasmStr)| {
        set_hash_key(store, &key)
    })?;
    http.function(
        "[method]request.respond",
        |store: Store<'_>, (_, status, headers, body): (Req, u16, Fields, WasmList<u8>)| {
            Ok((common::respond(store, Side::Request, status, &headers, &body)?.map_err(EditError::from),))
        },
    )
}

/// What policies note about the exchange.
fn link_notes(http: &mut Interface<'_>) -> wasmtime::Result<()> {
    http.question("[method]request.route", |store: Store<'_>, (_,): (Req,)| {
        Ok((owned(store.data().text(Text::Route)?),))
    })?;
    http.question("[method]request.token", |store: Store<'_>, (_,): (Req,)| {
        Ok((store.data().number(Number::Token)?.unwrap_or_default(),))
    })?;
    http.question("[method]request.set-token", |mut store: Store<'_>, (_, token): (Req, u64)| {
        store.data_mut().change_at_will(Change::SetToken(token))
    })?;
    http.function("[method]request.attribute", |store: Store<'_>, (_, key): (Req, WasmStr)| {
        let key = key.to_str(&store)?;
        Ok((store.data().exchange()?.attribute(&key).map(str::to_owned),))
    })?;
    http.function(
        "[method]request.set-attribute",
        |store: Store<'_>, (_, key, value): (Req, WasmStr, WasmStr)| {
            Ok((set_attribute(store, &key, &value)?.map_err(EditError::from),))
        },
    )
}

fn link_response(http: &mut Interface<'_>) -> wasmtime::Result<()> {
    http.question("[method]response.status", |store: Store<'_>, (_,): (Resp,)| {
        let status = store.data().number(Number::Status)?.unwrap_or_default();
        Ok((u16::try_from(status).unwrap_or(u16::MAX),))
    })?;
    http.question("[method]response.header", |store: Store<'_>, (_, name): (Resp, WasmStr)| {
        let name = name.to_str(&store)?;
        Ok((owned(store.data().text(Text::Header(Side::Response, name))?),))
    })?;
    http.function("[method]response.header-values", |store: Store<'_>, (_, name): (Resp, WasmStr)| {
        let name = name.to_str(&store)?;
        let values = store.data().response()?.headers.get_all(&*name);
        Ok((values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>(),))
    })?;
    http.question("[method]response.header-count", |store: Store<'_>, (_, name): (Resp, WasmStr)| {
        Ok((header_count(&store, Side::Response, &name)?,))
    })?;
    http.function("[method]response.headers", |store: Store<'_>, (_,): (Resp,)| {
        Ok((copy(&store.data().response()?.headers).collect::<Vec<_>>(),))
    })?;
    http.function("[method]response.content-length", |store: Store<'_>, (_,): (Resp,)| {
        Ok((store.data().response()?.content_length,))
    })?;
    http.question("[method]response.set-body-mode", |mut store: Store<'_>, (_, mode): (Resp, BodyMode)| {
        set_body_mode(store.data_mut(), Side::Response, mode)
    })?;
    http.question("[method]response.decode-body", |mut store: Store<'_>, (_,): (Resp,)| {
        Ok((store.data_mut().decode_body(Side::Response)?,))
    })?;
    http.function("[method]response.origin", |store: Store<'_>, (_,): (Resp,)| {
        Ok((store.data().response()?.origin.clone(),))
    })?;
    http.function("[method]response.failure", |store: Store<'_>, (_,): (Resp,)| {
        Ok((store.data().response()?.failure.map(Arc::<str>::from),))
    })?;
    http.function("[method]response.elapsed", |store: Store<'_>, (_,): (Resp,)| Ok((elapsed(store.data())?,)))
}

fn link_response_edits(http: &mut Interface<'_>) -> wasmtime::Result<()> {
    http.function("[method]response.set-status", |mut store: Store<'_>, (_, status): (Resp, u16)| {
        Ok((store.data_mut().edit()?.set_status(status).map_err(EditError::from),))
    })?;
    http.question(
        "[method]response.set-header",
        |store: Store<'_>, (_, name, value): (Resp, WasmStr, WasmList<u8>)| {
            Ok((common::set_header(store, Side::Response, &name, &value)?.map_err(EditError::from),))
        },
    )?;
    http.question(
        "[method]response.append-header",
        |store: Store<'_>, (_, name, value): (Resp, WasmStr, WasmList<u8>)| {
            Ok((common::append_header(store, Side::Response, &name, &value)?.map_err(EditError::from),))
        },
    )?;
    http.question("[method]response.remove-header", |store: Store<'_>, (_, name): (Resp, WasmStr)| {
        Ok((common::remove_header(store, Side::Response, &name)?.map_err(EditError::from),))
    })?;
    http.function(
        "[method]response.respond",
        |store: Store<'_>, (_, status, headers, body): (Resp, u16, Fields, WasmList<u8>)| {
            Ok((common::respond(store, Side::Response, status, &headers, &body)?.map_err(EditError::from),))
        },
    )
}

fn owned(text: Option<std::borrow::Cow<'_, str>>) -> Option<String> {
    text.map(std::borrow::Cow::into_owned)
}

fn set_body_mode(state: &mut State, side: Side, mode: BodyMode) -> wasmtime::Result<()> {
    let mode = match mode {
        BodyMode::Skip => bodies::BodyMode::Skip,
        BodyMode::Chunks => bodies::BodyMode::Chunks,
        BodyMode::Whole => bodies::BodyMode::Whole,
    };
    state.change_at_will(Change::SetBodyMode(side, mode))
}

impl From<IpAddr> for IpAddress {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::Ipv4(ip.octets().into()),
            IpAddr::V6(ip) => Self::Ipv6(ip.segments().into()),
        }
    }
}

impl From<IpAddress> for IpAddr {
    fn from(ip: IpAddress) -> Self {
        match ip {
            IpAddress::Ipv4((a, b, c, d)) => [a, b, c, d].into(),
            IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => [a, b, c, d, e, f, g, h].into(),
        }
    }
}

impl From<refusal::EditError> for EditError {
    fn from(error: refusal::EditError) -> Self {
        match error {
            refusal::EditError::Invalid => Self::Invalid,
            refusal::EditError::Forbidden => Self::Forbidden,
            refusal::EditError::TooLarge => Self::TooLarge,
        }
    }
}

impl From<refusal::RouteError> for RouteError {
    fn from(error: refusal::RouteError) -> Self {
        match error {
            refusal::RouteError::Unknown => Self::Unknown,
            refusal::RouteError::NotGranted => Self::NotGranted,
        }
    }
}
