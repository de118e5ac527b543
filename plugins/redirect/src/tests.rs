//! Where clients are sent.

use serde_json::{Value, json};

use super::*;

fn configured(config: Value) -> Redirect {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<Redirect>(config).err().expect("an invalid configuration")
}

/// A request for a URL.
fn get(url: &str) -> testing::Request {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (host, target) = rest.split_at(rest.find('/').expect("a path"));
    let request = testing::Request::new("GET", target).with_host(host);
    if scheme == "https" { request.with_tls(None) } else { request }
}

#[track_caller]
fn assert_sent(policy: &Redirect, url: &str, status: u16, location: &str) {
    let request = get(url);
    assert_eq!(policy.on_request(&request), Verdict::Respond, "{url}");
    assert_eq!(request.reply(), Some(Reply::redirect(status, location)), "{url}");
}

#[track_caller]
fn assert_stays(policy: &Redirect, url: &str) {
    let request = get(url);
    assert_eq!(policy.on_request(&request), Verdict::Next, "{url}");
    assert_eq!(request.reply(), None, "{url}");
}

#[track_caller]
fn assert_refused(policy: &Redirect, url: &str, status: u16) {
    let request = get(url);
    assert_eq!(policy.on_request(&request), Verdict::Respond, "{url}");
    assert_eq!(request.reply().map(|reply| reply.status), Some(status), "{url}");
}

#[test]
fn clear_text_goes_to_https_on_the_host_that_was_asked() {
    let policy = configured(json!({ "https": true, "hosts": ["example.com", "*.example.org"] }));
    assert_sent(&policy, "http://example.com/", 308, "https://example.com/");
    assert_sent(
        &policy,
        "http://EXAMPLE.com.:8080/a//b?x=1&y=%20",
        308,
        "https://example.com/a//b?x=1&y=%20",
    );
    assert_sent(&policy, "http://a.b.example.org/", 308, "https://a.b.example.org/");
    assert_stays(&policy, "https://example.com/");
    assert_stays(&policy, "https://other.example/");
}

#[test]
fn no_client_chooses_where_others_are_sent() {
    let policy = configured(json!({ "https": true, "hosts": ["example.com", "*.example.org"] }));
    for host in
        ["evil.example", "example.com.evil.example", "example.org", "evilexample.com", "[::1]", "192.0.2.1"]
    {
        assert_refused(&policy, &format!("http://{host}/"), 421);
    }
    let any = configured(json!({ "https": true, "hosts": ["*"] }));
    assert_sent(&any, "http://evil.example/x", 308, "https://evil.example/x");
    // HTTP/1.0 without a host.
    assert_refused(&any, "http:///x", 421);
    assert_sent(&policy, "http://example.com//evil.example/", 308, "https://example.com//evil.example/");
    assert_sent(&policy, "http://example.com/\\evil", 308, "https://example.com/%5Cevil");
}

#[test]
fn status_port_and_exemptions_of_https_are_chosen() {
    let https = json!({ "status": 301, "port": 8443, "exempt": ["/health", "/internal/**"] });
    let policy = configured(json!({ "https": https, "hosts": ["example.com"] }));
    assert_sent(&policy, "http://example.com:8080/", 301, "https://example.com:8443/");
    for path in ["/health", "//health", "/internal/x", "/.well-known/acme-challenge/token"] {
        assert_stays(&policy, &format!("http://example.com{path}"));
        assert_stays(&policy, &format!("http://10.0.0.1{path}"));
    }
    for path in ["/healthy", "/internal/../x", "/.well-known/acme-challenge/../x", "/.well-known/other"] {
        assert_refused(&policy, &format!("http://10.0.0.1{path}"), 421);
    }
}

#[test]
fn a_host_has_one_name() {
    let remove = configured(json!({ "hosts": ["example.com", "*.example.org"], "www": "remove" }));
    assert_sent(&remove, "https://www.example.com/a?b", 308, "https://example.com/a?b");
    assert_sent(&remove, "http://www.example.com:8080/a", 308, "http://example.com:8080/a");
    assert_sent(&remove, "https://www.example.org/", 308, "https://example.org/");
    for url in
        ["https://example.com/", "https://www.evil.example/", "https://www.com/", "https://wwwexample.com/"]
    {
        assert_stays(&remove, url);
    }
    let add =
        configured(json!({ "hosts": ["www.example.com", "*.example.com"], "www": "add", "status": 301 }));
    assert_sent(&add, "https://example.com/", 301, "https://www.example.com/");
    assert_stays(&add, "https://www.example.com/");
    assert_stays(&add, "https://api.example.com/");
    let aliases = json!({ "example.net": "www.example.com", "*.example.net": "www.example.com:444", "*.a.example.net": "a.example" });
    let aliases = configured(json!({ "aliases": aliases }));
    assert_sent(&aliases, "https://Example.Net/x", 308, "https://www.example.com/x");
    assert_sent(&aliases, "https://b.example.net/x", 308, "https://www.example.com:444/x");
    assert_sent(&aliases, "https://b.a.example.net/x", 308, "https://a.example/x");
    assert_stays(&aliases, "https://www.example.com/");
}

#[test]
fn a_path_has_one_form() {
    let add = configured(json!({ "trailing-slash": "add" }));
    assert_sent(&add, "http://example.com/docs?x=1", 308, "/docs/?x=1");
    for target in ["/", "/docs/", "/logo.png", "/v1.2"] {
        assert_stays(&add, &format!("http://example.com{target}"));
    }
    let all = configured(json!({ "trailing-slash": "add", "trailing-slash-after-extension": true }));
    assert_sent(&all, "http://example.com/v1.2", 308, "/v1.2/");
    let remove = configured(json!({ "trailing-slash": "remove" }));
    assert_sent(&remove, "http://example.com/docs/", 308, "/docs");
    assert_sent(&remove, "http://example.com//evil.example/", 308, "/evil.example");
    assert_sent(&remove, "http://example.com/\\evil.example/", 308, "/%5Cevil.example");
    assert_stays(&remove, "http://example.com/");
    assert_stays(&remove, "http://example.com/docs");
}

#[test]
fn everything_is_done_in_one_redirect() {
    let config = json!({
        "https": true, "hosts": ["example.com"], "www": "remove", "aliases": { "example.net": "example.com" },
        "trailing-slash": "add", "rules": [{ "from": "/old/**", "to": "/new/$1/", "status": 302 }],
    });
    let policy = configured(config);
    assert_sent(&policy, "http://www.example.com/docs?a", 308, "https://example.com/docs/?a");
    assert_sent(&policy, "http://example.net/old/x?a", 302, "https://example.com/new/x/?a");
    assert_sent(&policy, "https://example.com/old/x", 302, "/new/x/");
    assert_stays(&policy, "https://example.com/new/x/");
    assert_stays(&policy, "http://www.example.com/.well-known/acme-challenge/x");
}

#[test]
fn https_on_the_same_host_comes_first_if_that_is_wanted() {
    let config = json!({ "https": { "same-host": true }, "hosts": ["example.com"], "www": "remove" });
    let policy = configured(config);
    assert_sent(&policy, "http://www.example.com/a", 308, "https://www.example.com/a");
    assert_sent(&policy, "https://www.example.com/a", 308, "https://example.com/a");
}

#[test]
fn rules_say_where_paths_went() {
    let policy = configured(json!({ "rules": [
        { "from": "/blog/*/**", "to": "https://blog.example.com/$2?year=$1" },
        { "from": "/shop", "to": "/store#top", "keep-query": false },
        { "from": "/find", "to": "/search?all=1", "keep-query": true, "status": 303 },
        { "path": r"^/u/(?P<id>\d+)$", "methods": ["GET"], "to": "/users/${id}", "status": 301 },
        { "hosts": ["old.example"], "from": "/**", "to": "https://new.example/$1" },
        { "from": "/café/*", "to": "/cafe/$1" },
    ]}));
    assert_sent(&policy, "http://a.example/blog/2024/x/y?z", 308, "https://blog.example.com/x/y?year=2024");
    assert_sent(&policy, "http://a.example/shop?z=1", 308, "/store#top");
    assert_sent(&policy, "http://a.example/find?z=1", 303, "/search?all=1&z=1");
    assert_sent(&policy, "http://a.example/%75/12?z", 301, "/users/12?z");
    assert_sent(&policy, "http://OLD.example:80/x/?q", 308, "https://new.example/x/?q");
    assert_sent(&policy, "http://a.example/caf%c3%a9/x", 308, "/cafe/x");
    assert_stays(&policy, "http://a.example/u/12/x");
    assert_stays(&policy, "http://a.example/shop/x");
}

#[test]
fn a_rule_sends_nobody_in_a_circle_or_to_another_host() {
    let policy = configured(
        json!({ "rules": [{ "from": "/a/**", "to": "/a/$1" }, { "path": "^/b(.*)$", "to": "$1" }] }),
    );
    assert_stays(&policy, "http://example.com/a/x?y");
    assert_sent(&policy, "http://example.com/b//evil.example", 308, "/evil.example");
    let policy = configured(json!({ "rules": [{ "path": "^/go(.*)$", "to": "https://example.com$1" }] }));
    assert_sent(&policy, "http://example.com/go@evil.example/", 308, "https://example.com/@evil.example/");
    assert_sent(&policy, "http://example.com/go.evil.example/", 308, "https://example.com/.evil.example/");
    assert_refused(&policy, "http://example.com/go../x", 400);
    assert_sent(
        &policy,
        "http://example.com/go/a%0d%0aset-cookie:b",
        308,
        "https://example.com/a%0D%0Aset-cookie:b",
    );
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let rule = |rule: Value| json!({ "rules": [rule] });
    for (config, message) in [
        (json!({ "https": true }), "hosts: names no host"),
        (json!({ "www": "add" }), "hosts: names no host"),
        (json!({ "https": "yes", "hosts": ["a"] }), "https: expected `true` or a table"),
        (
            json!({ "https": { "status": 302, "prot": 1 }, "hosts": ["a"] }),
            "https: expected `true` or a table",
        ),
        (
            json!({ "https": { "status": 303 }, "hosts": ["a"] }),
            "https.status: 303 is not one of 301, 302, 307",
        ),
        (json!({ "https": { "port": 0 }, "hosts": ["a"] }), "https.port: 0 is no port"),
        (json!({ "https": { "exempt": ["/a", "b"] }, "hosts": ["a"] }), "https.exempt[1]: "),
        (json!({ "hosts": ["a", "a:80"], "www": "add" }), "hosts[1]: `a:80` is neither"),
        (json!({ "hosts": ["a", "*a"], "www": "add" }), "hosts[1]: `*a` is neither"),
        (json!({ "aliases": { "*": "a" } }), "aliases.*: `*` would rename"),
        (json!({ "aliases": { "a": "b/c" } }), "aliases.a: `b/c` is not a host"),
        (json!({ "aliases": { "a": "b:0" } }), "aliases.a: `b:0` has a port"),
        (json!({ "aliases": { "a": "A" } }), "aliases.a: renames a host to itself"),
        (json!({ "www": "yes", "hosts": ["a"] }), "www: unknown variant `yes`"),
        (json!({ "status": 200 }), "status: 200 is not one of"),
        (json!({ "trailing-slash-after-extension": true }), "trailing-slash-after-extension: says how"),
        (rule(json!({ "to": "/b" })), "rules[0]: has neither `from` nor `path`"),
        (rule(json!({ "from": "/a", "path": "/a", "to": "/b" })), "rules[0]: has both"),
        (rule(json!({ "from": "a", "to": "/b" })), "rules[0].from: `a` matches nothing"),
        (rule(json!({ "path": "(", "to": "/b" })), "rules[0].path: "),
        (rule(json!({ "from": "/a", "to": "/$1" })), "rules[0].to: nothing captures `1`"),
        (rule(json!({ "from": "/a", "to": "b" })), "rules[0].to: `b` begins with neither"),
        (rule(json!({ "from": "/a", "to": "//b" })), "rules[0].to: `//b` begins with neither"),
        (rule(json!({ "from": "/a/*", "to": "https://$1" })), "rules[0].to: the host cannot"),
        (rule(json!({ "from": "/a", "to": "https://a@b/" })), "rules[0].to: names a user"),
        (rule(json!({ "from": "/a", "to": "/a\r\nx: y" })), "rules[0].to: '\\r' must be"),
        (rule(json!({ "from": "/a", "to": "/b", "status": 200 })), "rules[0].status: 200 is not"),
        (rule(json!({ "from": "/a", "to": "/b", "form": 1 })), "rules[0].form: unknown field"),
        (json!({ "htps": true }), "htps: unknown field"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
