//! The host links all it offers of the contract, and refuses everything else with a reason.

use std::path::Path;

use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use super::Phase;
use crate::engine::Host;
use crate::error::LoadError;
use crate::settings::Settings;

/// A core module that imports and exports what the world says and crashes when it is called.
fn module(world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    resolve.push_path(contract).expect("the contract parses");
    let package = resolve
        .push_str("test.wit", &format!("package test:test;\nworld test {{ {world} }}"))
        .expect("the world parses");
    let world = resolve.select_world(&[package], Some("test")).expect("there is one");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it fits");
    module
}

fn refused(world: &str) -> LoadError {
    Host::new().expect("a host").compile(&module(world)).expect_err("it is no policy")
}

const LIFECYCLE: &str = "export tidegate:policy/lifecycle@0.1.0;";
const REQUEST: &str = "export tidegate:policy/request-phase@0.1.0;";

#[test]
fn every_function_offered_is_linked() {
    let host = Host::new().expect("a host");
    let offered = super::OFFERED.map(|name| format!("import tidegate:policy/{name}@0.1.0;")).concat();
    let phases = ["log", "response-chunk", "response-body", "response", "request-chunk", "request-body"]
        .map(|name| format!("export tidegate:policy/{name}-phase@0.1.0;"))
        .concat();
    let code = host.compile(&module(&[&offered, &phases, LIFECYCLE, REQUEST].concat())).expect("it fits");
    assert_eq!(code.phases(), Phase::ALL);
    let expected = super::OFFERED.map(|name| format!("tidegate:policy/{name}@0.1.0"));
    assert_eq!(code.capabilities(), expected);
    assert!(!code.is_async());
    assert!(matches!(code.describe(), Err(LoadError::Trap { during: "describe", .. })));
}

#[test]
fn capabilities_of_later_versions_are_named() {
    for name in super::UNAVAILABLE {
        let error = refused(&format!("import tidegate:policy/{name}@0.1.0; {LIFECYCLE} {REQUEST}"));
        assert_eq!(error, LoadError::Unavailable(format!("tidegate:policy/{name}")));
    }
}

#[test]
fn phases_of_later_versions_are_named() {
    let error = refused(&format!("{LIFECYCLE} {REQUEST} export tidegate:policy/timer-phase@0.1.0;"));
    assert_eq!(error, LoadError::UnknownExport("tidegate:policy/timer-phase@0.1.0".to_owned()));
}

#[test]
fn a_body_is_seen_only_by_who_can_ask_for_it() {
    for (body, head) in [("request-body", "request"), ("response-chunk", "response")] {
        let [body, head] = [body, head].map(|name| format!("{name}-phase"));
        let export = format!("export tidegate:policy/{body}@0.1.0;");
        let log = "export tidegate:policy/log-phase@0.1.0;";
        assert_eq!(refused(&[LIFECYCLE, log, &export].concat()), LoadError::NeverAsks { body, head });
    }
}

#[test]
fn unknown_imports_are_all_named() {
    let error = refused(&format!(
        "import a: func(); import b: interface {{ f: func(); }} import tidegate:policy/log@0.1.0; {LIFECYCLE} {REQUEST}"
    ));
    assert_eq!(error, LoadError::UnknownImports(vec!["`a`".to_owned(), "`b`".to_owned()]));
}

#[test]
fn a_policy_has_a_lifecycle_and_a_phase() {
    assert_eq!(refused(REQUEST), LoadError::NoLifecycle);
    assert_eq!(refused(LIFECYCLE), LoadError::NoPhase);
}

#[test]
fn a_module_for_wasi_preview_1_gets_a_hint() {
    // One import, `wasi_snapshot_preview1` `fd_write`, of a function without parameters.
    let mut bytes = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x23\x01\x16".to_vec();
    bytes.extend_from_slice(b"wasi_snapshot_preview1\x08fd_write\0\0");
    let error = Host::new().expect("a host").compile(&bytes).expect_err("it is no policy");
    assert_eq!(error, LoadError::Preview1);
}

#[test]
fn other_files_and_cut_files_are_told_apart() {
    let host = Host::new().expect("a host");
    let error = |bytes: &[u8]| host.compile(bytes).expect_err("it is no policy");
    assert_eq!(error(b""), LoadError::NotWasm);
    assert_eq!(error(b"#!/bin/sh"), LoadError::NotWasm);
    assert!(matches!(error(b"\0asm\x0d"), LoadError::Invalid(_)));
    let whole = module(&format!("{LIFECYCLE} {REQUEST}"));
    for end in [9, whole.len() / 2, whole.len() - 1] {
        assert!(matches!(error(&whole[..end]), LoadError::Invalid(_)), "cut at {end}");
    }
}

#[test]
fn a_crash_while_loading_says_where() {
    let host = Host::new().expect("a host");
    let code = host.compile(&module(&format!("{LIFECYCLE} {REQUEST}"))).expect("it fits");
    let settings = Settings {
        name: "dummy".to_owned(),
        config: "{}".to_owned(),
        limits: crate::limits::Limits::default(),
        isolation: crate::settings::Isolation::Worker,
        routes: None,
        matching: crate::activation::Match::default(),
    };
    let error = host.load(&code, settings.clone()).expect_err("it crashes");
    assert!(matches!(error, LoadError::Trap { during: "describe", .. }), "{error}");
    let hosts = vec!["*".to_owned()];
    let matching = crate::activation::Match { hosts, ..settings.matching.clone() };
    let error = host.load(&code, Settings { matching, ..settings }).expect_err("the match is wrong");
    assert!(matches!(&error, LoadError::Match(text) if text.starts_with("match.hosts[0]: ")), "{error}");
}
