//! `matching`: matchers that a plugin defines once and the host runs.

use std::net::IpAddr;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, WasmStr};

use crate::bindings::tidegate::policy::http::{Body, IpAddress, Request, Response};
use crate::bindings::tidegate::policy::matching::PatternKind;
use crate::bodies::Side;
use crate::matching::{Definition, Kind, Watch};
use crate::memo::{self, Answer, Question};
use crate::state::{Stage, State, no_body};

type Store<'a> = StoreContextMut<'a, State>;
type Req = Resource<Request>;

pub(super) fn link(matching: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    matching.func_wrap("ip-set", |store: Store<'_>, (entries,): (Vec<String>,)| {
        define(store, Definition::Ips(entries))
    })?;
    matching.func_wrap(
        "patterns",
        |store: Store<'_>, (kind, patterns, ignore_case): (PatternKind, Vec<String>, bool)| {
            define(store, Definition::Patterns { kind: kind.into(), patterns, ignore_case })
        },
    )?;
    matching.func_wrap("ip-set-has", |store: Store<'_>, (set, ip): (u32, IpAddress)| {
        Ok((store.data().matchers.ips(set)?.has(ip.into()),))
    })?;
    matching.func_wrap("ip-set-has-client", |store: Store<'_>, (set, _): (u32, Req)| {
        let state = store.data();
        let has = memo::has_client(&state.matchers, set, state.noted_exchange()?)?;
        state.recorder.note(|| Question::HasClient(set), &Answer::Is(has));
        Ok((has,))
    })?;
    matching.func_wrap("match-text", |store: Store<'_>, (patterns, text): (u32, WasmStr)| {
        let text = text.to_str(&store)?;
        let state = store.data();
        Ok((state.matchers.patterns(patterns)?.first_match(&text, &state.budget)?,))
    })?;
    matching.func_wrap("match-path", |store: Store<'_>, (patterns, _): (u32, Req)| {
        let state = store.data();
        let found = memo::match_path(&state.matchers, patterns, state.noted_exchange()?, &state.budget)?;
        state.recorder.note(|| Question::MatchPath(patterns), &Answer::Index(found));
        Ok((found,))
    })?;
    matching.func_wrap("match-header", |store: Store<'_>, (patterns, _, name): (u32, Req, WasmStr)| {
        match_header(&store, patterns, Side::Request, &name)
    })?;
    matching.func_wrap(
        "match-response-header",
        |store: Store<'_>, (patterns, _, name): (u32, Resource<Response>, WasmStr)| {
            store.data().noted_response()?;
            match_header(&store, patterns, Side::Response, &name)
        },
    )?;
    matching.func_wrap("match-body", |mut store: Store<'_>, (patterns, _): (u32, Resource<Body>)| {
        let state = store.data_mut();
        let chunk = state.chunk.as_mut().ok_or_else(no_body)?;
        // As in fields, bytes that are not UTF-8 must not hide the rest. Text is not copied.
        let text = String::from_utf8_lossy(chunk.contiguous());
        Ok((state.matchers.patterns(patterns)?.first_match(&text, &state.budget)?,))
    })
}

fn match_header(
    store: &Store<'_>,
    patterns: u32,
    side: Side,
    name: &WasmStr,
) -> wasmtime::Result<(Option<u32>,)> {
    let name = name.to_str(store)?;
    let state = store.data();
    let exchange = state.noted_exchange()?;
    let found = memo::match_header(&state.matchers, patterns, exchange, side, &name, &state.budget)?;
    state.recorder.note(|| Question::MatchHeader(patterns, side, (&*name).into()), &Answer::Index(found));
    Ok((found,))
}

/// The first instance defines; later ones find what it defined.
fn define(mut store: Store<'_>, definition: Definition) -> wasmtime::Result<(Result<u32, String>,)> {
    let state = store.data_mut();
    let defined = match state.stage {
        Stage::Defining(_) => Arc::make_mut(&mut state.matchers).define(definition),
        Stage::Configuring => state.matchers.find(&definition).ok_or_else(|| {
            "this matcher was not defined when the plugin was loaded; `configure` must do the same every time".to_owned()
        }),
        Stage::Starting | Stage::Serving(_) => Err("matchers are defined in `configure` only".to_owned()),
    };
    state.budget.look()?;
    Ok((defined,))
}

impl From<PatternKind> for Kind {
    fn from(kind: PatternKind) -> Self {
        match kind {
            PatternKind::Exact => Self::Exact,
            PatternKind::Prefix => Self::Prefix,
            PatternKind::Suffix => Self::Suffix,
            PatternKind::Contains => Self::Contains,
            PatternKind::Glob => Self::Glob,
            PatternKind::Regex => Self::Regex,
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
