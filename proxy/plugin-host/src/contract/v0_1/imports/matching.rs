//! `matching`: matchers that a plugin defines once and the host runs.

use wasmtime::component::{Resource, WasmStr};

use super::Interface;
use crate::bodies::Side;
use crate::contract::common::{Store, define};
use crate::contract::v0_1::bindings::tidegate::policy::http::{Body, IpAddress, Request, Response};
use crate::contract::v0_1::bindings::tidegate::policy::matching::PatternKind;
use crate::matching::{Definition, Kind};
use crate::observe::{Fact, Number};

type Req = Resource<Request>;

pub(super) fn link(matching: &mut Interface<'_>) -> wasmtime::Result<()> {
    matching.question("ip-set", |store: Store<'_>, (entries,): (Vec<String>,)| {
        define(store, Definition::Ips(entries))
    })?;
    matching.question(
        "patterns",
        |store: Store<'_>, (kind, patterns, ignore_case): (PatternKind, Vec<String>, bool)| {
            define(store, Definition::Patterns { kind: kind.into(), patterns, ignore_case })
        },
    )?;
    matching.question("ip-set-has", |store: Store<'_>, (set, ip): (u32, IpAddress)| {
        Ok((store.data().defined.matchers.ips(set)?.has(ip.into()),))
    })?;
    matching.question("ip-set-has-client", |store: Store<'_>, (set, _): (u32, Req)| {
        Ok((store.data().is(Fact::HasClient(set))?,))
    })?;
    matching.question("match-text", |store: Store<'_>, (patterns, text): (u32, WasmStr)| {
        let text = text.to_str(&store)?;
        let state = store.data();
        Ok((state.defined.matchers.patterns(patterns)?.first_match(&text, &state.budget)?,))
    })?;
    matching.question("match-path", |store: Store<'_>, (patterns, _): (u32, Req)| {
        Ok((store.data().index(Number::MatchPath(patterns))?,))
    })?;
    matching.question("match-header", |store: Store<'_>, (patterns, _, name): (u32, Req, WasmStr)| {
        let name = name.to_str(&store)?;
        Ok((store.data().index(Number::MatchHeader(patterns, Side::Request, name))?,))
    })?;
    matching.question(
        "match-response-header",
        |store: Store<'_>, (patterns, _, name): (u32, Resource<Response>, WasmStr)| {
            let name = name.to_str(&store)?;
            Ok((store.data().index(Number::MatchHeader(patterns, Side::Response, name))?,))
        },
    )?;
    matching.function("match-body", |mut store: Store<'_>, (patterns, _): (u32, Resource<Body>)| {
        Ok((store.data_mut().match_body(patterns)?,))
    })
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
