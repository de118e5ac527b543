//! The rules of the architecture, as far as they can be read off the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file with this ending under a folder, outside of build folders.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The folders a request passes, in that order.
const STAGES: [&str; 5] = ["listener", "tls", "http", "policy", "files"];

/// Who may put stages together; `tcp.rs` is to a forwarded connection what `exchange/` is to a request.
const ASSEMBLERS: [&str; 8] =
    ["exchange", "tcp.rs", "server.rs", "thread.rs", "snapshot.rs", "reload", "admin", "commands"];

/// The crates of the proxy, each with those it may use: the one picture of ARCHITECTURE.md. Only `server` assembles.
const CRATES: [(&str, &[&str]); 14] = [
    ("config", &[]),
    ("message", &[]),
    ("io", &[]),
    ("body", &["config", "message", "io"]),
    ("upstream", &["config", "message", "io", "body"]),
    ("crypto", &[]),
    ("state", &[]),
    ("telemetry", &[]),
    ("cache", &["message"]),
    ("acme", &[]),
    ("plugin-host", &["message", "crypto", "state", "telemetry"]),
    ("scaffold", &[]),
    ("stock", &[]),
    (
        "server",
        &[
            "config",
            "message",
            "io",
            "body",
            "upstream",
            "acme",
            "cache",
            "crypto",
            "plugin-host",
            "scaffold",
            "state",
            "stock",
            "telemetry",
        ],
    ),
];

#[test]
fn crates_use_only_those_they_may() {
    let mut known: Vec<_> = CRATES.iter().map(|(name, _)| format!("proxy/{name}/Cargo.toml")).collect();
    known.sort();
    let manifests: Vec<_> = files("proxy", "Cargo.toml").iter().map(|path| shown(path)).collect();
    assert_eq!(manifests, known, "every crate has its place in the picture");
    for (name, may_use) in CRATES {
        let manifest = read(format!("proxy/{name}/Cargo.toml"));
        let uses = manifest.lines().filter_map(|line| line.strip_prefix("tidegate-")?.split_once(' '));
        for (used, _) in uses {
            assert!(may_use.contains(&used), "{name} uses {used}");
        }
    }
}

/// Whether a source of the server names one of its modules: by a path, alone, or within braces.
fn uses(text: &str, module: &str) -> bool {
    let named = [format!("crate::{module}::"), format!("crate::{module};")];
    let grouped = text.split("crate::{").skip(1).filter_map(|rest| rest.split_once('}'));
    let in_braces = |(group, _): (&str, &str)| {
        group.split(',').any(|path| path.trim().split("::").next() == Some(module))
    };
    named.iter().any(|path| text.contains(path)) || grouped.into_iter().any(in_braces)
}

#[test]
fn stages_do_not_know_each_other() {
    let source = root().join("proxy/server/src");
    for file in files("proxy/server/src", ".rs") {
        let inside = file.strip_prefix(&source).expect("a file of the server");
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let stage = STAGES.iter().find(|stage| **stage == first);
        let text = fs::read_to_string(&file).expect("a source");
        for other in STAGES.iter().filter(|other| Some(*other) != stage) {
            assert!(stage.is_none() || !uses(&text, other), "{} uses the stage {other}", shown(&file));
        }
    }
}

#[test]
fn only_assemblers_use_several_stages() {
    let source = root().join("proxy/server/src");
    for file in files("proxy/server/src", ".rs") {
        let inside = file.strip_prefix(&source).expect("a file of the server");
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        if ASSEMBLERS.contains(&first.as_str()) || STAGES.contains(&first.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source");
        let used: Vec<_> = STAGES.iter().filter(|stage| uses(&text, stage)).collect();
        assert!(used.len() < 2, "{} puts {used:?} together", shown(&file));
    }
}

#[test]
fn heavy_dependencies_have_one_door_each() {
    for manifest in files("", "Cargo.toml") {
        let name = shown(&manifest);
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let depends = |on: &str| {
            text.lines()
                .any(|line| line.starts_with(&format!("{on} ")) || line.starts_with(&format!("{on}.")))
        };
        if name == "Cargo.toml" {
            continue;
        }
        let of_host = name == "proxy/plugin-host/Cargo.toml";
        let speaks_http = [
            "proxy/server/Cargo.toml",
            "proxy/upstream/Cargo.toml",
            "tests/Cargo.toml",
            "xtask/bench/Cargo.toml",
        ]
        .contains(&&*name);
        assert!(
            of_host || !depends("wasmtime") && !depends("wasmtime-wasi"),
            "{name}: wasmtime is plugin-host's"
        );
        // redis takes its TLS from there, by the cargo features that `state` asks for.
        let of_state = name == "proxy/state/Cargo.toml";
        assert!(speaks_http || !depends("hyper"), "{name}: hyper is the server's and the upstream's");
        assert!(
            speaks_http || of_state || !depends("rustls"),
            "{name}: rustls is the server's and the upstream's"
        );
        assert!(of_state || !depends("redis"), "{name}: redis is the state's");
        // The names of scripts are digests.
        let digests = name == "proxy/crypto/Cargo.toml" || of_state;
        assert!(digests || !depends("aws-lc-rs"), "{name}: aws-lc-rs is the crypto's");
    }
}

#[test]
fn config_and_message_are_pure() {
    for name in ["config", "message"] {
        let manifest = read(format!("proxy/{name}/Cargo.toml"));
        for heavy in ["tokio", "hyper", "wasmtime", "rustls"] {
            assert!(!manifest.lines().any(|line| line.starts_with(heavy)), "{name} depends on {heavy}");
        }
        for file in files(&format!("proxy/{name}/src"), ".rs") {
            let text = fs::read_to_string(&file).expect("a source");
            for impure in ["std::net::Tcp", "std::fs::", "std::env::", "std::thread"] {
                let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
                let is_test = shown(&file).ends_with("tests.rs");
                assert!(is_test || !text[..tests].contains(impure), "{} uses {impure}", shown(&file));
            }
        }
    }
}

#[test]
fn the_sdk_and_the_host_share_only_the_contract() {
    assert!(!read("plugin-sdk/Cargo.toml").contains("tidegate-plugin-host"));
    assert!(!read("proxy/plugin-host/Cargo.toml").contains("tidegate-plugin-sdk"));
}

#[test]
fn every_file_says_what_it_is() {
    for file in files("", ".rs") {
        let text = fs::read_to_string(&file).expect("a source");
        assert!(text.starts_with("//! "), "{} begins without a sentence", shown(&file));
    }
}

#[test]
fn every_stock_policy_is_documented() {
    for manifest in files("plugins", "Cargo.toml") {
        let folder = manifest.parent().expect("a folder");
        let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        assert!(readme.contains("[config]"), "{} has no README.md with an example", shown(folder));
    }
}

#[test]
fn every_guest_is_used() {
    let tests: String = files("tests/it", ".rs")
        .iter()
        .filter(|file| !file.ends_with("tidy.rs"))
        .map(|file| fs::read_to_string(file).expect("a source"))
        .collect();
    for manifest in files("tests/guests", "Cargo.toml") {
        let folder = manifest.parent().expect("a folder");
        let name = folder.file_name().expect("a name").to_string_lossy();
        let used =
            ["guest", "guest_if_built"].iter().any(|get| tests.contains(&format!("{get}(\"{name}\")")));
        assert!(name == "guests" || used, "no test uses the guest {name}");
    }
}

#[test]
fn sleeping_is_no_synchronisation() {
    let mut sleeping: Vec<String> = ["tests/it", "tests/harness"]
        .iter()
        .flat_map(|folder| files(folder, ".rs"))
        .filter(|file| !file.ends_with("tidy.rs"))
        .filter(|file| fs::read_to_string(file).expect("a source").contains("sleep("))
        .map(|file| shown(&file))
        .collect();
    sleeping.retain(|file| file != "tests/harness/wait.rs");
    assert!(sleeping.is_empty(), "wait for a condition instead: {sleeping:?}");
}

#[test]
fn lints_are_expected_with_a_reason() {
    for file in files("", ".rs") {
        let text = fs::read_to_string(&file).expect("a source");
        for line in text.lines().filter(|line| line.trim_start().starts_with("#[allow(")) {
            assert!(line.contains("reason"), "{}: {line}", shown(&file));
        }
    }
}
