//! Cases of a policy: `tidegate plugin test`, and what a version has to do before it serves.

use std::path::{Path, PathBuf};

use tidegate_tests::{Ended, Proxy, Upstream, command, guest, stock};

fn plugin_test(arguments: &[&Path]) -> Ended {
    Ended::of(command(&["plugin", "test"]).args(arguments))
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

#[test]
fn the_stock_policies_do_what_their_cases_expect() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let mut tried = 0;
    for entry in std::fs::read_dir(plugins).expect("the stock policies").flatten() {
        let cases = entry.path().join("cases.toml");
        if cases.exists() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let folder = folder(&[(&format!("{name}.wasm"), &stock(&name))]);
            let tested = plugin_test(&[&folder.path().join(format!("{name}.wasm")), &cases]);
            assert!(tested.status.success(), "{tested}");
            tried += 1;
        }
    }
    assert!(tried >= 16, "{tried}");
}

#[test]
fn a_difference_is_told_and_is_a_failure() {
    let cases = r#"
        [[case]]
        name = "it says <hello>"
        request = { url = "/facts?a=1" }
        expect = { status = 200, body-contains = "hello", headers = { content-type = "text/plain", x-none = true } }
        [[case]]
        name = "it passes"
        request = { url = "/" }
        expect = { verdict = "next" }
        [[case]]
        name = "it answers, which nobody expects"
        request = { url = "/crypto" }
        [[case]]
        name = "it never ends"
        request = { url = "/spin" }
    "#;
    let folder = folder(&[("a.wasm", &guest("capabilities")), ("a.cases.toml", cases.as_bytes())]);
    let (wasm, junit) = (folder.path().join("a.wasm"), folder.path().join("report.xml"));
    let tested = plugin_test(&[&wasm, Path::new("--junit"), &junit]);
    assert_eq!(tested.status.code(), Some(1), "{tested}");
    for line in [
        "  FAIL  it says <hello>",
        "        headers.content-type: expected \"text/plain\", got \"application/json\"",
        "        headers.x-none: expected one, got none",
        "        body-contains: \"hello\" is not in \"{",
        "  ok    it passes",
        "        the policy answered itself with 200, which nothing expects",
        "        the policy failed (cpu): request phase: used more processor time than its limit",
        "1 of 4 passed",
    ] {
        assert!(tested.stdout.contains(line), "{line}: {tested}");
    }
    let report = std::fs::read_to_string(junit).expect("a report");
    for part in
        ["tests=\"4\" failures=\"3\"", "name=\"it says &lt;hello&gt;\"", "<failure message=\"headers."]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
}

#[test]
fn a_case_has_a_store_callouts_a_clock_and_chance_of_its_own() {
    let cases = r#"
        secrets = { key = "value" }
        [[case]]
        name = "the store holds what the case says"
        request = { url = "/store?key=k" }
        store = { k = "1" }
        expect = { body = '"1"', store = { k = "1", other = false } }
        [[case]]
        name = "and nothing of another case"
        request = { url = "/store?do=add&key=k" }
        expect = { body = "1", store = { k = "1" } }
        [[case]]
        name = "callouts are answered in their order"
        request = { url = "/callout?to=auth,auth&path=/check" }
        callouts = [{ to = "auth", status = 403, headers = { x-server = "s" }, body = "no" }, { error = "timeout" }]
        expect = { body-contains = '"no answer in time"', status = 200, callouts = 2 }
        [[case]]
        name = "secrets are what the cases say"
        request = { url = "/secret?name=key" }
        expect = { body = '"value"' }
        [[case]]
        name = "a response is seen"
        request = { url = "/page" }
        response = { status = 503, body = "sorry", origin = "app" }
        expect = { status = 503, headers = { x-note = "/page", x-server = "" }, body = "sorry", retry-at = "" }
    "#;
    let folder = folder(&[("a.wasm", &guest("capabilities")), ("a.cases.toml", cases.as_bytes())]);
    let tested = plugin_test(&[&folder.path().join("a.wasm")]);
    assert!(tested.status.success(), "{tested}");
}

#[test]
fn requests_in_a_row_meet_what_those_before_left() {
    let cases = r#"
        [[case]]
        name = "a limit is used up, and earned back with time"
        config = { limits = [{ name = "all", limit = 60, period = "1m", burst = 1 }] }
        request = { url = "/" }
        times = 2
        expect = { verdict = "next" }
        [[case.then]]
        request = { url = "/" }
        expect = { status = 429, headers = { retry-after = "1", ratelimit = '"all";r=0;t=1' } }
        [[case.then]]
        after = "999ms"
        request = { url = "/" }
        expect = { status = 429 }
        [[case.then]]
        after = "1ms"
        request = { url = "/" }
        expect = { verdict = "next" }
        [[case]]
        name = "another case begins anew"
        request = { url = "/" }
        times = 1
        expect = { verdict = "next" }
        [[case]]
        name = "one too many"
        request = { url = "/" }
        times = 2
        expect = { verdict = "next" }
        then = [{ request = { url = "/" }, expect = { status = 500 } }]
        [[case]]
        name = "and one after that"
        request = { url = "/" }
        expect = { verdict = "next" }
        then = [{ request = { url = "/" }, times = 2, expect = { verdict = "respond", status = 500 } }]
        [[case]]
        name = "it is not loaded"
        config = { limits = [] }
        request = { url = "/" }
        [config]
        limits = [{ name = "all", limit = 1, period = "1m" }]
    "#;
    let folder = folder(&[("a.wasm", &stock("rate-limit")), ("a.cases.toml", cases.as_bytes())]);
    let tested = plugin_test(&[&folder.path().join("a.wasm")]);
    assert_eq!(tested.status.code(), Some(1), "{tested}");
    for line in [
        "  ok    a limit is used up, and earned back with time",
        "  ok    another case begins anew",
        "  FAIL  one too many\n        time 2: verdict: expected \"next\", got \"respond\"\n",
        "  FAIL  and one after that\n        then[0], time 1: status: expected 500, got 429\n",
        "  FAIL  it is not loaded\n        config: ",
        "limits: an empty list limits nothing",
        "2 of 5 passed",
    ] {
        assert!(tested.stdout.contains(line), "{line}: {tested}");
    }
}

#[test]
fn a_callout_has_to_be_what_the_case_says() {
    let cases = r#"
        [[case]]
        name = "the service is told the wrong things"
        request = { url = "/account", client = "198.51.100.7", headers = { cookie = "a=b" } }
        callouts = [{ to = "auth", asked = { method = "POST", host = "auth.example", headers = { x-forwarded-for = "10.0.0.1", cookie = false }, body = "x" } }]
        expect = { verdict = "next" }
        [config]
        upstream = "auth"
        path = "/verify"
    "#;
    let folder = folder(&[("a.wasm", &stock("external-auth")), ("a.cases.toml", cases.as_bytes())]);
    let tested = plugin_test(&[&folder.path().join("a.wasm")]);
    assert_eq!(tested.status.code(), Some(1), "{tested}");
    for difference in [
        "method: expected \"POST\", got \"GET\"",
        "host: expected \"auth.example\", got \"\"",
        "headers.cookie: expected none, got \"a=b\"",
        "headers.x-forwarded-for: expected \"10.0.0.1\", got \"198.51.100.7\"",
        "body: expected \"x\", got \"\"",
    ] {
        let line = format!("        callouts: GET /verify to auth: {difference}\n");
        assert!(tested.stdout.contains(&line), "{line}: {tested}");
    }
}

#[test]
fn a_mistake_in_a_case_is_told_with_its_place() {
    let wasm = guest("capabilities");
    for (cases, told) in [
        ("[[case]]\nname = \"a\"\nrequest = { url = \"/\", methd = \"GET\" }", "a.cases.toml:3:24: "),
        (
            "[[case]]\nname = \"a\"\nrequest = { url = \"ftp://a\" }",
            "request.url: \"ftp://a\" begins with neither",
        ),
        (
            "[[case]]\nname = \"a\"\nrequest = { url = \"/\", client = \"x\" }",
            "request.client: \"x\" is no address",
        ),
        (
            "[[case]]\nname = \"a\"\nrequest = { url = \"/\", headers = { host = \"b\" } }",
            "\"host\" belongs to the proxy",
        ),
        (
            "[[case]]\nname = \"a\"\nrequest = { url = \"/\", certificate = \"x\" }",
            "request.certificate: there is no `BEGIN CERTIFICATE` line in it",
        ),
        (
            "[[case]]\nname = \"a\"\nrequest = { url = \"/\" }\n[[case.then]]\nafter = \"5\"\nrequest = { url = \"/\" }",
            "a.cases.toml:5:9: ",
        ),
        ("[[case]]\nname = \"a\"\ntimes = 0\nrequest = { url = \"/\" }", "a.cases.toml:3:9: "),
    ] {
        let folder = folder(&[("a.wasm", &wasm), ("a.cases.toml", cases.as_bytes())]);
        let tested = plugin_test(&[&folder.path().join("a.wasm")]);
        assert!(!tested.status.success(), "{tested}");
        assert!(tested.stdout.contains(told) || tested.stderr.contains(told), "{told}: {tested}");
    }
}

const ROUTES: &str =
    "[[case]]\nname = \"a goes to two\"\nrequest = { url = \"/a\" }\nexpect = { route = \"two\" }\n";

fn router(to: &str) -> String {
    format!("[config]\nrules = [{{ paths = [\"/a\"], to = \"{to}\" }}]")
}

#[tokio::test]
async fn a_version_that_fails_its_cases_does_not_serve() {
    let (app, two) = (Upstream::echo("app").await, Upstream::echo("two").await);
    let proxy = Proxy::builder(&app)
        .upstream("two", &two)
        .plugin("10-router", stock("router"), &router("two"))
        .file("plugins/10-router.cases.toml", ROUTES)
        .start()
        .await;
    assert_eq!(proxy.get("/a").await.echoed_by(), "two");
    let toml: PathBuf = proxy.plugin_path("10-router.toml");
    std::fs::write(&toml, router("app")).expect("a writable file");
    let why = ["ERROR", "10-router.cases.toml", "\"a goes to two\": route: expected \"two\", got \"app\""];
    proxy.log().wait(&why).await;
    assert_eq!(proxy.get("/a").await.echoed_by(), "two", "the version before goes on");
    let state = proxy.plugin_state("10-router", "refused").await;
    assert_eq!(state["last_good"], true, "{state}");
    // What is expected may change as well.
    std::fs::write(proxy.plugin_path("10-router.cases.toml"), ROUTES.replace("two", "app"))
        .expect("a writable file");
    proxy.plugin_state("10-router", "serving").await;
    assert_eq!(proxy.get("/a").await.echoed_by(), "app");
    let checked = Proxy::builder(&app)
        .plugin("10-router", stock("router"), &router("app"))
        .file("plugins/10-router.cases.toml", ROUTES)
        .check();
    assert!(checked.stdout.contains("it does not do what its cases expect"), "{checked}");
    // What serves is tried with the `[config]` it serves with, and with no other.
    let own = ROUTES.replace("request", "config = { rules = [] }\nrequest");
    let checked = Proxy::builder(&app)
        .plugin("10-router", stock("router"), &router("app"))
        .file("plugins/10-router.cases.toml", own)
        .check();
    let place = "10-router.cases.toml:3:10: what goes live is tried with the [config] of its own file";
    assert!(checked.stdout.contains(place), "{checked}");
}
