//! `tidegate explain`: what policies make of a request.

use tidegate_tests::{Ended, Proxy, Upstream, command, guest, stock};

const ACCESS: &str = "[config]\nrules = [{ paths = [\"/admin/**\"], allow = [\"10.0.0.0/8\"] }]";
const REWRITE: &str = "[config]\nrules = [{ path = \"^/old/(.*)$\", to = \"/new/$1\" }]\n\
                       [config.request-headers]\nset = { x-edge = \"tidegate\" }\n\
                       [config.response-headers]\nset = { x-frame-options = \"DENY\" }";
const ROUTER: &str = "[config]\nrules = [{ paths = [\"/new/**\"], to = \"app\" }]";

/// Runs the command in the folder of a configuration.
async fn explained(arguments: &[&str]) -> Ended {
    let app = Upstream::echo("app").await;
    let written = Proxy::builder(&app)
        .plugin("10-access", stock("access-control"), ACCESS)
        .plugin("20-rewrite", stock("rewrite"), REWRITE)
        .plugin("30-router", stock("router"), ROUTER)
        .write();
    Ended::of(command(&["explain"]).args(arguments).current_dir(written.path()))
}

#[tokio::test]
async fn what_policies_ask_and_do_is_told_in_their_order() {
    let told = explained(&["GET", "http://www.example.com/old/a?b=1", "-H", "x-mine: 1"]).await;
    assert!(told.status.success(), "{told}");
    let mut rest = told.stdout.as_str();
    for part in [
        "GET http://www.example.com/old/a?b=1",
        "10-access  not called",
        "20-rewrite  request: next",
        "match-path #",
        "normalized-path -> \"/old/a\"",
        "set-target /new/a?b=1 -> done",
        "set-header x-edge: \"tidegate\" -> done",
        "30-router  request: next",
        "route-to \"app\" -> done",
        "=> GET http://www.example.com/new/a?b=1",
        "to app, as a policy says",
        "x-mine: 1",
        "x-edge: tidegate",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part}: {told}"));
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test]
async fn a_policy_that_answers_itself_is_told_with_its_response() {
    let told = explained(&["GET", "/admin/users", "--client", "192.0.2.7"]).await;
    for part in ["10-access  request: respond", "ip-set-has-client #", " -> no", "<= 403 Forbidden"] {
        assert!(told.stdout.contains(part), "{part}: {told}");
    }
    assert!(!told.stdout.contains("30-router"), "{told}");
    let told = explained(&["GET", "/", "--response", "503"]).await;
    for part in [
        "20-rewrite  response: next",
        "set-response-header x-frame-options",
        "<= 503",
        "x-frame-options: DENY",
    ] {
        assert!(told.stdout.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    for (arguments, why) in [
        (&["GET", "www.example.com/"][..], "url: \"www.example.com/\" begins with neither"),
        (&["GET", "/", "-H", "x"], "write it as `name: value`"),
        (&["GET", "/", "-H", "host: a"], "a host stands in the URL"),
        (&["GET", "/", "--listener", "none"], "there is no listener \"none\""),
    ] {
        let told = explained(arguments).await;
        assert!(!told.status.success() && told.stderr.contains(why), "{told}");
    }
}

#[tokio::test]
async fn what_a_cache_has_to_do_with_it_is_told() {
    let app = Upstream::echo("app").await;
    let written = Proxy::with_app(&format!("servers = [\"{}\"]\ncache = \"pages\"", app.server()))
        .section("[cache.pages]\n\n[cache.others]")
        .plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"a\"")
        .write();
    for (arguments, told) in [
        (&["GET", "/"][..], "through cache pages: from there if it has it"),
        (&["GET", "/", "-H", "x-cache-use: others"], "through cache others, as a policy says: "),
        (&["POST", "/"], "past cache pages: method"),
        (&["GET", "/", "-H", "x-cache-bypass: 1"], "past cache pages: policy"),
        (&["GET", "/", "-H", "if-match: \"1\""], "past cache pages: precondition"),
    ] {
        let explained = Ended::of(command(&["explain"]).args(arguments).current_dir(written.path()));
        assert!(explained.stdout.contains(told), "{told}: {explained}");
    }
}
