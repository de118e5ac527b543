//! `[acme]`: certificates that the proxy obtains by itself, from an authority that plays by the rules or does not.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::Value;
use tidegate_tests::{
    Acme, Authority, Builder, Proxy, Redis, Refusal, TlsOptions, Upstream, body, eventually, stock,
    tls_resumes, until,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A proxy with `web`, and `secure` for these names; what it obtains is kept in `storage`.
fn builder(app: &Upstream, acme: &Acme, storage: &Path, names: &str, more: &str) -> Builder {
    Proxy::builder(app)
        .file("acme.pem", acme.authority().pem())
        .section(&format!(
            "[acme]\ndirectory = \"{}\"\nca = \"acme.pem\"\nstorage = \"{}\"\n{more}",
            acme.directory(),
            storage.display()
        ))
        .listener("secure", &format!("tls = {{ acme = [{names}] }}"))
}

fn storage() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Has the name lead to this proxy.
fn lead(acme: &Acme, name: &str, proxy: &Proxy) {
    acme.lead(name, Some(proxy.address("web")), Some(proxy.address("secure")));
}

/// Whether a client that trusts the authority gets what it asked for.
async fn is_served(proxy: &Proxy, acme: &Acme, name: &str) -> bool {
    proxy.tls("secure", &TlsOptions::new(acme.authority(), name)).await.is_ok()
}

/// Waits until the authority is told that it can look.
async fn until_shown(acme: &Acme) {
    until("the name is shown", async || acme.orders().iter().any(|order| order.challenge.is_some())).await;
}

async fn until_served(proxy: &Proxy, acme: &Acme, name: &str) {
    until(&format!("a certificate for {name}"), async || is_served(proxy, acme, name).await).await;
}

/// What the admin interface says of a name.
async fn told(proxy: &Proxy, name: &str) -> Value {
    let told = proxy.admin("GET", "/api/v1/acme").await.json();
    let names = told["names"].as_array().expect("a list of names");
    names.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {told}")).clone()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs()
}

#[tokio::test]
async fn a_name_is_served_as_soon_as_the_authority_has_seen_it() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    acme.set_looking(false);
    let denied = "[config]\nrules = [{ paths = [\"/**\"], allow = [\"192.0.2.1\"] }]";
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "email = \"ops@example.com\"")
        .plugin("10-access", stock("access-control"), denied)
        .start()
        .await;
    lead(&acme, "a.test", &proxy);
    // Until then it answers all the same, with what nobody believes.
    assert!(!is_served(&proxy, &acme, "a.test").await);
    until_shown(&acme).await;
    let ready = proxy.admin("GET", "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("listener secure: no certificate yet for a.test"), "{}", ready.text());
    assert_eq!(told(&proxy, "a.test").await["state"], "missing");

    acme.set_looking(true);
    until_served(&proxy, &acme, "a.test").await;
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
    let said = told(&proxy, "a.test").await;
    assert_eq!((&said["state"], &said["issued-by"]), (&"valid".into(), &acme.directory().into()), "{said}");
    let order = acme.orders().remove(0);
    assert_eq!((order.challenge.as_deref(), &order.replaces), (Some("http-01"), &None));
    // No policy was asked, and other paths below are as all others.
    let path = format!("/.well-known/acme-challenge/{}", order.token);
    let seen = proxy.accesses(&path, 1).await;
    assert_eq!((&seen[0]["status"], &seen[0]["route"]), (&200.into(), &Value::Null));
    assert_eq!(proxy.get(&path).await.status, 403);
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(storage.path().join(path)).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(mode("certificates/a.test.pem"), 0o600);
    for left in ["challenges/http-01", "leases"] {
        until("nothing is left", async || {
            fs::read_dir(storage.path().join(left)).expect("a folder").next().is_none()
        })
        .await;
    }

    // The next start needs nobody.
    drop(proxy);
    acme.set_down(true);
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    assert!(is_served(&proxy, &acme, "a.test").await);
    assert_eq!((acme.orders().len(), acme.accounts().len()), (1, 1));
}

#[tokio::test]
async fn a_handshake_of_the_authority_needs_no_client_certificate() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let clients = Authority::new();
    acme.set_looking(false);
    let secure = "tls = { acme = [\"a.test\"], client-ca = \"clients.pem\", client-auth = \"required\" }";
    let proxy = Proxy::bare()
        .top("default-upstream = \"app\"")
        .upstream("app", &app)
        .file("clients.pem", clients.pem())
        .file("acme.pem", acme.authority().pem())
        .section(&format!(
            "[acme]\ndirectory = \"{}\"\nca = \"acme.pem\"\nstorage = \"{}\"",
            acme.directory(),
            storage.path().display()
        ))
        .listener("secure", secure)
        .start()
        .await;
    acme.lead("a.test", None, Some(proxy.address("secure")));
    acme.set_looking(true);
    let leaf = clients.sign(&["client"]);
    let options = TlsOptions { client: Some(&leaf), ..TlsOptions::new(acme.authority(), "a.test") };
    until("a certificate", async || proxy.tls("secure", &options).await.is_ok()).await;
    assert_eq!(acme.orders()[0].challenge.as_deref(), Some("tls-alpn-01"));
    let mut client = proxy.tls("secure", &options).await.expect("a handshake");
    assert_eq!(client.get("/").await.status, 200);
    // The protocol is nobody else's.
    let alpn = TlsOptions { alpn: &["acme-tls/1"], ..TlsOptions::new(acme.authority(), "a.test") };
    assert!(proxy.tls("secure", &alpn).await.is_err());
}

#[tokio::test]
async fn proxies_that_share_a_storage_are_one() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    acme.set_looking(false);
    let one = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    until_shown(&acme).await;
    let other = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    // The authority asks the one that has ordered nothing.
    lead(&acme, "a.test", &other);
    acme.set_looking(true);
    for proxy in [&one, &other] {
        until_served(proxy, &acme, "a.test").await;
        assert_eq!(told(proxy, "a.test").await["state"], "valid");
    }
    assert_eq!((acme.orders().len(), acme.accounts().len()), (1, 1));
}

#[tokio::test]
async fn proxies_that_share_tickets_resume_sessions_of_each_other() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    acme.set_looking(false);
    let shared = "share-tickets = true";
    let start = async |more: &str| {
        let builder = builder(&app, &acme, storage.path(), "\"a.test\"", more);
        builder.listener("other", "tls = { acme = [\"a.test\"] }").start().await
    };
    let (one, other) = (start(shared).await, start(shared).await);
    lead(&acme, "a.test", &one);
    acme.set_looking(true);
    for proxy in [&one, &other] {
        until_served(proxy, &acme, "a.test").await;
    }
    let options = TlsOptions::new(acme.authority(), "a.test");
    let resumes = async |one, other| tls_resumes(one, other, &options).await.expect("two handshakes");
    until("a session is resumed", async || resumes(one.address("secure"), other.address("secure")).await)
        .await;
    assert!(resumes(other.address("secure"), one.address("secure")).await);
    assert!(
        !resumes(one.address("secure"), one.address("other")).await,
        "another listener asks for other things"
    );
    // Without it, each has its own.
    let alone = start("").await;
    until_served(&alone, &acme, "a.test").await;
    assert!(resumes(alone.address("secure"), alone.address("secure")).await);
    assert!(!resumes(one.address("secure"), alone.address("secure")).await);
}

#[tokio::test]
async fn what_a_killed_proxy_began_is_done_by_another() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    acme.set_looking(false);
    let one = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    until_shown(&acme).await;
    let other = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    lead(&acme, "a.test", &other);
    drop(one);
    // As when time has passed.
    let lease = File::options().write(true).open(storage.path().join("leases/a.test")).expect("a lease");
    lease.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("a file of ours");
    acme.set_looking(true);
    until_served(&other, &acme, "a.test").await;
    assert_eq!((acme.orders().len(), acme.accounts().len()), (2, 1));
}

#[tokio::test]
async fn a_name_that_cannot_be_validated_costs_itself_alone() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    acme.set_looking(false);
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\", \"b.test\"", "").start().await;
    lead(&acme, "a.test", &proxy);
    acme.set_looking(true);
    until_served(&proxy, &acme, "a.test").await;
    let failure = eventually("b.test to fail", async || {
        told(&proxy, "b.test").await["failures"].as_array().expect("a list").first().cloned()
    })
    .await;
    let error = failure["error"].as_str().expect("a text");
    assert!(error.contains("http-01: unauthorized: b.test leads nowhere; tls-alpn-01: "), "{error}");
    assert!(failure["again-at"].as_u64() > failure["at"].as_u64().map(|at| at + 55), "{failure}");
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
    let orders = acme.orders().len();

    lead(&acme, "b.test", &proxy);
    assert_eq!(proxy.admin("POST", "/api/v1/acme/c.test/renew").await.status, 404);
    assert_eq!(proxy.admin("GET", "/api/v1/acme/b.test/renew").await.status, 405);
    assert_eq!(proxy.admin("POST", "/api/v1/acme/b.test/renew").await.status, 202);
    until_served(&proxy, &acme, "b.test").await;
    assert_eq!(acme.orders().len(), orders + 1);
    let said = told(&proxy, "b.test").await;
    assert_eq!(said["failures"].as_array().map(Vec::len), Some(0), "{said}");
}

#[tokio::test]
async fn limits_of_the_authority_are_kept_and_shown() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    acme.refuse([Refusal {
        path: "/order",
        with: "",
        status: 429,
        kind: "rateLimited",
        retry_after: Some(7200),
        times: usize::MAX,
    }]);
    let before = now();
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    let failure = eventually("a failure", async || {
        told(&proxy, "a.test").await["failures"].as_array().expect("a list").first().cloned()
    })
    .await;
    let again = failure["again-at"].as_u64().expect("a time");
    assert!((before + 7200..=now() + 7200).contains(&again), "{failure}");
    let ready = proxy.admin("GET", "/readyz").await;
    assert!(ready.text().contains("a.test: rateLimited: as the test wants it"), "{}", ready.text());
    let authority = proxy.admin("GET", "/api/v1/acme").await.json()["authorities"][0].clone();
    assert!(authority["paused-until"].as_u64() > Some(now()), "{authority}");
    assert_eq!(acme.requests().iter().filter(|path| *path == "/order").count(), 1);

    // A restart does not make it forget.
    drop(proxy);
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    until("it is read", async || told(&proxy, "a.test").await["next"] == again).await;
    assert_eq!(acme.requests().iter().filter(|path| *path == "/order").count(), 1);
}

#[tokio::test]
async fn a_second_authority_is_asked_when_the_first_is_down() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let second = Acme::start().await;
    acme.set_down(true);
    second.set_looking(false);
    let fallback = format!(
        "fallback = {{ directory = \"{}\", ca = \"second.pem\", profile = \"short\", \
         external-account = {{ id = \"kid-1\", key = {{ file = \"account.key\" }} }} }}",
        second.directory()
    );
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", &fallback)
        .file("second.pem", second.authority().pem())
        .file("account.key", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n")
        .start()
        .await;
    lead(&second, "a.test", &proxy);
    second.set_looking(true);
    until_served(&proxy, &second, "a.test").await;
    assert_eq!(told(&proxy, "a.test").await["issued-by"], second.directory());
    assert_eq!(second.accounts(), [Some("kid-1".to_owned())]);
    assert_eq!(second.orders()[0].profile.as_deref(), Some("short"));
    let log = proxy.log().all().join("\n");
    assert!(log.contains("the authority is left alone for 1"), "{log}");
}

#[tokio::test]
async fn a_wildcard_is_shown_by_a_record() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let [hook, records] = ["hook.sh", "records"].map(|file| storage.path().join(file));
    let said = "echo \"$@\" >> \"$file\"";
    fs::write(
        &hook,
        format!(
            "file=$1; shift\n[ \"$2\" = _acme-challenge.bad.test ] && echo no zone >&2 && exit 3\n{said}\n"
        ),
    )
    .expect("a file");
    acme.set_records(&records);
    let dns = format!(
        "challenges = [\"dns-01\"]\ndns = {{ command = [\"/bin/sh\", \"{}\", \"{}\"], wait = \"0s\" }}",
        hook.display(),
        records.display()
    );
    let names = "\"*.a.test\", \"a.test\", \"bad.test\"";
    let proxy = builder(&app, &acme, &storage.path().join("acme"), names, &dns).start().await;
    for name in ["any.a.test", "a.test"] {
        until_served(&proxy, &acme, name).await;
    }
    // Each record is taken away again.
    until("four changes", async || {
        fs::read_to_string(&records).is_ok_and(|changes| changes.lines().count() == 4)
    })
    .await;
    let changes = fs::read_to_string(&records).expect("a file");
    let changes: Vec<Vec<&str>> = changes.lines().map(|line| line.split(' ').collect()).collect();
    for change in changes.iter().filter(|change| change[0] == "set") {
        assert_eq!(change[1], "_acme-challenge.a.test");
        assert!(changes.contains(&vec!["remove", change[1], change[2]]), "{changes:?}");
    }
    let failure = eventually("bad.test to fail", async || {
        told(&proxy, "bad.test").await["failures"].as_array().expect("a list").first().cloned()
    })
    .await;
    let error = failure["error"].as_str().expect("a text");
    assert!(error.contains("no record is set") && error.ends_with("exit status: 3: no zone"), "{error}");
}

#[tokio::test]
async fn a_record_can_be_set_over_http() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let zone = Upstream::echo("zone").await;
    let dns = format!("dns = {{ endpoint = \"http://{}/records?zone=1\", wait = \"0s\" }}", zone.server());
    let proxy = builder(&app, &acme, storage.path(), "\"*.a.test\"", &dns).start().await;
    until_served(&proxy, &acme, "any.a.test").await;
    until("both changes", async || zone.requests().len() == 2).await;
    for request in zone.requests() {
        assert_eq!((&*request.method, &*request.target), ("POST", "/records?zone=1"));
        assert_eq!(request.header("content-type"), "application/json");
    }
}

/// Obtains a certificate, ends the proxy, and has the next one ask when to renew it.
async fn obtained_before(app: &Upstream, acme: &Acme, storage: &Path) {
    acme.set_window(Some((30 * 24 * 3600, 40 * 24 * 3600)));
    acme.set_looking(false);
    let proxy = builder(app, acme, storage, "\"a.test\"", "").start().await;
    lead(acme, "a.test", &proxy);
    acme.set_looking(true);
    until_served(&proxy, acme, "a.test").await;
    let planned = eventually("a plan", async || {
        let said = told(&proxy, "a.test").await;
        said["explanation"].is_string().then_some(said)
    })
    .await;
    let days = (planned["renew-at"].as_u64().expect("a time") - now()) / (24 * 3600);
    assert!((29..=40).contains(&days), "{planned}");
    drop(proxy);
    let path = storage.join("renewals/a.test.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    (record["plan"]["ask-at"], record["issued"]["at"]) = (0.into(), 0.into());
    fs::write(path, record.to_string()).expect("a file of ours");
}

#[tokio::test]
async fn a_certificate_is_renewed_when_the_authority_says_so() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    obtained_before(&app, &acme, storage.path()).await;
    acme.set_window(Some((-200, -100)));
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    lead(&acme, "a.test", &proxy);
    until("another order", async || acme.orders().len() == 2).await;
    until("the certificate", async || acme.orders()[1].status == "valid").await;
    assert!(acme.orders()[1].replaces.is_some(), "{:?}", acme.orders());
    // An authority that says so of every certificate is not asked without end.
    let said = eventually("the next plan", async || {
        let said = told(&proxy, "a.test").await;
        (said["busy"] == false && said["explanation"].is_string()).then_some(said)
    })
    .await;
    assert!(said["renew-at"].as_u64() > Some(now() + 3000), "{said}");
    assert_eq!((acme.orders().len(), acme.accounts().len()), (2, 1));
}

#[tokio::test]
async fn an_order_that_replaces_what_was_replaced_is_made_without() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    obtained_before(&app, &acme, storage.path()).await;
    acme.set_window(Some((-200, -100)));
    acme.refuse([Refusal {
        path: "/order",
        with: "replaces",
        status: 409,
        kind: "alreadyReplaced",
        retry_after: None,
        times: usize::MAX,
    }]);
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    lead(&acme, "a.test", &proxy);
    until("another certificate", async || acme.orders().get(1).is_some_and(|order| order.status == "valid"))
        .await;
    assert_eq!(acme.orders()[1].replaces, None);
    let log = proxy.log().all().join("\n");
    assert!(log.contains("alreadyReplaced"), "{log}");
}

#[tokio::test]
async fn a_mistake_in_a_file_keeps_no_certificate_back() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    acme.set_looking(false);
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    lead(&acme, "a.test", &proxy);
    acme.set_looking(true);
    until_served(&proxy, &acme, "a.test").await;
    fs::write(proxy.folder().join("tidegate.toml"), "nonsense = true").expect("a file");
    assert_eq!(proxy.reload().await.status, 422);

    // Another proxy has renewed it.
    let leaf = acme.authority().sign(&["a.test"]);
    let beside = storage.path().join("certificates/.new");
    fs::write(&beside, leaf.key_pem() + &leaf.chain_pem()).expect("a file");
    fs::rename(beside, storage.path().join("certificates/a.test.pem")).expect("a file");
    until("the new one is shown", async || {
        let client = proxy.tls("secure", &TlsOptions::new(acme.authority(), "a.test")).await;
        *client.expect("a handshake").certificate() == leaf.der()
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_no_acme_is_told_in_words() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let refusal =
        Refusal { path: "/account", with: "", status: 503, kind: "", retry_after: None, times: usize::MAX };
    acme.refuse([refusal]);
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "").start().await;
    until("it is told", async || {
        let ready = proxy.admin("GET", "/readyz").await;
        ready.text().contains("no account: 503 Service Unavailable")
    })
    .await;
    assert!(acme.orders().is_empty());
}

#[tokio::test]
async fn the_check_says_which_names_are_asked_for() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let checked = builder(&app, &acme, &storage.path().join("deep"), "\"localhost\"", "").check();
    assert!(checked.status.success(), "{checked}");
    let line = format!("certificate for localhost: to be asked for at {}; it leads here (", acme.directory());
    assert!(checked.stdout.contains(&line), "{checked}");
    assert!(!storage.path().join("deep").exists(), "it is looked at, not made");
    let refused = builder(&app, &acme, storage.path(), "\"*.test\"", "").check();
    assert!(!refused.status.success() && refused.stdout.contains("the wildcard"), "{refused}");
}

#[tokio::test]
async fn a_proxy_may_be_ready_before_it_has_a_certificate() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    acme.set_looking(false);
    let proxy = builder(&app, &acme, storage.path(), "\"a.test\"", "key-type = \"rsa-2048\"")
        .section("[ready]\ncertificates = false")
        .start()
        .await;
    lead(&acme, "a.test", &proxy);
    until_shown(&acme).await;
    assert_eq!(told(&proxy, "a.test").await["state"], "missing");
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);

    acme.set_looking(true);
    until_served(&proxy, &acme, "a.test").await;
    let client =
        proxy.tls("secure", &TlsOptions::new(acme.authority(), "a.test")).await.expect("a handshake");
    let (_, certificate) = X509Certificate::from_der(client.certificate()).expect("a certificate");
    let algorithm = certificate.public_key().algorithm.algorithm.to_string();
    assert_eq!(algorithm, "1.2.840.113549.1.1.1", "rsaEncryption (RFC 8017 appendix C)");
}

/// Who decides which names get a certificate: those that begin with `good`.
async fn decider() -> Upstream {
    let decides = |request: Request<Incoming>| {
        let is_allowed = request.uri().query().is_some_and(|query| query.contains("domain=good"));
        let status = if is_allowed { 200 } else { 404 };
        async move { Response::builder().status(status).body(body("")).expect("a response") }
    };
    Upstream::serve(decides).await
}

/// A proxy whose `secure` has no name but those that clients ask for.
fn on_demand(app: &Upstream, acme: &Acme, storage: &Path, keys: &str) -> Builder {
    Proxy::builder(app)
        .file("acme.pem", acme.authority().pem())
        .section(&format!(
            "[acme]\ndirectory = \"{}\"\nca = \"acme.pem\"\nstorage = \"{}\"\n[acme.on-demand]\n{keys}",
            acme.directory(),
            storage.display()
        ))
        .listener("secure", "tls = { on-demand = true }")
}

#[tokio::test]
async fn a_client_that_asks_for_a_name_waits_for_its_certificate() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let decider = decider().await;
    let keys = format!("ask = \"http://{}/allowed?by=edge\"\nlimit = 2", decider.address());
    let proxy = on_demand(&app, &acme, storage.path(), &keys).start().await;
    for name in ["good.test", "good-too.test", "good-three.test"] {
        lead(&acme, name, &proxy);
    }
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200, "no name is waited for");

    assert!(is_served(&proxy, &acme, "good.test").await, "in its first handshake");
    assert!(is_served(&proxy, &acme, "GOOD.test").await);
    let said = told(&proxy, "good.test").await;
    assert_eq!((&said["state"], &said["on-demand"]), (&"valid".into(), &true.into()), "{said}");
    // Who is not allowed costs the authority nothing, and a name that is none not even a question.
    for name in ["bad.test", "bad.test", "localhost"] {
        let error =
            proxy.tls("secure", &TlsOptions::new(acme.authority(), name)).await.expect_err("an alert");
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }
    proxy.access_log().wait(&["\"tls-name\"", "\"server_name\":\"bad.test\""]).await;
    let questions: Vec<String> = decider.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(questions, ["/allowed?by=edge&domain=good.test", "/allowed?by=edge&domain=bad.test"]);

    assert!(is_served(&proxy, &acme, "good-too.test").await);
    assert!(!is_served(&proxy, &acme, "good-three.test").await, "over the limit");
    assert_eq!(acme.orders().len(), 2);

    // The next start needs nobody.
    drop(proxy);
    drop(decider);
    acme.set_down(true);
    let proxy = on_demand(&app, &acme, storage.path(), &keys).start().await;
    assert!(is_served(&proxy, &acme, "good.test").await);
}

#[tokio::test]
async fn names_on_demand_can_stand_in_a_file() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let builder = |names: &str| {
        let builder = on_demand(&app, &acme, storage.path(), "names = \"names.txt\"");
        builder.file("names.txt", format!("# customers\n{names}\n"))
    };
    let refused = builder("a_b.test").check();
    assert!(
        refused.stdout.contains("acme.on-demand.names: ") && refused.stdout.contains("line 2"),
        "{refused}"
    );
    let proxy = builder("*.shops.test").start().await;
    for name in ["one.shops.test", "shops.test", "new.test"] {
        lead(&acme, name, &proxy);
    }
    assert!(is_served(&proxy, &acme, "one.shops.test").await);
    assert!(!is_served(&proxy, &acme, "shops.test").await);
    assert!(!is_served(&proxy, &acme, "new.test").await);
    fs::write(proxy.folder().join("names.txt"), "*.shops.test\nNew.test\n").expect("a file of ours");
    until_served(&proxy, &acme, "new.test").await;
}

#[tokio::test]
async fn who_decides_and_gives_no_answer_is_not_taken_for_a_yes() {
    let (app, acme, storage) = (Upstream::echo("app").await, Acme::start().await, storage());
    let mut decider = decider().await;
    decider.stop().await;
    let keys = format!("ask = \"http://{}/\"", decider.address());
    let proxy = on_demand(&app, &acme, storage.path(), &keys).start().await;
    lead(&acme, "good.test", &proxy);
    assert!(!is_served(&proxy, &acme, "good.test").await);
    proxy.log().wait(&["ERROR", "nobody says whether it may have a certificate"]).await;
    assert!(acme.orders().is_empty());
    decider.start().await;
    assert!(is_served(&proxy, &acme, "good.test").await, "nothing is remembered of that");
}

#[tokio::test]
async fn proxies_that_share_a_redis_are_one() {
    let Some(mut redis) = Redis::start().await else { return };
    let (app, acme) = (Upstream::echo("app").await, Acme::start().await);
    acme.set_looking(false);
    let (storage_of_one, storage_of_other) = (storage(), storage());
    let state = format!("[state]\nbackend = \"{}\"\nstore-timeout = \"1s\"", redis.url());
    let start = async |storage: &Path| {
        let more = "share = \"state\"\nshare-tickets = true";
        builder(&app, &acme, storage, "\"a.test\"", more).section(&state).start().await
    };
    let (one, other) = (start(storage_of_one.path()).await, start(storage_of_other.path()).await);
    // Whoever asks, the authority looks at either of them.
    acme.lead("a.test", Some(one.address("web")), Some(other.address("secure")));
    acme.set_looking(true);
    for proxy in [&one, &other] {
        until_served(proxy, &acme, "a.test").await;
    }
    assert_eq!((acme.orders().len(), acme.accounts().len()), (1, 1));
    let options = TlsOptions::new(acme.authority(), "a.test");
    until("a session is resumed", async || {
        tls_resumes(one.address("secure"), other.address("secure"), &options).await.expect("two handshakes")
    })
    .await;

    // A third one finds what there is, and what there is serves on without Redis.
    acme.set_down(true);
    let storage_of_third = storage();
    let third = start(storage_of_third.path()).await;
    until_served(&third, &acme, "a.test").await;
    drop(one);
    redis.kill();
    let one = start(storage_of_one.path()).await;
    assert!(is_served(&one, &acme, "a.test").await);
    one.log().wait(&["ERROR", "what is in [state] cannot be used"]).await;
    redis.resume().await;
}
