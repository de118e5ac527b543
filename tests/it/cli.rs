//! The commands beside `run`.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tidegate_tests::{
    Authority, Client, Ended, Process, Proxy, TlsOptions, Upstream, a_moment, command, guest, stock, within,
};

#[tokio::test]
async fn check_accepts_what_run_accepts() {
    let app = Upstream::echo("app").await;
    let leaf = Authority::new().sign(&["a.test"]);
    let builder = Proxy::builder(&app).tls_listener("secure", &leaf, "");
    let checked = builder.plugin("1-router", stock("router"), "[config]\nrules = []").check();
    assert!(checked.status.success(), "{checked}");
}

#[tokio::test]
async fn check_reports_every_problem_of_every_file_at_once() {
    let app = Upstream::echo("app").await;
    let (a, b) = (Authority::new().sign(&["a.test"]), Authority::new().sign(&["b.test"]));
    let tls = "tls = { certificates = [\n  { chain = \"missing.pem\", key = \"a.key\" },\n  \
               { chain = \"a.pem\", key = \"b.key\" },\n] }";
    let checked = Proxy::builder(&app)
        .listener("secure", tls)
        .certificate("a", &a)
        .certificate("b", &b)
        .plugin("1-broken", b"broken".to_vec(), "")
        .plugin("2-stamp", guest("stamp"), "[config]\nvalu = \"x\"")
        .plugin("3-future", guest("future"), "")
        .plugin("4-stamp", guest("stamp"), "on-eror = \"skip\"\n[config]\nvalue = \"x\"")
        .plugin("5-stamp", guest("stamp"), "grants = { routes = [\"ap\"] }\n[config]\nvalue = \"x\"")
        .file("plugins/6-link.toml", "link = \"nobody\"")
        .check();
    assert_eq!(checked.status.code(), Some(1), "{checked}");
    for (file, what) in [
        ("tidegate.toml:", "missing.pem"),
        ("tidegate.toml:", "b.key"),
        ("1-broken.wasm", "not WebAssembly"),
        ("2-stamp.toml:2:", "valu"),
        ("3-future.wasm", "`weather` of `request`"),
        ("4-stamp.toml:1:1:", "on-error"),
        ("5-stamp.toml:1:", "ap"),
        ("6-link.toml:1:", "nobody"),
    ] {
        let found = checked.stdout.lines().any(|line| line.contains(file) && line.contains(what));
        assert!(found, "{file} {what}: {checked}");
    }
}

#[test]
fn check_reports_every_problem_of_the_configuration_with_its_place() {
    let text = "default-upstrem = \"app\"\nworkers = -1\ntrusted-proxies = [\"10.0.0.0/40\"]\n\
                [listener.web]\naddress = \"nowhere\"\nhttp = [\"3\"]\n\
                [upstream.app]\nservers = [\"a:1\", \"b\"]\nbalance = \"fastest\"\n\
                [timeouts]\nkeep-alive = \"75\"\n[limits]\nrequest-body = \"5 apples\"\n";
    let checked = Proxy::bare().config(text).check();
    assert_eq!(checked.status.code(), Some(1), "{checked}");
    for place in [
        "tidegate.toml:1:1: ",
        "tidegate.toml:2:11: ",
        "tidegate.toml:3:20: ",
        "tidegate.toml:5:11: ",
        "tidegate.toml:6:9: ",
        "tidegate.toml:8:19: ",
        "tidegate.toml:9:11: ",
        "tidegate.toml:11:14: ",
        "tidegate.toml:13:16: ",
    ] {
        assert!(checked.stdout.contains(place), "{place}: {checked}");
    }
    assert!(checked.stdout.contains("default-upstream"), "a suggestion: {checked}");
}

#[test]
fn check_says_which_file_is_missing() {
    let checked = Ended::of(&mut command(&["check", "--config", "/nonexistent/tidegate.toml"]));
    assert_eq!(checked.status.code(), Some(1), "{checked}");
    assert!(checked.stdout.contains("/nonexistent/tidegate.toml"), "{checked}");
}

#[tokio::test]
async fn run_refuses_what_check_refuses() {
    let app = Upstream::echo("app").await;
    let ended = Proxy::builder(&app).section("[limitz]\n").try_start().await.expect_err("a misspelt table");
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("limitz") && ended.stderr.contains("limits"), "{ended}");
}

#[test]
fn inspect_shows_what_a_plugin_is() {
    let folder = Proxy::bare()
        .config("")
        .plugin("router", stock("router"), "")
        .plugin("stamp", guest("stamp"), "")
        .plugin("capabilities", guest("capabilities"), "")
        .plugin("broken", b"broken".to_vec(), "")
        .write();
    let inspect = |name: &str| {
        let file = folder.path().join("plugins").join(format!("{name}.wasm"));
        Ended::of(command(&["plugin", "inspect"]).arg(file))
    };
    let router = inspect("router");
    assert_eq!(router.status.code(), Some(0), "{router}");
    for part in ["request", "router", "matching", "config-schema"] {
        assert!(router.stdout.contains(part), "{part}: {router}");
    }
    let stamp = inspect("stamp");
    for part in ["request", "response", "log"] {
        assert!(stamp.stdout.contains(part), "{part}: {stamp}");
    }
    let store = inspect("capabilities");
    assert!(store.to_string().contains("store"), "{store}");
    let broken = inspect("broken");
    assert_eq!(broken.status.code(), Some(1), "{broken}");
}

#[test]
fn schema_is_json_schema_for_both_files() {
    let shown = Ended::of(&mut command(&["schema"]));
    assert!(shown.status.success(), "{shown}");
    let schemas: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let keys = &schemas["tidegate.toml"]["properties"];
    for key in [
        "default-upstream",
        "workers",
        "trusted-proxies",
        "plugins",
        "listener",
        "upstream",
        "limits",
        "timeouts",
        "admin",
    ] {
        assert!(keys[key].is_object(), "{key}");
    }
    let keys = &schemas["NAME.toml"]["properties"];
    for key in ["enabled", "on-error", "match", "limits", "isolation", "grants", "link", "config"] {
        assert!(keys[key].is_object(), "{key}");
    }
}

#[test]
fn a_wrong_command_line_is_explained() {
    for arguments in [&["rum"][..], &[], &["run", "--confg", "x"]] {
        let refused = Ended::of(&mut command(arguments));
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {refused}");
        assert!(refused.stderr.contains("Usage"), "{arguments:?}: {refused}");
    }
    let version = Ended::of(&mut command(&["--version"]));
    assert!(version.status.success(), "{version}");
}

#[tokio::test]
async fn the_demo_does_what_it_says() {
    let plugins = std::env::var("TIDEGATE_PLUGINS").expect("set by cargo xtask test");
    let demo = Process::start(command(&["demo", "--port", "0", "--plugins", &plugins]));
    demo.stderr().wait(&[" serving "]).await;

    // The test takes the address and what to copy from what the demo prints, as a person would.
    let url = demo.stdout().wait(&["curl", "https://localhost:"]).await;
    let port = url.split("localhost:").nth(1).and_then(|rest| rest.split('/').next()).expect("a port");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    let copy = demo.stdout().wait(&["cp ", "/spare/"]).await;
    let spare =
        copy.split_whitespace().nth(1).and_then(|path| path.strip_suffix(".*")).expect("a path").to_owned();
    let folder = Path::new(&spare).parent().and_then(Path::parent).expect("a folder");
    let certificate = CertificateDer::from_pem_file(folder.join("certificate.pem")).expect("a certificate");

    for alpn in [&["h2"][..], &["http/1.1"]] {
        let options = TlsOptions { alpn, ..TlsOptions::trusting(&certificate, "localhost") };
        let mut client = Client::tls(address, &options).await.expect("a handshake");
        for (target, origin, asked) in [
            ("/", "site", "/"),
            ("/api/users", "api", "/api/users"),
            ("/images/logo.png", "images", "/images/logo.png"),
            ("/old/page", "site", "/new/page"),
        ] {
            let seen = client.get(target).await.json();
            assert_eq!(seen["origin"], origin, "{target}");
            assert_eq!(seen["target"], asked, "{target}");
        }
        assert_eq!(client.get("/admin").await.status, 403);
        let redirect = client.get("/go/away").await;
        assert_eq!(redirect.status, 301);
        assert_eq!(redirect.header("location"), "https://example.com/away");

        // A policy copied into the directory decides the next answers, until its file is removed.
        let dropped = folder.join("plugins/05-closed");
        for ending in ["wasm", "toml"] {
            std::fs::copy(format!("{spare}.{ending}"), dropped.with_extension(ending))
                .expect("a writable folder");
        }
        wait_for_status(&mut client, 503).await;
        for ending in ["wasm", "toml"] {
            std::fs::remove_file(dropped.with_extension(ending)).expect("a file");
        }
        wait_for_status(&mut client, 200).await;
    }
}

async fn wait_for_status(client: &mut Client, status: u16) {
    within(&format!("status {status}"), async {
        while client.get("/").await.status != status {
            // With a pause, as the proxy closes a connection after limits.requests-per-connection.
            a_moment().await;
        }
    })
    .await;
}

#[tokio::test]
async fn check_finds_what_would_hurt_later() {
    let app = Upstream::echo("app").await;
    let checked = Proxy::builder(&app)
        .section("[access-log]\npath = \"nowhere/access.log\"")
        .section("[files.www]\nroot = \"www\"")
        .file("www/a", "a")
        .check();
    assert!(checked.stdout.contains("access-log.path: cannot write"), "{}", checked.stdout);

    // The file may stand alone.
    let folder = Proxy::builder(&app).write();
    std::os::unix::fs::symlink("/etc", folder.path().join("etc")).expect("a link");
    let file = folder.path().join("tidegate.toml");
    let text = std::fs::read_to_string(&file).expect("a text");
    std::fs::write(&file, text + "[files.www]\nroot = \".\"\n").expect("a writable file");
    let checked = Ended::of(command(&["check"]).arg(&file));
    assert!(checked.status.success(), "{checked}");
    assert!(checked.stdout.contains("etc is a symbolic link, which is not followed"), "{checked}");
}

#[tokio::test]
async fn a_route_that_leads_nowhere_is_told_of() {
    let app = Upstream::echo("app").await;
    let rules = "[config]\nrules = [{ paths = [\"/a\"], to = \"ap\" }, { to = \"app\" }]";
    let checked = Proxy::builder(&app).plugin("1-router", stock("router"), rules).check();
    assert!(checked.status.success(), "{checked}");
    assert!(
        checked.stdout.contains("1-router.toml: it routes to \"ap\", and there is no upstream"),
        "{checked}"
    );
    let proxy = Proxy::builder(&app).plugin("1-router", stock("router"), rules).start().await;
    proxy.log().wait(&["WARN reload", "it routes to \"ap\""]).await;
}
