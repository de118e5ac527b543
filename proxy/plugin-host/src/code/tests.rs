//! The host links all it offers of the contract, and refuses everything else with a reason.

use std::path::Path;

use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use super::Phase;
use crate::contract::Version;
use crate::engine::Host;
use crate::error::LoadError;
use crate::services::Services;
use crate::settings::Settings;

/// A core module that imports and exports what the world says and crashes when it is called. The contract is as it is
/// in `wit/`, and what `more` adds.
fn module(world: &str) -> Vec<u8> {
    module_of(world, |resolve| {
        for version in ["../../wit/0.1", "../../wit"] {
            let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join(version);
            resolve.push_path(contract).expect("the contract parses");
        }
    })
}

fn module_of(world: &str, contract: impl FnOnce(&mut Resolve)) -> Vec<u8> {
    let mut resolve = Resolve::default();
    contract(&mut resolve);
    let package = resolve
        .push_str("test.wit", &format!("package test:test;\nworld test {{ {world} }}"))
        .expect("the world parses");
    let world = resolve.select_world(&[package], Some("test")).expect("there is one");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it fits");
    module
}

fn refused(world: &str) -> LoadError {
    Host::new(Services::default()).expect("a host").compile(&module(world)).expect_err("it is no policy")
}

const LIFECYCLE: &str = "export tidegate:policy/lifecycle@0.1.0;";
const REQUEST: &str = "export tidegate:policy/request-phase@0.1.0;";

#[test]
fn every_function_offered_is_linked() {
    let host = Host::new(Services::default()).expect("a host");
    for version in Version::ALL {
        let at = version.newest();
        let line = format!("@{}", version.line());
        let offered: Vec<_> =
            host.offered().interfaces().filter_map(|name| name.strip_suffix(&line)).collect();
        // `types` has no functions, and a component does not import it for itself.
        let offered = offered.into_iter().filter(|name| *name != "types").collect::<Vec<_>>();
        let imports: String =
            offered.iter().map(|name| format!("import tidegate:policy/{name}@{at};")).collect();
        let phases = Phase::ALL.into_iter().filter(|phase| version.has(*phase));
        let phases: Vec<_> = phases.collect();
        let exports: String = phases
            .iter()
            .map(|phase| format!("export tidegate:policy/{}-phase@{at};", phase.as_str()))
            .collect();
        let world = format!("{imports} {exports} export tidegate:policy/lifecycle@{at};");
        let code = host.compile(&module(&world)).expect("it fits");
        assert_eq!(code.phases(), phases);
        let wanted = code.capabilities();
        for name in offered {
            assert!(wanted.contains(&format!("tidegate:policy/{name}@{at}")), "{name} of {wanted:?}");
        }
        assert!(matches!(code.describe(), Err(LoadError::Trap { during: "describe", .. })));
    }
}

#[test]
fn every_function_of_the_contract_is_offered() {
    let host = Host::new(Services::default()).expect("a host");
    for (version, folder) in [(Version::V0_1, "../../wit/0.1"), (Version::V0_2, "../../wit")] {
        let mut resolve = Resolve::default();
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let (package, _) = resolve.push_path(contract).expect("the contract parses");
        for (name, id) in &resolve.packages[package].interfaces {
            let is_export = name == "lifecycle" || name.ends_with("-phase");
            let never = version == Version::V0_1 && super::ONLY_IN_0_2.contains(&name.as_str());
            if is_export || never {
                continue;
            }
            let offered = host.offered().functions(name, version.line()).expect(name);
            for function in resolve.interfaces[*id].functions.keys() {
                assert!(offered.contains(function.as_str()), "{name} {function}");
            }
        }
    }
}

#[test]
fn what_a_newer_contract_has_is_named_with_both_versions() {
    let newer = |package: &'static str, import: &str| {
        let world = format!(
            "import tidegate:policy/{import}; export tidegate:policy/lifecycle@{package}; \
             export tidegate:policy/request-phase@{package};"
        );
        let module = module_of(&world, |resolve| {
            let contract = format!(
                "package tidegate:policy@{package};
                interface request {{ path: func() -> string; weather: func() -> string; }}
                interface moon {{ phase: func() -> u32; }}
                interface lifecycle {{
                    describe: func() -> list<tuple<string, string>>;
                    configure: func(config: string) -> result<_, string>;
                }}
                interface request-phase {{
                    enum verdict {{ next, finish, respond, fail }}
                    on-request: func() -> verdict;
                }}"
            );
            resolve.push_str("newer.wit", &contract).expect("it parses");
        });
        Host::new(Services::default())
            .expect("a host")
            .compile(&module)
            .expect_err("it is from the future")
            .to_string()
    };
    assert_eq!(
        newer("0.2.7", "request@0.2.7"),
        "wants the function `weather` of `request` of `tidegate:policy@0.2.7`, and this tidegate offers version 0.2.0 \
         without it: use a newer tidegate, or build the plugin for 0.2.0"
    );
    assert!(
        newer("0.2.7", "moon@0.2.7").starts_with("wants the interface `moon` of `tidegate:policy@0.2.7`")
    );
    assert_eq!(
        newer("0.3.0", "moon@0.3.0"),
        "wants the interface `moon` of `tidegate:policy@0.3.0`, and this tidegate offers version 0.1.0 and 0.2.0 \
         without it: use a newer tidegate, or build the plugin for 0.1.0 and 0.2.0"
    );
}

#[test]
fn capabilities_that_0_1_only_announced_are_named() {
    for name in super::ONLY_IN_0_2 {
        let error = refused(&format!("import tidegate:policy/{name}@0.1.0; {LIFECYCLE} {REQUEST}"));
        assert_eq!(error, LoadError::OnlyInNewer(format!("tidegate:policy/{name}")));
    }
}

#[test]
fn a_plugin_is_written_for_one_version() {
    let error = refused(&format!("{LIFECYCLE} {REQUEST} export tidegate:policy/timer-phase@0.1.0;"));
    assert_eq!(error, LoadError::UnknownExport("tidegate:policy/timer-phase@0.1.0".to_owned()));
    let error = refused(&format!("{LIFECYCLE} {REQUEST} export tidegate:policy/timer-phase@0.2.0;"));
    assert_eq!(error, LoadError::SeveralVersions("0.1", "0.2"));
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
    let error = Host::new(Services::default()).expect("a host").compile(&bytes).expect_err("it is no policy");
    assert_eq!(error, LoadError::Preview1);
}

#[test]
fn other_files_and_cut_files_are_told_apart() {
    let host = Host::new(Services::default()).expect("a host");
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
    let host = Host::new(Services::default()).expect("a host");
    let code = host.compile(&module(&format!("{LIFECYCLE} {REQUEST}"))).expect("it fits");
    let settings = Settings {
        name: "dummy".to_owned(),
        config: "{}".to_owned(),
        limits: crate::limits::Limits::default(),
        isolation: crate::settings::Isolation::Worker,
        routes: None,
        matching: crate::activation::Match::default(),
        secrets: crate::settings::Secrets::default(),
        grants: crate::services::Grants::default(),
    };
    let error = host.load(&code, settings.clone()).expect_err("it crashes");
    assert!(matches!(error, LoadError::Trap { during: "describe", .. }), "{error}");
    let hosts = vec!["*".to_owned()];
    let matching = crate::activation::Match { hosts, ..settings.matching.clone() };
    let error = host.load(&code, Settings { matching, ..settings }).expect_err("the match is wrong");
    assert!(matches!(&error, LoadError::Match(text) if text.starts_with("match.hosts[0]: ")), "{error}");
}
