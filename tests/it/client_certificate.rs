//! The stock policy `client-certificate`: servers learn of the certificate that was verified, and of no other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use tidegate_tests::{Authority, Builder, Leaf, Proxy, TlsOptions, Upstream, empty, request_with, stock};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn secure(upstream: &Upstream, authority: &Authority, server: &Leaf, config: &str) -> Builder {
    let certificates = "certificates = [{ chain = \"site.pem\", key = \"site.key\" }]";
    let tls = format!("tls = {{ {certificates}, client-ca = \"ca.pem\", client-auth = \"optional\" }}");
    Proxy::builder(upstream)
        .certificate("site", server)
        .file("ca.pem", authority.pem())
        .listener("secure", &tls)
        .plugin("10-cert", stock("client-certificate"), &format!("[config]\n{config}"))
}

const FORGED: [(&str, &str); 6] = [
    ("client-cert", ":forged:"),
    ("client_cert", ":forged:"),
    ("client-cert-chain", ":forged:"),
    ("client_cert_chain", ":forged:"),
    ("x-names", "forged"),
    ("x_names", "forged"),
];

#[tokio::test]
async fn servers_learn_of_the_certificate_and_of_nothing_forged() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let [server, alice] = ["a.test", "alice.test"].map(|name| authority.sign(&[name]));
    let config = "headers = { names = \"x-names\", fingerprint = \"x-sha256\", serial = \"x-serial\" }";
    let proxy = secure(&app, &authority, &server, config).start().await;
    let with = TlsOptions { client: Some(&alice), ..TlsOptions::new(&authority, "a.test") };
    let without = TlsOptions::new(&authority, "a.test");
    let expected = format!(":{}:", STANDARD.encode(alice.der()));
    for (options, certificate) in [(&with, Some(expected)), (&without, None)] {
        for alpn in [&["h2"][..], &["http/1.1"]] {
            let options =
                TlsOptions { alpn, client: options.client, ..TlsOptions::new(&authority, "a.test") };
            let mut client = proxy.tls("secure", &options).await.expect("a connection");
            // More than once, as the proxy remembers what policies decided.
            for _ in 0..3 {
                let asked = request_with("GET", "/", &FORGED).body(empty()).expect("valid");
                let answer = client.send(asked).await;
                let headers = answer.json()["headers"].clone();
                assert!(!answer.text().contains("forged"), "{headers}");
                assert_eq!(headers["client-cert"], json!(certificate));
                let named = certificate.as_ref().map(|_| "DNS:alice.test");
                assert_eq!(headers["x-names"], json!(named));
                let sha256 = certificate.as_ref().map(|_| hex(&Sha256::digest(alice.der())));
                assert_eq!(headers["x-sha256"], json!(sha256));
                assert_eq!(headers["x-serial"].is_string(), certificate.is_some());
            }
        }
    }
    // In clear text there is no certificate at all.
    let answer = proxy.ask("GET", "/", &FORGED).await;
    assert!(answer.status == 200 && !answer.text().contains("forged"), "{}", answer.text());
}

#[tokio::test]
async fn paths_ask_for_certificates_and_for_some_only() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let [server, alice, bob] = ["a.test", "alice.test", "bob.test"].map(|name| authority.sign(&[name]));
    let config = format!(
        "status = 401\nrules = [\n\
         {{ paths = [\"/alice/**\"], allow-names = [\"DNS:ALICE.*\"] }},\n\
         {{ paths = [\"/bob/**\"], allow-fingerprints = [\"{}\"] }},\n\
         {{ paths = [\"/open\"], optional = true }},\n{{}},\n]",
        hex(&Sha256::digest(bob.der()))
    );
    let proxy = secure(&app, &authority, &server, &config).start().await;
    for (leaf, expected) in [
        (None, [401, 401, 401, 200]),
        (Some(&alice), [200, 401, 200, 200]),
        (Some(&bob), [401, 200, 200, 200]),
    ] {
        let options = TlsOptions { client: leaf, ..TlsOptions::new(&authority, "a.test") };
        let mut client = proxy.tls("secure", &options).await.expect("a connection");
        for (target, status) in ["/alice/x", "/%62ob/x", "/any", "/open"].into_iter().zip(expected) {
            let answer = client.get(target).await;
            assert_eq!(answer.status, status, "{target} {leaf:?}");
            let challenge = if status == 401 { "ClientCertificate" } else { "" };
            assert_eq!(answer.header("www-authenticate"), challenge);
        }
    }
    assert_eq!(proxy.get("/any").await.status, 401, "clear text");
}

#[tokio::test]
async fn a_certificate_too_large_for_a_head_is_not_left_out() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let server = authority.sign(&["a.test"]);
    let names: Vec<_> =
        (0..300).map(|number| format!("{number}.a-rather-long-name.for-a-host.test")).collect();
    let large = authority.sign(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let proxy =
        secure(&app, &authority, &server, "").section("[limits]\nrequest-headers = \"8KiB\"").start().await;
    let options = TlsOptions { client: Some(&large), ..TlsOptions::new(&authority, "a.test") };
    let mut client = proxy.tls("secure", &options).await.expect("a connection");
    assert_eq!(client.get("/").await.status, 503);
    proxy.log().wait(&["ERROR", "10-cert", "servers cannot be told of the certificate"]).await;
    assert!(app.requests().is_empty());
}
