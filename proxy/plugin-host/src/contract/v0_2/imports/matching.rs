//! `matching`: matchers that a plugin defines once and the host runs.

use wasmtime::component::WasmStr;

use super::Interface;
use crate::bodies::Side;
use crate::contract::common::{Store, define};
use crate::contract::v0_2::bindings::tidegate::policy::matching::PatternKind;
use crate::contract::v0_2::bindings::tidegate::policy::types::IpAddress;
use crate::matching::Definition;
use crate::observe::{Fact, Number};

type PatternList = (PatternKind, Vec<String>, bool);

pub(super) fn link(matching: &mut Interface<'_>) -> wasmtime::Result<()> {
    matching.question("ip-set", |store: Store<'_>, (entries,): (Vec<String>,)| {
        define(store, Definition::Ips(entries))
    })?;
    matching.question("patterns", |store: Store<'_>, (kind, patterns, ignore_case): PatternList| {
        define(store, Definition::Patterns { kind: kind.into(), patterns, ignore_case })
    })?;
    matching.question("path-patterns", |store: Store<'_>, (kind, patterns, ignore_case): PatternList| {
        define(store, Definition::PathPatterns { kind: kind.into(), patterns, ignore_case })
    })?;
    matching.question("body-patterns", |store: Store<'_>, (kind, patterns, ignore_case): PatternList| {
        define(store, Definition::BodyPatterns { kind: kind.into(), patterns, ignore_case })
    })?;
    matching.question("ip-set-has", |store: Store<'_>, (set, ip): (u32, IpAddress)| {
        Ok((store.data().defined.matchers.ips(set)?.has(ip.into()),))
    })?;
    matching.question("ip-set-has-client", |store: Store<'_>, (set,): (u32,)| {
        Ok((store.data().is(Fact::HasClient(set))?,))
    })?;
    matching.question("match-text", |store: Store<'_>, (patterns, text): (u32, WasmStr)| {
        let text = text.to_str(&store)?;
        let state = store.data();
        Ok((state.defined.matchers.patterns(patterns)?.first_match(&text, &state.budget)?,))
    })?;
    matching.question("match-path", |store: Store<'_>, (patterns,): (u32,)| {
        Ok((store.data().index(Number::MatchPath(patterns))?,))
    })?;
    matching.question("match-header", |store: Store<'_>, (patterns, name): (u32, WasmStr)| {
        let name = name.to_str(&store)?;
        Ok((store.data().index(Number::MatchHeader(patterns, Side::Request, name))?,))
    })?;
    matching.question("match-response-header", |store: Store<'_>, (patterns, name): (u32, WasmStr)| {
        let name = name.to_str(&store)?;
        Ok((store.data().index(Number::MatchHeader(patterns, Side::Response, name))?,))
    })?;
    matching.function("match-body", |mut store: Store<'_>, (patterns,): (u32,)| {
        Ok((store.data_mut().match_body(patterns)?,))
    })
}
