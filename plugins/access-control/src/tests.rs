//! Who passes.

use serde_json::{Value, json};

use super::*;

fn access(rules: Value) -> AccessControl {
    testing::configure(json!({ "rules": rules })).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<AccessControl>(config).err().expect("an invalid configuration")
}

fn get(path: &str, client: &str) -> testing::Request {
    testing::Request::new("GET", path).with_client(client)
}

#[track_caller]
fn assert_passes(access: &AccessControl, request: testing::Request) {
    assert_eq!(access.on_request(&request), Verdict::Next);
    assert_eq!(request.reply(), None);
}

#[track_caller]
fn assert_denied(access: &AccessControl, request: testing::Request) {
    assert_eq!(access.on_request(&request), Verdict::Respond);
    assert_eq!(request.reply().map(|reply| reply.status), Some(403));
}

#[test]
fn an_allow_list_denies_everyone_else() {
    let access = access(json!([{ "paths": ["/admin/**"], "allow": ["10.0.0.0/8", "fd00::1"] }]));
    assert_passes(&access, get("/admin/x", "10.1.2.3"));
    assert_passes(&access, get("/admin/x", "fd00::1"));
    assert_passes(&access, get("/admin/x", "::ffff:10.1.2.3"));
    assert_denied(&access, get("/admin/x", "192.0.2.1"));
    assert_denied(&access, get("/admin", "192.0.2.1"));
    assert_passes(&access, get("/public", "192.0.2.1"));
}

#[test]
fn networks_stand_in_files_too() {
    testing::set_secret("office", "10.0.0.0/8   # the building\n\n# guests\n2001:db8::/32\n");
    testing::set_secret("bots", "10.6.6.6\n");
    let rule = json!([{ "allow": ["192.0.2.1"], "allow-file": "office", "deny-file": "bots" }]);
    let access = access(rule);
    for client in ["10.1.2.3", "2001:db8::7", "192.0.2.1"] {
        assert_passes(&access, get("/", client));
    }
    for client in ["10.6.6.6", "192.0.2.2"] {
        assert_denied(&access, get("/", client));
    }
}

#[test]
fn mistakes_in_files_are_refused_with_their_line() {
    testing::set_secret("office", "10.0.0.0/8\n# guests\n10.0.0.300\n");
    let refused = |rule: Value| refused(json!({ "rules": [rule] }));
    let message = refused(json!({ "allow": ["::1"], "allow-file": "office" }));
    assert!(message.starts_with("rules[0].allow-file: line 3 of `office`: "), "{message}");
    let message = refused(json!({ "allow": ["x"], "allow-file": "office" }));
    assert!(message.starts_with("rules[0].allow[0]: "), "{message}");
    let message = refused(json!({ "deny-file": "none" }));
    assert!(message.starts_with("rules[0].deny-file: [secrets] has no text `none`"), "{message}");
}

#[test]
fn no_spelling_of_a_path_gets_round_a_rule() {
    let access = access(json!([{ "paths": ["/admin/**"], "deny": true }]));
    for path in ["//admin", "/x/../admin/", "/%61dmin", "/x/%2E%2e/admin/y", "/./admin?x", "/admin/."] {
        assert_denied(&access, get(path, "10.1.2.3"));
    }
}

#[test]
fn the_first_rule_that_decides_counts() {
    let access = access(json!([
        { "paths": ["/status"], "allow": ["0.0.0.0/0", "::/0"] },
        { "user-agents": ["EvilBot"], "deny": true },
        { "deny": ["192.0.2.0/24"] },
        { "paths": ["/api/**"], "methods": ["DELETE"], "deny": true },
        { "hosts": ["intern.example.com"], "allow": ["10.0.0.0/8"] },
    ]));
    let bot = |path| get(path, "10.0.0.1").with_header("user-agent", "Mozilla/5.0 evilbot/2");
    assert_passes(&access, bot("/status"));
    assert_denied(&access, bot("/"));
    assert_passes(&access, get("/status", "192.0.2.7"));
    assert_denied(&access, get("/", "192.0.2.7"));
    let delete = testing::Request::new("DELETE", "/api/x").with_client("10.0.0.1");
    assert_denied(&access, delete);
    assert_passes(&access, get("/api/x", "10.0.0.1"));
    assert_denied(&access, get("/", "198.51.100.1").with_host("intern.example.com"));
    assert_passes(&access, get("/", "10.0.0.1").with_host("intern.example.com"));
    assert_passes(&access, get("/", "198.51.100.1"));
}

#[test]
fn a_header_field_narrows_a_rule() {
    let access = access(json!([
        { "headers": { "x-forwarded-host": "*" }, "deny": true },
        { "headers": { "x-zone": "lab-*" }, "paths": ["/lab"], "allow": ["10.0.0.0/8"] },
    ]));
    assert_denied(&access, get("/", "10.0.0.1").with_header("x-forwarded-host", "a"));
    let lab = |client| get("/lab", client).with_header("x-zone", "lab-7");
    assert_denied(&access, lab("192.0.2.1"));
    assert_passes(&access, lab("10.0.0.1"));
    assert_passes(&access, get("/lab", "192.0.2.1").with_header("x-zone", "LAB-7"));
}

#[test]
fn deny_takes_clients_out_of_allow() {
    let access = access(json!([{ "allow": ["10.0.0.0/8"], "deny": ["10.6.0.0/16"] }]));
    assert_passes(&access, get("/", "10.5.0.1"));
    assert_denied(&access, get("/", "10.6.0.1"));
    assert_denied(&access, get("/", "192.0.2.1"));
}

#[test]
fn the_denial_is_a_short_text_with_the_chosen_status() {
    let config = json!({ "rules": [{ "deny": true }], "status": 451 });
    let access = testing::configure::<AccessControl>(config).unwrap();
    let request = get("/", "192.0.2.1");
    assert_eq!(access.on_request(&request), Verdict::Respond);
    assert_eq!(request.reply(), Some(Reply::new(451).text("access denied\n")));
}

#[test]
fn a_byte_that_is_no_text_hides_no_user_agent() {
    let access = access(json!([{ "user-agents": ["EvilBot"], "deny": true }]));
    assert_denied(&access, get("/", "192.0.2.1").with_header("user-agent", b"EvilBot \xff"));
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let rule = |rule: Value| json!({ "rules": [rule] });
    for (config, message) in [
        (rule(json!({ "paths": ["/a"] })), "rules[0]: neither `allow` nor `deny`"),
        (rule(json!({ "deny": false })), "rules[0]: neither `allow` nor `deny`"),
        (rule(json!({ "allow": [] })), "rules[0].allow: an empty list denies everyone"),
        (rule(json!({ "deny": [] })), "rules[0].deny: an empty list denies nobody"),
        (rule(json!({ "deny": true, "allow": ["10.0.0.1"] })), "rules[0].deny: denies everyone"),
        (rule(json!({ "allow": ["10.0.0.1", "x"] })), "rules[0].allow[1]: `x` is neither"),
        (rule(json!({ "deny": ["10.0.0.1/33"] })), "rules[0].deny[0]: `10.0.0.1/33` is neither"),
        (rule(json!({ "deny": "all" })), "rules[0].deny: expected `true` or a list"),
        (rule(json!({ "alow": ["10.0.0.1"] })), "rules[0].alow: unknown field"),
        (rule(json!({ "deny": true, "headers": { "a b": "*" } })), "rules[0].headers.a b: `a b` is not"),
        (json!({ "rules": [], "status": 200 }), "status: 200 is not 400 to 599"),
        (json!({}), "missing field `rules`"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
