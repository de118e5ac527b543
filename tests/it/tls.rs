//! TLS on a listener: certificates by name, versions, client certificates, and their files changing.

use rustls::version::{TLS12, TLS13};
use rustls::{NamedGroup, ProtocolVersion, SignatureScheme};
use tidegate_tests::{
    Authority, Builder, Client, Leaf, Proxy, Raw, TlsOptions, Upstream, empty, request, until,
};

/// A TLS listener `secure`; `more` are further keys of its `tls` table.
fn secure(upstream: &Upstream, leaves: &[&Leaf], more: &str) -> Builder {
    let mut builder = Proxy::builder(upstream);
    let mut certificates = Vec::new();
    for (index, leaf) in leaves.iter().enumerate() {
        builder = builder.certificate(&format!("certs/{index}"), leaf);
        certificates.push(format!("{{ chain = \"certs/{index}.pem\", key = \"certs/{index}.key\" }}"));
    }
    let certificates = certificates.join(", ");
    builder.listener("secure", &format!("tls = {{ certificates = [{certificates}]{more} }}"))
}

async fn connect(proxy: &Proxy, options: &TlsOptions<'_>) -> std::io::Result<Client> {
    proxy.tls("secure", options).await
}

#[tokio::test]
async fn the_certificate_follows_the_name_the_client_asks_for() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let (a, b) = (authority.sign(&["a.test", "127.0.0.1"]), authority.sign(&["b.test", "*.b.test"]));
    let proxy = secure(&app, &[&a, &b], "").start().await;

    for (name, leaf) in [("a.test", &a), ("b.test", &b), ("B.TEST", &b), ("deep.b.test", &b)] {
        let mut client = connect(&proxy, &TlsOptions::new(&authority, name)).await.expect(name);
        assert_eq!(*client.certificate(), leaf.der(), "{name}");
        assert_eq!(client.get("/").await.json()["headers"]["x-forwarded-proto"], "https");
    }
    // A client that connects by address sends no name and gets the first certificate.
    let client = connect(&proxy, &TlsOptions::new(&authority, "127.0.0.1")).await.expect("no name");
    assert_eq!(*client.certificate(), a.der());
}

#[tokio::test]
async fn an_unknown_name_gets_the_first_certificate() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let (a, b) = (authority.sign(&["a.test"]), authority.sign(&["b.test"]));
    let proxy = secure(&app, &[&a, &b], "").start().await;

    let error =
        connect(&proxy, &TlsOptions::new(&authority, "unknown.test")).await.expect_err("a name that differs");

    assert!(error.to_string().contains("a.test"), "the client names what it was shown: {error}");
}

#[tokio::test]
async fn alpn_follows_the_versions_of_the_listener() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy = secure(&app, &[&leaf], "").start().await;
    for (offered, settled) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let options = TlsOptions { alpn: offered, ..TlsOptions::new(&authority, "a.test") };
        let mut client = connect(&proxy, &options).await.expect("a handshake");
        assert_eq!(client.alpn(), settled, "{offered:?}");
        assert_eq!(client.get("/").await.status, 200, "{offered:?}");
    }

    let proxy = secure(&app, &[&leaf], "").tls_listener("old", &leaf, "http = [\"1.1\"]").start().await;
    let client = proxy.tls("old", &TlsOptions::new(&authority, "a.test")).await.expect("a handshake");
    assert_eq!(client.alpn(), Some("http/1.1"));
}

#[tokio::test]
async fn a_client_without_a_common_application_protocol_is_refused() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy = secure(&app, &[&leaf], "").start().await;

    let options = TlsOptions { alpn: &["imap"], ..TlsOptions::new(&authority, "a.test") };

    connect(&proxy, &options).await.expect_err("nothing in common (RFC 7301 §3.2)");
}

#[tokio::test]
async fn tls_1_2_is_accepted_unless_the_listener_asks_for_more() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let old = TlsOptions { versions: &[&TLS12], ..TlsOptions::new(&authority, "a.test") };
    let new = TlsOptions { versions: &[&TLS13], ..TlsOptions::new(&authority, "a.test") };

    let proxy = secure(&app, &[&leaf], "").start().await;
    let client = connect(&proxy, &old).await.expect("TLS 1.2");
    assert_eq!(client.tls_version(), ProtocolVersion::TLSv1_2);
    let client = connect(&proxy, &new).await.expect("TLS 1.3");
    assert_eq!(client.tls_version(), ProtocolVersion::TLSv1_3);
    assert_eq!(client.key_exchange(), Some(NamedGroup::X25519MLKEM768));

    let proxy = secure(&app, &[&leaf], ", min-version = \"1.3\"").start().await;
    connect(&proxy, &new).await.expect("TLS 1.3");
    connect(&proxy, &old).await.expect_err("TLS 1.2 is too old");
}

#[tokio::test]
async fn a_listener_may_do_with_less() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let (ec, rsa) = (authority.sign(&["a.test"]), authority.sign_rsa(&["a.test"]));
    let keys = ", groups = [\"secp384r1\"], cipher-suites = [\"TLS_AES_128_GCM_SHA256\", \
                \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]";
    let proxy = secure(&app, &[&ec, &rsa], keys).start().await;
    // Only one of both certificates can be shown by the suite of TLS 1.2 that is left.
    for version in [[&TLS13], [&TLS12]] {
        let options = TlsOptions { versions: &version, ..TlsOptions::new(&authority, "a.test") };
        let client = connect(&proxy, &options).await.expect("a handshake");
        assert_eq!(*client.certificate(), rsa.der());
        assert_eq!(client.key_exchange(), Some(NamedGroup::secp384r1));
    }

    let proxy = secure(&app, &[&ec], ", cipher-suites = [\"TLS_AES_128_GCM_SHA256\"]").start().await;
    let old = TlsOptions { versions: &[&TLS12], ..TlsOptions::new(&authority, "a.test") };
    connect(&proxy, &old).await.expect_err("no suite of TLS 1.2 is left");
}

/// A whole exchange: in TLS 1.3 a client learns only from the first answer that its certificate was
/// refused.
async fn is_served(proxy: &Proxy, options: &TlsOptions<'_>) -> bool {
    let Ok(mut client) = connect(proxy, options).await else { return false };
    let request = request("GET", "/").body(empty()).expect("a valid request");
    client.try_send(request).await.is_ok_and(|answer| answer.status == 200)
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_checked() {
    let app = Upstream::echo("app").await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let leaf = authority.sign(&["a.test"]);
    let (known, unknown) = (authority.sign(&["client.test"]), stranger.sign(&["client.test"]));
    let without = TlsOptions::new(&authority, "a.test");
    let with_known = TlsOptions { client: Some(&known), ..TlsOptions::new(&authority, "a.test") };
    let with_unknown = TlsOptions { client: Some(&unknown), ..TlsOptions::new(&authority, "a.test") };

    for (mode, served_without) in [("required", false), ("optional", true)] {
        let keys = format!(", client-ca = \"certs/ca.pem\", client-auth = \"{mode}\"");
        let proxy = secure(&app, &[&leaf], &keys).file("certs/ca.pem", authority.pem()).start().await;
        assert!(is_served(&proxy, &with_known).await, "{mode}");
        assert!(!is_served(&proxy, &with_unknown).await, "{mode}: signed by somebody else");
        assert_eq!(is_served(&proxy, &without).await, served_without, "{mode}");
    }
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_new_connections() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let (old, new) = (authority.sign(&["a.test"]), authority.sign(&["a.test"]));
    let proxy = secure(&app, &[&old], "").start().await;
    let options = TlsOptions::new(&authority, "a.test");
    let mut before = connect(&proxy, &options).await.expect("a handshake");
    assert_eq!(*before.certificate(), old.der());

    // A script writes the chain first and then the key: in between the two do not fit, and the proxy keeps
    // those it has.
    std::fs::write(proxy.folder().join("certs/0.pem"), new.chain_pem()).expect("a writable file");
    std::fs::write(proxy.folder().join("certs/0.key"), new.key_pem()).expect("a writable file");

    until("the new certificate", async || {
        let client = connect(&proxy, &options).await.expect("a handshake");
        *client.certificate() == new.der()
    })
    .await;
    assert_eq!(before.get("/").await.status, 200, "the old connection lives on");
}

#[tokio::test]
async fn a_broken_certificate_changes_nothing_and_is_reported() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy = secure(&app, &[&leaf], "").start().await;

    std::fs::write(proxy.folder().join("certs/0.pem"), "no certificate").expect("a writable file");

    proxy.log().wait(&["ERROR", "0.pem"]).await;
    let client = connect(&proxy, &TlsOptions::new(&authority, "a.test")).await.expect("a handshake");
    assert_eq!(*client.certificate(), leaf.der());
}

#[tokio::test]
async fn clear_text_on_a_tls_listener_is_hung_up_on() {
    let app = Upstream::echo("app").await;
    let leaf = Authority::new().sign(&["a.test"]);
    let proxy = secure(&app, &[&leaf], "").start().await;

    let mut raw = Raw::connect(proxy.address("secure")).await;
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;

    assert!(!raw.read_to_end().await.contains("HTTP/1.1 200"));
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let app = Upstream::echo("app").await;
    let leaf = Authority::new().sign(&["a.test"]);
    let proxy = secure(&app, &[&leaf], "").section("[timeouts]\ntls-handshake = \"200ms\"").start().await;

    let mut raw = Raw::connect(proxy.address("secure")).await;

    assert!(raw.is_closed_silently().await);
}

#[tokio::test]
async fn of_several_certificates_a_client_gets_one_it_can_verify() {
    const RSA: [SignatureScheme; 2] = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let (ec, rsa) = (authority.sign(&["a.test"]), authority.sign_rsa(&["a.test"]));
    let (exact, wildcard) = (authority.sign(&["x.b.test"]), authority.sign_rsa(&["*.b.test"]));
    let proxy = secure(&app, &[&ec, &rsa, &exact, &wildcard], "").start().await;
    for (name, schemes, leaf) in [
        ("a.test", &[][..], &ec),
        ("a.test", &RSA, &rsa),
        ("a.test", &[SignatureScheme::ECDSA_NISTP256_SHA256], &ec),
        ("x.b.test", &[], &exact),
        ("x.b.test", &RSA, &wildcard),
    ] {
        for version in [[&TLS12], [&TLS13]] {
            let mut options = TlsOptions::new(&authority, name);
            (options.schemes, options.versions) = (schemes, &version);
            let client = connect(&proxy, &options).await.expect(name);
            assert_eq!(*client.certificate(), leaf.der(), "{name} {schemes:?}");
        }
    }
}

#[tokio::test]
async fn a_client_whose_certificate_is_revoked_is_refused() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let [server, good, bad] = ["a.test", "good.test", "bad.test"].map(|name| authority.sign(&[name]));
    let keys = ", client-ca = \"certs/ca.pem\", client-crl = \"certs/ca.crl\", client-auth = \"required\"";
    let proxy = secure(&app, &[&server], keys)
        .file("certs/ca.pem", authority.pem())
        .file("certs/ca.crl", authority.revoke(&[&bad]))
        .start()
        .await;
    let mut options = TlsOptions::new(&authority, "a.test");
    options.client = Some(&good);
    let mut client = connect(&proxy, &options).await.expect("a good certificate");
    assert_eq!(client.get("/").await.status, 200);
    options.client = Some(&bad);
    // TLS 1.3 tells a client of its own certificate after the handshake.
    let request = request("GET", "/").body(empty()).expect("valid");
    let answered = match connect(&proxy, &options).await {
        Ok(mut client) => client.try_send(request).await.is_ok(),
        Err(_) => false,
    };
    assert!(!answered);
    assert_eq!(app.requests().len(), 1);
}
