//! Files change while requests are served: nothing is lost, and what is broken changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidegate_tests::{
    Authority, Builder, Client, Process, Proxy, Upstream, command, empty, guest, request, stock, until,
};

fn settings(mark: &str) -> String {
    format!("[config]\nvalue = \"{mark}\"")
}

fn stamped(app: &Upstream) -> Builder {
    Proxy::builder(app).plugin("1-stamp", guest("stamp"), &settings("first"))
}

/// The stamp that policies put on a request that arrives now.
async fn stamp(proxy: &Proxy) -> String {
    let answer = proxy.get("/").await;
    if answer.status != 200 {
        return format!("not served: {}", answer.status);
    }
    answer.json()["headers"]["x-stamp"].as_str().unwrap_or_default().to_owned()
}

/// Waits until policies put this stamp on requests.
async fn until_stamp(proxy: &Proxy, expected: &str) {
    until(&format!("the stamp {expected:?}"), async || stamp(proxy).await == expected).await;
}

/// Replaces a file as most programs do: written aside, renamed over.
fn rename_over(path: &Path, content: impl AsRef<[u8]>) {
    let aside = path.with_extension("new");
    fs::write(&aside, content).expect("a writable folder");
    fs::rename(aside, path).expect("the same file system");
}

#[tokio::test]
async fn plugins_are_added_changed_and_removed() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    assert_eq!(stamp(&proxy).await, "first");

    // Written in place, settings first or code first.
    fs::write(proxy.plugin_path("2-stamp.toml"), settings("second")).expect("a writable folder");
    fs::write(proxy.plugin_path("2-stamp.wasm"), guest("stamp")).expect("a writable folder");
    until_stamp(&proxy, "first, second").await;

    fs::write(proxy.plugin_path("1-stamp.toml"), settings("changed")).expect("a writable folder");
    until_stamp(&proxy, "changed, second").await;

    rename_over(&proxy.plugin_path("2-stamp.toml"), settings("renamed"));
    until_stamp(&proxy, "changed, renamed").await;

    // The code is replaced by another one.
    rename_over(&proxy.plugin_path("1-stamp.wasm"), guest("counter"));
    fs::write(proxy.plugin_path("1-stamp.toml"), "").expect("a writable folder");
    until_stamp(&proxy, "renamed").await;
    assert!(proxy.get("/").await.header("x-attribute").parse::<u64>().is_ok());

    fs::remove_file(proxy.plugin_path("1-stamp.wasm")).expect("a file");
    fs::remove_file(proxy.plugin_path("1-stamp.toml")).expect("a file");
    fs::remove_file(proxy.plugin_path("2-stamp.wasm")).expect("a file");
    fs::remove_file(proxy.plugin_path("2-stamp.toml")).expect("a file");
    until_stamp(&proxy, "").await;
}

#[tokio::test]
async fn a_swapped_symbolic_link_is_a_change() {
    // As Kubernetes mounts a ConfigMap: NAME -> ..data/NAME, ..data -> ..VERSION.
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .file("plugins/..v1/1-stamp.wasm", guest("stamp"))
        .file("plugins/..v1/1-stamp.toml", settings("v1"))
        .file("plugins/..v2/1-stamp.wasm", guest("stamp"))
        .file("plugins/..v2/1-stamp.toml", settings("v2"))
        .start()
        .await;
    let plugins = proxy.plugin_path("");
    symlink("..v1", plugins.join("..data")).expect("a link");
    symlink("..data/1-stamp.toml", plugins.join("1-stamp.toml")).expect("a link");
    symlink("..data/1-stamp.wasm", plugins.join("1-stamp.wasm")).expect("a link");
    until_stamp(&proxy, "v1").await;

    symlink("..v2", plugins.join("..data_tmp")).expect("a link");
    fs::rename(plugins.join("..data_tmp"), plugins.join("..data")).expect("a swap");
    until_stamp(&proxy, "v2").await;
}

#[tokio::test]
async fn a_half_copied_plugin_is_waited_for() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    let whole = guest("stamp");
    let path = proxy.plugin_path("2-stamp.wasm");
    fs::write(proxy.plugin_path("2-stamp.toml"), settings("copied")).expect("a writable folder");
    let mut copy = fs::File::create(&path).expect("a writable folder");
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    // While the file is copied slowly, requests are answered as before.
    for chunk in whole.chunks(whole.len() / 10 + 1) {
        copy.write_all(chunk).expect("a writable file");
        pause.tick().await;
        assert_eq!(proxy.get("/").await.status, 200);
    }
    drop(copy);
    until_stamp(&proxy, "first, copied").await;
    assert_eq!(proxy.log().count("2-stamp.wasm"), 0, "nothing about the half that was there");
}

#[tokio::test]
async fn a_broken_replacement_changes_nothing_and_is_reported_once() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;

    for (file, content, logged) in [
        ("1-stamp.wasm", &b"broken"[..], "not WebAssembly"),
        ("1-stamp.wasm", &guest("future"), "`weather` of `request`"),
        ("1-stamp.toml", b"[config]\nvalue = 7", "1-stamp.toml:2:"),
        ("1-stamp.toml", b"[config]\nvalu = \"x\"", "valu"),
        ("1-stamp.toml", b"on-eror = \"skip\"\n[config]\nvalue = \"x\"", "on-error"),
        ("1-stamp.toml", b"not toml at all", "1-stamp.toml:1:"),
    ] {
        let mark = proxy.log().len();
        let before = fs::read(proxy.plugin_path(file)).expect("a file");
        fs::write(proxy.plugin_path(file), content).expect("a writable file");
        let line = proxy.log().wait_from(mark, &["ERROR", "1-stamp", logged]).await;

        let plugin = proxy.plugin_state("1-stamp", "refused").await;
        assert_eq!(plugin["last_good"], true, "{plugin}");
        assert_eq!(stamp(&proxy).await, "first", "the last good version serves: {line}");
        assert_eq!(proxy.admin("GET", "/readyz").await.status, 200, "requests are served as before");
        // A reload finds the same problem and does not log it again.
        let said = proxy.log().all().iter().filter(|line| line.contains(logged)).count();
        proxy.reload().await;
        assert_eq!(proxy.log().all().iter().filter(|line| line.contains(logged)).count(), said, "{logged}");

        fs::write(proxy.plugin_path(file), before).expect("a writable file");
        proxy.plugin_state("1-stamp", "serving").await;
    }
}

#[tokio::test]
async fn a_plugin_whose_code_is_removed_is_gone_though_its_settings_are_left() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    fs::write(proxy.plugin_path("2-stamp.wasm"), guest("stamp")).expect("a writable folder");
    fs::write(proxy.plugin_path("2-stamp.toml"), settings("second")).expect("a writable folder");
    until_stamp(&proxy, "first, second").await;

    fs::remove_file(proxy.plugin_path("2-stamp.wasm")).expect("a file");

    until_stamp(&proxy, "first").await;
    proxy.log().wait(&["ERROR", "2-stamp.toml", "no 2-stamp.wasm"]).await;
    assert_eq!(proxy.plugin("2-stamp").await, None);
}

#[tokio::test]
async fn a_broken_plugin_that_is_removed_is_forgotten() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    fs::write(proxy.plugin_path("2-broken.wasm"), "broken").expect("a writable folder");
    proxy.plugin_state("2-broken", "refused").await;
    until("its on-error", async || proxy.get("/").await.status == 503).await;
    fs::remove_file(proxy.plugin_path("2-broken.wasm")).expect("a file");
    until_stamp(&proxy, "first").await;
    assert_eq!(proxy.plugin("2-broken").await, None);
}

#[tokio::test]
async fn the_configuration_is_reloaded() {
    let (app, other) = (Upstream::echo("app").await, Upstream::echo("other").await);
    let proxy = stamped(&app).upstream("other", &other).start().await;
    let path = proxy.folder().join("tidegate.toml");
    let text = fs::read_to_string(&path).expect("a file");

    let changed = text.replace("default-upstream = \"app\"", "default-upstream = \"other\"");
    rename_over(&path, &changed);
    until("the other upstream", async || proxy.get("/").await.json()["upstream"] == "other").await;

    // A file that cannot be used changes nothing. The proxy logs all that is wrong and where, once.
    let mark = proxy.log().len();
    let broken = format!("{changed}\n[upstrem.x]\nservers = []\n[limits]\nrequest-body = \"5 apples\"\n");
    rename_over(&path, &broken);
    proxy.log().wait_from(mark, &["ERROR", "tidegate.toml:", "upstrem", "upstream"]).await;
    proxy.log().wait_from(mark, &["ERROR", "tidegate.toml:", "5 apples"]).await;
    assert_eq!(proxy.get("/").await.json()["upstream"], "other");
    let refused = proxy.reload().await;
    assert_eq!(refused.status, 422);
    let problems = refused.json()["problems"].as_array().expect("problems").clone();
    assert!(
        problems.iter().any(|problem| problem.as_str().is_some_and(|text| text.contains("upstrem"))),
        "{problems:?}"
    );
    assert_eq!(proxy.log().all().iter().filter(|line| line.contains("5 apples")).count(), 1);

    rename_over(&path, &text);
    until("the first upstream", async || proxy.get("/").await.json()["upstream"] == "app").await;
}

#[tokio::test]
async fn sighup_forces_a_reload() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    fs::write(proxy.plugin_path("1-stamp.toml"), settings("second")).expect("a writable file");
    let mark = proxy.log().len();
    proxy.signal(Signal::HUP);
    proxy.log().wait_from(mark, &["SIGHUP"]).await;
    assert_eq!(stamp(&proxy).await, "second");
}

#[tokio::test]
async fn a_listener_that_stays_is_never_closed() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    let mut kept = proxy.both().await;
    for client in &mut kept {
        assert_eq!(client.get("/").await.status, 200);
    }
    let path = proxy.folder().join("tidegate.toml");
    let text = fs::read_to_string(&path).expect("a file");
    let mark = proxy.log().len();
    fs::write(&path, format!("{text}\n[listener.second]\naddress = \"127.0.0.1:0\"\n"))
        .expect("a writable file");
    let line = proxy.log().wait_from(mark, &["listening", "second"]).await;
    let second =
        line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    let second = second.parse().expect("an address");
    let mut on_second = Client::http1(second).await;
    assert_eq!(on_second.get("/").await.status, 200);

    // The proxy accepts no new connections to a listener that was removed; open ones go on.
    fs::write(&path, &text).expect("a writable file");
    until("the second listener to close", async || tokio::net::TcpStream::connect(second).await.is_err())
        .await;
    for client in &mut kept {
        assert_eq!(client.get("/").await.status, 200, "connections to the listener that stayed");
    }
}

#[tokio::test]
async fn an_exchange_keeps_the_generation_it_began_with() {
    let (app, feed) = Upstream::fed("").await;
    let proxy = stamped(&app).start().await;
    let mut client = proxy.http1().await;
    let slow = client.start_get("/slow").await;
    assert_eq!(slow.headers()["x-stamp"], "first");

    // Another version of the policy takes the place of the first.
    fs::write(proxy.plugin_path("1-stamp.toml"), settings("second")).expect("a writable file");
    until("the new policy", async || proxy.get("/").await.all("x-stamp") == "second").await;

    feed.complete(slow).await;
    // The version of the policy that saw the request gets the log phase as well.
    proxy.log().wait(&["first logged /slow 200"]).await;
}

#[tokio::test]
async fn a_removed_upstream_finishes_what_it_has() {
    let (old, feed) = Upstream::fed("").await;
    let new = Upstream::echo("new").await;
    let proxy = Proxy::builder(&old).start().await;
    let mut client = proxy.http1().await;
    let slow = client.start_get("/slow").await;

    let path = proxy.folder().join("tidegate.toml");
    let text = fs::read_to_string(&path).expect("a file");
    rename_over(&path, text.replace(&old.address().to_string(), &new.address().to_string()));
    until("the new upstream", async || {
        let answer = proxy.get("/").await;
        answer.status == 200 && !answer.body.is_empty()
    })
    .await;

    feed.complete(slow).await;
}

/// For `times` looks in a row, a hundredth of a second apart.
async fn always(times: u32, mut holds: impl AsyncFnMut()) {
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..times {
        pause.tick().await;
        holds().await;
    }
}

const CLOSED: &str = "[[config.rules]]\npaths = [\"/open\"]\nallow = [\"0.0.0.0/0\"]\n\n[[config.rules]]\npaths = [\"/closed/**\"]\ndeny = true\n";

#[tokio::test]
async fn a_policy_whose_files_are_swapped_is_never_away() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("10-access", stock("access-control"), CLOSED).start().await;
    let (wasm, toml) = (proxy.plugin_path("10-access.wasm"), proxy.plugin_path("10-access.toml"));
    let mut client = proxy.http1().await;
    let mut denied = async |what: &str| {
        always(60, async || assert_eq!(client.get("/closed/x").await.status, 403, "{what}")).await;
    };
    denied("before").await;

    fs::remove_file(&wasm).expect("a file");
    denied("without its code").await;
    fs::write(&wasm, stock("access-control")).expect("a writable folder");
    denied("with its code").await;

    fs::remove_file(&toml).expect("a file");
    denied("without its settings").await;
    fs::write(&toml, CLOSED).expect("a writable folder");
    denied("with its settings").await;

    fs::remove_file(&wasm).expect("a file");
    fs::remove_file(&toml).expect("a file");
    denied("without any file").await;
    fs::write(&wasm, stock("access-control")).expect("a writable folder");
    denied("with code whose settings come after it").await;
    fs::write(&toml, CLOSED).expect("a writable folder");
    denied("with both").await;

    // The first half is a valid file without the rule that matters.
    let (first, second) = CLOSED.split_at(CLOSED.rfind("[[").expect("a second rule"));
    let mut file = fs::File::create(&toml).expect("a writable file");
    file.write_all(first.as_bytes()).expect("a writable file");
    denied("with the half that is written").await;
    file.write_all(second.as_bytes()).expect("a writable file");
    drop(file);
    denied("with the whole").await;
    // The same, but closed in between, and of other rules: the writer has it open.
    let other = format!("# rules\n{CLOSED}");
    let (first, second) = other.split_at(other.rfind("[[").expect("a second rule"));
    let mut file = fs::File::create(&toml).expect("a writable file");
    file.write_all(first.as_bytes()).expect("a writable file");
    denied("with half of other settings").await;
    file.write_all(second.as_bytes()).expect("a writable file");
    drop(file);
    denied("with other settings").await;

    // Who asks for a reload does not wait.
    fs::remove_file(&wasm).expect("a file");
    fs::remove_file(&toml).expect("a file");
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(proxy.get("/closed/x").await.status, 200);
}

#[tokio::test]
async fn a_required_policy_whose_files_are_gone_serves_until_that_is_confirmed() {
    let app = Upstream::echo("app").await;
    let settings = format!("required = true\n{CLOSED}");
    let proxy = Proxy::builder(&app).plugin("10-access", stock("access-control"), &settings).start().await;
    fs::remove_file(proxy.plugin_path("10-access.wasm")).expect("a file");
    fs::remove_file(proxy.plugin_path("10-access.toml")).expect("a file");
    proxy.log().wait(&["ERROR", "10-access.wasm", "required"]).await;
    assert_eq!(proxy.get("/closed/x").await.status, 403);
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(proxy.get("/closed/x").await.status, 200);
}

#[tokio::test]
async fn new_code_does_not_run_before_its_settings_are_there() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    fs::write(proxy.plugin_path("2-counter.wasm"), guest("counter")).expect("a writable folder");
    let mut client = proxy.http1().await;
    always(60, async || assert_eq!(client.get("/").await.header("x-attribute"), "")).await;
    fs::write(proxy.plugin_path("2-counter.toml"), "match = { paths = [\"/counted\"] }").expect("a file");
    until("the counter", async || !proxy.get("/counted").await.header("x-attribute").is_empty()).await;
    assert_eq!(proxy.get("/").await.header("x-attribute"), "");
}

#[tokio::test]
async fn what_is_no_file_is_reported_and_stops_nothing() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    let plugins = proxy.plugin_path("");
    fs::create_dir(plugins.join("2-folder.wasm")).expect("a folder");
    symlink("nowhere", plugins.join("3-dangling.wasm")).expect("a link");
    symlink("4-loop.wasm", plugins.join("4-loop.wasm")).expect("a link");
    for name in ["5-fifo.wasm", "6-fifo.toml"] {
        let made = std::process::Command::new("mkfifo").arg(plugins.join(name)).status();
        assert!(made.expect("mkfifo").success());
    }
    let misnamed = std::ffi::OsStr::from_bytes(b"7-\xff.wasm");
    fs::write(plugins.join(misnamed), guest("counter")).expect("a writable folder");
    for name in ["2-folder.wasm", "3-dangling.wasm", "4-loop.wasm", "5-fifo.wasm", "6-fifo.toml", "UTF-8"] {
        proxy.log().wait(&["ERROR", name]).await;
    }
    assert_eq!(stamp(&proxy).await, "first");
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
    assert_eq!(proxy.plugin("2-folder").await.expect("an entry")["state"], "refused");

    // Reloads go on.
    fs::write(proxy.plugin_path("1-stamp.toml"), settings("second")).expect("a writable file");
    until_stamp(&proxy, "second").await;
    assert_eq!(proxy.reload().await.status, 422);

    // Of a policy that serves, neither what takes its place nor what takes that of its settings changes anything.
    let mark = proxy.log().len();
    fs::remove_file(plugins.join("1-stamp.wasm")).expect("a file");
    fs::create_dir(plugins.join("1-stamp.wasm")).expect("a folder");
    proxy.log().wait_from(mark, &["ERROR", "1-stamp.wasm", "directory"]).await;
    assert_eq!(stamp(&proxy).await, "second");
}

#[tokio::test]
async fn a_configuration_or_a_certificate_that_nobody_writes_holds_up_nothing() {
    let app = Upstream::echo("app").await;
    let leaf = Authority::new().sign(&["a.test"]);
    let proxy = Proxy::builder(&app)
        .tls_listener("secure", &leaf, "")
        .plugin("1-stamp", guest("stamp"), &settings("first"))
        .start()
        .await;
    let files = fs::read_dir(proxy.folder()).expect("a folder").flatten().map(|entry| entry.path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    assert_eq!(files.len(), 3, "configuration, chain and key: {files:?}");
    for path in files {
        let before = fs::read(&path).expect("a file");
        fs::remove_file(&path).expect("a file");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        let refused = proxy.reload().await;
        assert_eq!(refused.status, 422);
        assert!(refused.text().contains("FIFO"), "{}", refused.text());
        assert_eq!(stamp(&proxy).await, "first");
        fs::remove_file(&path).expect("a file");
        fs::write(&path, before).expect("a writable folder");
        assert_eq!(proxy.reload().await.status, 200);
    }
}

/// Sends requests that make the guest `misbehave` fail.
async fn trap(proxy: &Proxy, times: u32) -> Vec<u16> {
    let mut client = proxy.http1().await;
    let mut statuses = Vec::new();
    for _ in 0..times {
        let request = request("GET", "/").header("x-do", "trap").body(empty()).expect("valid");
        statuses.push(client.send(request).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_version_that_always_fails_is_rolled_back_to_the_last_that_served_well() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    assert_eq!(stamp(&proxy).await, "first");
    // Two versions of a bad one, as its settings come after its code. The first of them has no calls.
    fs::write(proxy.plugin_path("1-stamp.wasm"), guest("misbehave")).expect("a writable file");
    for configure in ["nothing", "nothing at all"] {
        let text = format!("[config]\nconfigure = \"{configure}\"");
        fs::write(proxy.plugin_path("1-stamp.toml"), text).expect("a writable file");
        assert_eq!(proxy.reload().await.status, 200);
    }

    assert_eq!(trap(&proxy, 20).await, [503; 20]);

    proxy.log().wait(&["ERROR", "1-stamp", "serves again"]).await;
    until("the version before", async || stamp(&proxy).await == "first").await;
    let plugin = proxy.plugin("1-stamp").await.expect("an entry");
    assert_eq!((&plugin["state"], &plugin["last_good"]), (&"refused".into(), &true.into()), "{plugin}");

    // Only its own files bring it back.
    let path = proxy.folder().join("tidegate.toml");
    let text = fs::read_to_string(&path).expect("a file");
    let more = format!("{text}\n[upstream.more]\nservers = [\"{}\"]\n", app.address());
    fs::write(&path, more).expect("a writable file");
    assert_eq!(proxy.reload().await.status, 422);
    assert_eq!(stamp(&proxy).await, "first");
    fs::write(proxy.plugin_path("1-stamp.toml"), "[config]\nconfigure = \"other\"").expect("a writable file");
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(stamp(&proxy).await, "");
}

#[tokio::test]
async fn a_few_crafted_requests_do_not_bring_an_old_version_back() {
    let app = Upstream::echo("app").await;
    let proxy = stamped(&app).start().await;
    assert_eq!(stamp(&proxy).await, "first");
    fs::write(proxy.plugin_path("1-stamp.wasm"), guest("misbehave")).expect("a writable file");
    fs::write(proxy.plugin_path("1-stamp.toml"), "").expect("a writable file");
    assert_eq!(proxy.reload().await.status, 200);
    for _ in 0..30 {
        assert_eq!(proxy.get("/").await.status, 200);
    }
    trap(&proxy, 40).await;
    // The control thread has looked by the time it has answered.
    assert_eq!(proxy.reload().await.json()["generation"], 2);
    assert_eq!(proxy.plugin("1-stamp").await.expect("an entry")["state"], "serving");
}

#[tokio::test]
async fn a_destination_that_a_policy_does_not_name_makes_no_new_version_of_it() {
    let app = Upstream::echo("app").await;
    let named = format!("grants = {{ routes = [\"app\"] }}\n{}", settings("first"));
    let proxy = Proxy::builder(&app).plugin("1-stamp", guest("stamp"), &named).start().await;
    let path = proxy.folder().join("tidegate.toml");
    let text = fs::read_to_string(&path).expect("a file");
    let more = format!("{text}\n[upstream.more]\nservers = [\"{}\"]\n", app.address());
    fs::write(&path, more).expect("a writable file");
    assert_eq!(proxy.reload().await.json()["generation"], 2);
    assert_eq!(proxy.plugin("1-stamp").await.expect("an entry")["generation"], 1);

    // One that it names is missed, and found again.
    let renamed = text.replace("[upstream.app]", "[upstream.other]").replace("= \"app\"", "= \"other\"");
    fs::write(&path, renamed).expect("a writable file");
    let missed = proxy.reload().await;
    assert_eq!(missed.status, 422);
    assert!(missed.text().contains("1-stamp.toml:1:"), "{}", missed.text());
    fs::write(&path, &text).expect("a writable file");
    assert_eq!(proxy.reload().await.status, 200);
}

/// A component that takes minutes to compile: one function of many loops that all change many variables.
fn slow_to_compile() -> Vec<u8> {
    const VARIABLES: usize = 2000;
    const LOOPS: usize = 1500;
    const I64: u8 = 0x7e;
    let number = |mut number: usize| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push((number % 0x80) as u8 | 0x80);
            number /= 0x80;
        }
        bytes.push(number as u8);
        bytes
    };
    let section = |id: u8, content: &[u8]| [&[id][..], &number(content.len()), content].concat();
    let variable = |n: usize| number(n % VARIABLES);
    let mut body = [&[1][..], &number(VARIABLES), &[I64]].concat();
    for n in 0..LOOPS {
        // loop; local.get; local.get; i64.add; local.set
        body.extend(
            [0x03, 0x40, 0x20].into_iter().chain(variable(n)).chain([0x20]).chain(variable(7 * n + 1)),
        );
        body.extend([0x7c, 0x21].into_iter().chain(variable(13 * n + 2)));
    }
    for n in 0..LOOPS {
        // local.get; i64.eqz; br_if 0; end
        body.extend([0x20].into_iter().chain(variable(n)).chain([0x50, 0x0d, 0x00, 0x0b]));
    }
    body.push(0x0b);
    let code = [&[1][..], &number(body.len()), &body].concat();
    let function = [section(1, b"\x01\x60\0\0"), section(3, b"\x01\0"), section(10, &code)].concat();
    let module = [&b"\0asm\x01\0\0\0"[..], &function].concat();
    [&b"\0asm\x0d\0\x01\0"[..], &section(1, &module)].concat()
}

#[tokio::test]
async fn while_a_plugin_compiles_the_others_are_looked_after() {
    let app = Upstream::echo("app").await;
    let mut proxy = stamped(&app).start().await;
    assert_eq!(stamp(&proxy).await, "first");
    fs::write(proxy.plugin_path("1-stamp.wasm"), guest("misbehave")).expect("a writable file");
    fs::write(proxy.plugin_path("1-stamp.toml"), "").expect("a writable file");
    assert_eq!(proxy.reload().await.status, 200);
    fs::write(proxy.plugin_path("2-slow.toml"), "").expect("a writable folder");
    fs::write(proxy.plugin_path("2-slow.wasm"), slow_to_compile()).expect("a writable folder");
    proxy.log().wait(&["loading", "2-slow"]).await;

    assert_eq!(trap(&proxy, 20).await, [503; 20]);
    until_stamp(&proxy, "first").await;
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);

    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert_eq!(proxy.log().count("2-slow.wasm"), 0, "it was still being compiled");
}

#[tokio::test]
async fn traffic_does_not_notice_how_long_a_policy_configures_itself() {
    let app = Upstream::echo("app").await;
    let busy = |reuse: u32| {
        format!(
            "match = {{ paths = [\"/never\"] }}\nlimits = {{ reuse = {reuse} }}\n[config]\nconfigure = \"work\""
        )
    };
    let proxy = Proxy::builder(&app).plugin("1-busy", guest("misbehave"), &busy(100)).start().await;
    let mut client = proxy.http1().await;
    assert_eq!(client.get("/").await.status, 200);
    fs::write(proxy.plugin_path("1-busy.toml"), busy(200)).expect("a writable file");
    let began = Instant::now();
    let mut reload = std::pin::pin!(proxy.reload());
    let mut longest = Duration::ZERO;
    let reloaded = loop {
        let sent = Instant::now();
        let done = tokio::select! {
            biased;
            reloaded = &mut reload => Some(reloaded),
            answer = client.get("/") => {
                assert_eq!(answer.status, 200);
                None
            }
        };
        longest = longest.max(sent.elapsed());
        if let Some(reloaded) = done {
            break reloaded;
        }
    };
    assert_eq!(reloaded.status, 200);
    // One to look at, and one for each worker, one after the other.
    let configuring = began.elapsed();
    assert!(longest * 4 < configuring, "a request took {longest:?} of {configuring:?}");
}

#[tokio::test]
async fn a_plugin_that_compiles_at_the_start_does_not_keep_the_proxy_from_ending() {
    let app = Upstream::echo("app").await;
    let folder = Proxy::builder(&app).plugin("1-slow", slow_to_compile(), "").write();
    let mut run = command(&["run", "--config"]);
    run.arg(folder.path().join("tidegate.toml"));
    let mut process = Process::start(run);
    process.stderr().wait(&["loading", "1-slow"]).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(process.stderr().count("serving"), 0);
}

/// How often the files change in [`reloads_under_load_lose_nothing`]: 20, or 100 with
/// `TIDEGATE_TEST_FULL` set.
fn rounds() -> u32 {
    if std::env::var_os("TIDEGATE_TEST_FULL").is_some() { 100 } else { 20 }
}

#[tokio::test]
async fn reloads_under_load_lose_nothing() {
    let (blue, green) = (Upstream::echo("blue").await, Upstream::echo("green").await);
    let to = |color: &str| format!("[config]\nrules = [{{ paths = [\"/**\"], to = \"{color}\" }}]");
    let proxy = Proxy::builder(&blue)
        // The clients of this test do not connect again.
        .section("[limits]\nrequests-per-connection = 1000000000")
        .upstream("blue", &blue)
        .upstream("green", &green)
        .plugin("1-stamp", guest("stamp"), &settings("blue"))
        .plugin("2-router", stock("router"), &to("blue"))
        .start()
        .await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for n in 0..6 {
        let client = if n % 2 == 0 { proxy.http1().await } else { proxy.http2().await };
        load.spawn(requests_until(Arc::clone(&stop), client));
    }
    let turn = async |round: u32, color: &str| {
        // Each round changes the files in another way; all ways lead to this color.
        fs::write(proxy.plugin_path("2-router.toml"), to(color)).expect("a writable file");
        rename_over(&proxy.plugin_path("1-stamp.toml"), settings(color));
        if round.is_multiple_of(4) {
            rename_over(&proxy.plugin_path("2-router.wasm"), stock("router"));
        }
        if round.is_multiple_of(5) {
            let path = proxy.folder().join("tidegate.toml");
            let text = fs::read_to_string(&path).expect("a file");
            let text = text.split("# round").next().expect("a first part").trim_end().to_owned();
            rename_over(
                &path,
                format!("{text}\n# round {round}\n[timeouts]\nkeep-alive = \"{}s\"\n", 100 + round),
            );
        }
        if round.is_multiple_of(3) {
            fs::write(proxy.plugin_path("3-broken.wasm"), "broken").expect("a writable file");
            fs::write(proxy.plugin_path("3-broken.toml"), "on-error = \"skip\"").expect("a writable file");
        } else {
            let _ = fs::remove_file(proxy.plugin_path("3-broken.wasm"));
            let _ = fs::remove_file(proxy.plugin_path("3-broken.toml"));
        }
        let reloaded = proxy.reload().await;
        // The broken plugin is reported; everything else is live all the same.
        let expected = if round.is_multiple_of(3) { 422 } else { 200 };
        assert_eq!(reloaded.status, expected, "{}", reloaded.text());
        // From here on the new files serve every request.
        let seen = proxy.get("/after").await.json();
        assert_eq!(seen["upstream"], color);
        assert_eq!(seen["headers"]["x-stamp"], color);
    };
    for round in 1..=10 {
        turn(round, if round % 2 == 0 { "blue" } else { "green" }).await;
    }
    let memory = proxy.resident_memory();
    for round in 11..=10 + rounds() {
        turn(round, if round % 2 == 0 { "blue" } else { "green" }).await;
    }
    stop.store(true, Relaxed);

    let mut served = 0;
    let mut colors = BTreeSet::new();
    while let Some(outcome) = load.join_next().await {
        let (count, seen) = outcome.expect("every request succeeded");
        served += count;
        colors.extend(seen);
    }
    assert!(served > 200, "only {served} requests were served meanwhile");
    assert_eq!(colors, BTreeSet::from(["blue".to_owned(), "green".to_owned()]));
    let grown = proxy.resident_memory().saturating_sub(memory);
    assert!(grown < 32 << 20, "{grown} bytes more after {} reloads", rounds());
}

/// Sends requests on one connection; panics on the first that fails or is not of one generation.
async fn requests_until(stop: Arc<AtomicBool>, mut client: Client) -> (u64, BTreeSet<String>) {
    let mut count = 0;
    let mut colors = BTreeSet::new();
    while !stop.load(Relaxed) {
        let answer = client.get("/load").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = answer.json();
        let color = seen["upstream"].as_str().expect("a name").to_owned();
        let stamp = answer.header("x-stamp");
        assert_eq!(seen["headers"]["x-stamp"], stamp, "request and response phase are of one generation");
        colors.insert(color);
        count += 1;
    }
    (count, colors)
}
