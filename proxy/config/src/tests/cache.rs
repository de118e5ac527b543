//! Caches, and upstreams that have one.

use std::time::Duration;

use super::{problems, read, with_listener};
use crate::{Cache, CacheDisk};

fn cache(lines: &str) -> Cache {
    let config = read(&with_listener(&format!("[cache.pages]\n{lines}"))).expect("the text is valid");
    config.caches["pages"].clone()
}

#[test]
fn every_key_arrives() {
    let written = cache(
        r#"
        memory = "256MiB"
        disk = "10GiB"
        path = "var/pages"
        max-object = "100MiB"
        max-variants = 4
        key = { headers = ["X-Tenant"], cookies = ["lang"], without-headers = ["X-Trace"] }
        default-lifetime = "1m"
        heuristic-lifetime = "0s"
        stale-while-revalidate = "10s"
        stale-if-error = "1h"
        set-cookie = true
        client-directives = false
        max-wait = "2s"
        max-revalidations = 3
        status-field = false
        "#,
    );
    let expected = Cache {
        memory: 256 << 20,
        disk: Some(CacheDisk { path: "etc/var/pages".into(), space: 10 << 30 }),
        max_object: 100 << 20,
        max_variants: 4,
        key_headers: vec!["x-tenant".to_owned()],
        key_cookies: vec!["lang".to_owned()],
        key_without: vec!["x-trace".to_owned()],
        default_lifetime: Duration::from_secs(60),
        heuristic_lifetime: Duration::ZERO,
        stale_while_revalidate: Duration::from_secs(10),
        stale_if_error: Duration::from_secs(3600),
        set_cookie: true,
        client_directives: false,
        max_wait: Duration::from_secs(2),
        max_revalidations: 3,
        status_field: false,
    };
    assert_eq!(written, expected);
    let plain = cache("");
    assert_eq!((plain.memory, plain.disk, plain.max_variants), (64 << 20, None, 16));
    assert_eq!(plain.heuristic_lifetime, Duration::from_secs(3600));
    assert!(plain.client_directives && plain.status_field && !plain.set_cookie);
}

#[test]
fn what_does_not_go_together_is_said() {
    for (lines, expected) in [
        ("[cache.a]\ndisk = \"1GiB\"", "cache.a.disk: it is not said where"),
        ("[cache.a]\npath = \"x\"", "cache.a.path is of no use without disk"),
        (
            "[cache.a]\ndisk = \"1GiB\"\npath = \"x\"\n[cache.b]\ndisk = \"1GiB\"\npath = \"x\"",
            "cache.b.path is that of cache.a",
        ),
        ("[cache.a]\nkey = { cookies = [\"a b\"] }", "\"a b\" is not the name of a cookie"),
        ("[cache.a]\nkey = { without-headers = [\"x-*\"] }", "\"x-*\" names no field"),
        ("[cache.a]\nkey = { headers = [\"Host\"] }", "\"host\" tells nothing apart"),
        (
            "[cache.pages]\n[upstream.app]\nservers = [\"127.0.0.1:1\"]\ncache = \"page\"",
            "upstream.app.cache: there is no cache \"page\"",
        ),
    ] {
        let found = problems(&with_listener(lines));
        assert!(found.iter().any(|problem| problem.contains(expected)), "{lines}: {found:?}");
    }
    let text = with_listener("[cache.pages]\n[upstream.app]\nservers = [\"127.0.0.1:1\"]\ncache = \"pages\"");
    let config = read(&text).expect("the text is valid");
    assert_eq!(config.upstreams["app"].cache.as_deref(), Some("pages"));
}
