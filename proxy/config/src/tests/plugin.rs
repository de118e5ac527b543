//! What `NAME.toml` means, and what is wrong with one.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{FULL_PLUGIN, plugin_problems, read_plugin};
use crate::{BodyOverflow, Isolation, OnError, PluginFile, PluginLimits, Positions, parse_plugin};

#[test]
fn every_key_arrives() {
    let plugin = read_plugin(FULL_PLUGIN).expect("the example is valid");
    assert!(!plugin.enabled);
    assert_eq!((plugin.on_error, plugin.isolation), (OnError::Skip, Isolation::Request));
    assert_eq!(plugin.body_overflow, BodyOverflow::Skip);
    assert_eq!(plugin.matching.hosts, ["example.com", "*.example.org", "[::1]"]);
    assert_eq!(plugin.matching.paths, ["/api/**", "**.png"]);
    assert_eq!(plugin.matching.methods, ["GET", "PROPFIND"]);
    assert_eq!(plugin.matching.listeners, ["secure"]);
    let limits = PluginLimits {
        cpu: Duration::from_millis(20),
        time: Duration::from_secs(2),
        memory: 64 << 20,
        instances: 8,
        reuse: 500,
    };
    assert_eq!(plugin.limits, limits);
    assert_eq!(plugin.routes, Some(vec!["app".to_owned(), "assets".to_owned()]));
    assert_eq!(plugin.link.as_deref(), Some("10-access"));
    assert_eq!(
        plugin.config,
        json!({
            "status": 403,
            "ratio": 0.5,
            "since": "2024-05-01T12:00:00Z",
            "deep": { "a": [true, "x", { "b": 1 }] },
        })
    );
}

#[test]
fn an_empty_file_is_the_default() {
    let default = PluginFile::default();
    let empty = read_plugin("").expect("an empty file is valid");
    assert_eq!(PluginFile { positions: Positions::default(), ..empty }, default);
    assert!(default.enabled && !default.required);
    assert_eq!((default.on_error, default.isolation), (OnError::Deny, Isolation::Worker));
    assert_eq!(default.body_overflow, BodyOverflow::Deny);
    assert!(default.matching.hosts.is_empty() && default.matching.listeners.is_empty());
    let limits = PluginLimits {
        cpu: Duration::from_millis(10),
        time: Duration::from_secs(1),
        memory: 32 << 20,
        instances: 64,
        reuse: 10_000,
    };
    assert_eq!(default.limits, limits);
    assert_eq!((default.routes, default.link, default.config), (None, None, json!({})));
}

#[test]
fn one_mistake_gives_one_problem_at_its_place() {
    let cases = [
        ("enable = false", r#"1:1: unknown key "enable"; did you mean "enabled"?"#),
        (
            "enabled = \"true\"",
            r#"1:11: enabled must be true or false, not "true"; write true, without quotes"#,
        ),
        (
            "on-error = \"skipp\"",
            r#"1:12: "skipp" is not a value of on-error; did you mean "skip"? allowed: "deny", "skip""#,
        ),
        ("isolation = \"none\"", r#"1:13: "none" is not a value of isolation; allowed: "worker", "request""#),
        (
            "match.hosts = [\"*\"]",
            r#"1:16: match.hosts[0]: "*" is not a host; leave hosts out to match every host"#,
        ),
        (
            "match.hosts = [\"a.*.b\"]",
            r#"1:16: match.hosts[0]: "a.*.b" has a "*" in the wrong place; "*." stands for any labels and only at the start, as in "*.example.org""#,
        ),
        (
            "match.hosts = [\"a.b:80\"]",
            r#"1:16: match.hosts[0]: "a.b:80" has more than a host; write "a.b" without the port"#,
        ),
        ("match.hosts = [\"*.a..b\"]", r#"1:16: match.hosts[0]: "a..b" in "*.a..b" is not a host name"#),
        (
            "match.paths = [\"api\"]",
            r#"1:16: match.paths[0]: "api" does not start with "/" or "*"; write "/api""#,
        ),
        (
            "match.methods = [\"get\"]",
            r#"1:18: match.methods[0]: "get" is not a method, as their case matters; did you mean "GET"?"#,
        ),
        (
            "match.methods = [\"G T\"]",
            r#"1:18: match.methods[0]: "G T" is not a method; write it as in "GET""#,
        ),
        ("limits.cpu = \"0s\"", "1:14: limits.cpu must be at least 1ms, not 0s"),
        (
            "limits.cpu = \"2s\"",
            "1:14: limits.time is 1s, less than limits.cpu, which is 2s; the time of a call includes its CPU time: raise one or lower the other",
        ),
        (
            "limits.time = \"5ms\"",
            "1:15: limits.time is 5ms, less than limits.cpu, which is 10ms; the time of a call includes its CPU time: raise one or lower the other",
        ),
        ("limits.memory = \"1023KiB\"", "1:17: limits.memory must be at least 1MiB, not 1023KiB"),
        ("limits.memory = \"5GiB\"", "1:17: limits.memory must be at most 4GiB, not 5GiB"),
        ("limits.instances = 0", "1:20: limits.instances must be at least 1, not 0"),
        ("limits.instances = 10001", "1:20: limits.instances must be at most 10000, not 10001"),
        ("limits.reuse = 0", "1:16: limits.reuse must be at least 1, not 0"),
        ("link = \"b.wasm\"", r#"1:8: link: "b.wasm" is a file, not the name of a plugin; write "b""#),
        ("link = \"a\"", r#"1:8: link: "a" is this plugin itself; name another one"#),
        ("config = 1", "1:10: config must be a table, not 1"),
        (
            "[config]\na = { \"b.c\" = [1, nan] }",
            "2:19: config.a.\"b.c\"[1]: NaN is not a number in JSON; the plugin gets its configuration as JSON, where numbers are finite",
        ),
        (
            "required = true\nenabled = false",
            "2:11: enabled would leave out a policy that is required; remove enabled or required",
        ),
        (
            "required = true\non-error = \"skip\"",
            "2:12: on-error would leave out a policy that is required; remove on-error or required",
        ),
        (
            "required = true\nbody-overflow = \"skip\"",
            "2:17: body-overflow would leave out a policy that is required; remove body-overflow or required",
        ),
        (
            "body-overflow = \"pass\"",
            r#"1:17: "pass" is not a value of body-overflow; allowed: "deny", "skip""#,
        ),
    ];
    for (text, problem) in cases {
        assert_eq!(plugin_problems(text), [problem], "{text}");
    }
}

#[test]
fn grants_of_later_versions_may_be_declined_but_not_asked_for() {
    let text = "[grants]\ncallout = [\"auth\"]\nstore = true\nrate-limit = true\nmetrics = true\n";
    let unsupported =
        |line: usize, what: &str| format!("{line}:1: {what:?} is not supported by this version of tidegate");
    assert_eq!(
        plugin_problems(text),
        [
            unsupported(2, "callout"),
            unsupported(3, "store"),
            unsupported(4, "rate-limit"),
            unsupported(5, "metrics")
        ]
    );
    assert!(read_plugin("grants = { callout = [], store = false }").is_ok());
}

#[test]
fn a_configuration_keeps_its_nesting_up_to_a_bound() {
    let nested = |depth: usize| format!("[config]\na = {}1{}", "[".repeat(depth), "]".repeat(depth));
    let plugin = parse_plugin(&nested(60), Path::new("a.toml")).expect("deep enough for anyone");
    let mut value = &plugin.config["a"];
    while let Some(inner) = value.get(0) {
        value = inner;
    }
    assert_eq!(value, 1);
    assert_eq!(plugin_problems(&nested(64)), ["2:68: more than 64 tables and lists in one another"]);
}
