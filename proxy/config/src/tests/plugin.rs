//! What `NAME.toml` means, and what is wrong with one.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{FULL_PLUGIN, plugin_problems, read_plugin};
use crate::{BodyOverflow, Grants, Isolation, OnError, PluginFile, PluginLimits, Positions, parse_plugin};

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
        waiting: 5,
        callouts: 2,
        callout_response: 64 << 10,
        callout_timeout: Duration::from_millis(300),
    };
    assert_eq!(plugin.limits, limits);
    let grants = Grants {
        callout: vec!["auth".to_owned()],
        store: true,
        rate_limit: true,
        metrics: true,
        routes: Some(vec!["app".to_owned(), "assets".to_owned()]),
    };
    assert_eq!(plugin.grants, grants);
    assert_eq!(plugin.timer, Some(Duration::from_secs(5400)));
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
        waiting: 48,
        callouts: 8,
        callout_response: 1 << 20,
        callout_timeout: Duration::from_millis(500),
    };
    assert_eq!(default.limits, limits);
    assert_eq!((default.grants, default.timer), (Grants::default(), None));
    assert!(default.secrets.is_empty());
    assert_eq!((default.link, default.config), (None, json!({})));
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
        (
            "limits.waiting = 65",
            "1:18: limits.waiting is 65, more than limits.instances, which is 64; a call that waits keeps its instance: raise one or lower the other",
        ),
        (
            "limits.instances = 1\nlimits.waiting = 2",
            "2:18: limits.waiting is 2, more than limits.instances, which is 1; a call that waits keeps its instance: raise one or lower the other",
        ),
        ("limits.waiting = 0", "1:18: limits.waiting must be at least 1, not 0"),
        ("limits.waiting = 10001", "1:18: limits.waiting must be at most 10000, not 10001"),
        ("limits.callouts = -1", "1:19: limits.callouts must be at least 0, not -1"),
        ("limits.callouts = 65", "1:19: limits.callouts must be at most 64, not 65"),
        (
            "limits.callout-response = \"1023B\"",
            "1:27: limits.callout-response must be at least 1KiB, not 1023B",
        ),
        (
            "limits.callout-response = \"65MiB\"",
            "1:27: limits.callout-response must be at most 64MiB, not 65MiB",
        ),
        ("limits.callout-timeout = \"0s\"", "1:26: limits.callout-timeout must be at least 1ms, not 0s"),
        ("limits.callout-timeout = \"6m\"", "1:26: limits.callout-timeout must be at most 5m, not 6m"),
        ("grants.callout = \"auth\"", r#"1:18: grants.callout must be a list, not "auth"; write ["auth"]"#),
        ("grants.callout = [\"a\", \"a\"]", r#"1:24: "a" stands twice in grants.callout"#),
        ("grants.store = 1", "1:16: grants.store must be true or false, not 1"),
        (
            "grants.rate-limits = true",
            r#"1:8: unknown key "rate-limits" in grants; did you mean "rate-limit"?"#,
        ),
        ("timer = \"999ms\"", "1:9: timer must be at least 1s, not 999ms"),
        ("timer = \"25h\"", "1:9: timer must be at most 24h, not 25h"),
        ("timer = 30", r#"1:9: timer must be text, not 30; write the unit, as in "5s""#),
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
fn three_quarters_of_the_instances_may_wait_unless_it_is_said() {
    for (instances, waiting) in [(1, 1), (2, 1), (3, 2), (64, 48), (10_000, 7500)] {
        let plugin = read_plugin(&format!("limits.instances = {instances}")).expect("the text is valid");
        assert_eq!(plugin.limits.waiting, waiting, "of {instances}");
    }
    let all = read_plugin("limits = { instances = 8, waiting = 8 }").expect("the text is valid");
    assert_eq!(all.limits.waiting, 8);
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

#[test]
fn cases_without_a_case_are_none() {
    let problems = crate::parse_cases("time = 1", Path::new("a.cases.toml")).expect_err("there is no case");
    assert!(problems.to_string().contains("there are no cases; write [[case]]"), "{problems}");
}
