//! Who passes, and what servers learn.

use serde_json::{Value, json};

use super::*;

fn configured(config: Value) -> ClientCertificate {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<ClientCertificate>(config).err().expect("an invalid configuration")
}

fn get(path: &str) -> testing::Request {
    testing::Request::new("GET", path).with_tls(Some("a.test"))
}

const NAMES: [&str; 3] = ["DNS:Alice.Example.org", "URI:spiffe://a/ns/x/sa/web", "IP:10.0.0.1"];

/// With a certificate.
fn alice(path: &str) -> testing::Request {
    get(path).with_client_certificate("CN=alice,O=Example", [0xab; 32], &NAMES)
}

fn told(request: &Request, name: &str) -> Vec<String> {
    let values = request.header_values(name);
    values.into_iter().map(|value| String::from_utf8(value).expect("text")).collect()
}

#[test]
fn servers_learn_what_the_certificate_says() {
    let policy = configured(json!({ "headers": {
        "subject": "x-subject", "serial": "x-serial", "fingerprint": "X-Fingerprint", "names": "x-names",
    }}));
    let request = alice("/");
    assert_eq!(policy.on_request(&request), Verdict::Next);
    assert_eq!(told(&request, "client-cert"), ["::"], "the double has a certificate without bytes");
    assert_eq!(told(&request, "x-subject"), ["CN=alice,O=Example"]);
    assert_eq!(told(&request, "x-serial"), ["1"]);
    assert_eq!(told(&request, "x-fingerprint"), ["ab".repeat(32)]);
    assert_eq!(told(&request, "x-names"), [NAMES.join(",")]);
    assert_eq!(request.attribute("client-certificate").as_deref(), Some("CN=alice,O=Example"));

    let policy = configured(json!({ "client-cert": false }));
    let request = alice("/").with_header("client-cert", ":x:");
    assert_eq!(policy.on_request(&request), Verdict::Next);
    assert_eq!(told(&request, "client-cert"), [""; 0]);
}

#[test]
fn what_clients_say_of_certificates_is_removed() {
    let policy =
        configured(json!({ "headers": { "subject": "x-subject" }, "rules": [{ "paths": ["/in"] }] }));
    for request in [get("/"), testing::Request::new("GET", "/"), alice("/")] {
        let forged = [
            "Client-Cert",
            "client_cert",
            "client-cert-chain",
            "CLIENT_CERT_CHAIN",
            "x-subject",
            "x_subject",
        ];
        let request = forged.iter().fold(request, |request, name| request.with_header(name, "forged"));
        assert_eq!(policy.on_request(&request), Verdict::Next);
        for name in forged {
            assert!(!told(&request, name).contains(&"forged".to_owned()), "{name}");
        }
    }
}

#[test]
fn a_name_with_a_comma_is_not_two() {
    let policy = configured(json!({ "headers": { "names": "x-names", "subject": "x-subject" } }));
    let request = get("/").with_client_certificate("CN=é\n", [0; 32], &["URI:a,DNS:root", "URI:%\n é"]);
    assert_eq!(policy.on_request(&request), Verdict::Next);
    assert_eq!(told(&request, "x-names"), ["URI:a%2CDNS:root,URI:%25%0A%20%C3%A9"]);
    assert_eq!(told(&request, "x-subject"), ["CN=%C3%A9%0A"]);
}

#[test]
fn what_depends_on_the_certificate_is_not_kept_by_clients() {
    let (telling, silent) = (configured(json!({})), configured(json!({ "client-cert": false })));
    for (vary, becomes) in [
        ("client-cert", "*"),
        ("accept, Client-Cert", "*"),
        ("accept ,client-cert, origin", "*"),
        ("accept", "accept"),
        ("x-client-cert, client-cert-chain", "x-client-cert, client-cert-chain"),
    ] {
        for (policy, becomes) in [(&telling, becomes), (&silent, vary)] {
            let response = testing::Response::new(200).with_header("vary", vary);
            assert_eq!(policy.on_response(&alice("/"), &response), Verdict::Next);
            assert_eq!(response.header_values("vary"), [becomes.as_bytes()], "{vary}");
        }
    }
}

#[test]
fn rules_say_who_needs_a_certificate() {
    let policy = configured(json!({ "rules": [
        { "paths": ["/in/open"], "optional": true }, { "paths": ["/in/**"] },
    ]}));
    for (path, without) in [("/in", 403), ("//in/x", 403), ("/x/../%69n", 403), ("/in/open", 0), ("/", 0)] {
        let request = get(path);
        let _ = policy.on_request(&request);
        assert_eq!(request.reply().map_or(0, |reply| reply.status), without, "{path}");
        assert_eq!(policy.on_request(&alice(path)), Verdict::Next, "{path}");
    }
    let policy = configured(json!({ "rules": [{}], "status": 401 }));
    let request = get("/");
    assert_eq!(policy.on_request(&request), Verdict::Respond);
    let expected = Reply::new(401).header("www-authenticate", "ClientCertificate");
    assert_eq!(request.reply(), Some(expected.text("a client certificate is needed\n")));
}

#[test]
fn a_list_says_which_certificates_will_do() {
    let (fits, colons) = ("AB".repeat(32), ["ab"; 32].join(":"));
    for (rule, passes) in [
        (json!({ "allow-names": ["DNS:alice.example.org"] }), true),
        (json!({ "allow-names": ["DNS:bob.test", "DNS:*.EXAMPLE.org"] }), true),
        (json!({ "allow-names": ["DNS:example.org"] }), false),
        (json!({ "allow-names": ["DNS:*.example.com"] }), false),
        (json!({ "allow-names": ["URI:spiffe://a/ns/*/sa/web"] }), true),
        (json!({ "allow-names": ["URI:spiffe://A/**"] }), false),
        (json!({ "allow-names": ["IP:10.0.0.1"] }), true),
        (json!({ "allow-names": ["IP:10.0.0.10"] }), false),
        (json!({ "allow-subjects": ["CN=alice,O=Example"] }), true),
        (json!({ "allow-subjects": ["CN=alice"] }), false),
        (json!({ "allow-subjects": ["CN=*"] }), false),
        (json!({ "allow-fingerprints": [fits] }), true),
        (json!({ "allow-fingerprints": [colons] }), true),
        (json!({ "allow-fingerprints": ["0".repeat(64)] }), false),
        (json!({ "allow-subjects": ["CN=bob"], "allow-names": ["IP:10.0.0.1"] }), true),
        (json!({ "allow-subjects": ["CN=bob"], "allow-fingerprints": ["0".repeat(64)] }), false),
    ] {
        let policy = configured(json!({ "rules": [rule.clone()] }));
        let request = alice("/");
        let verdict = policy.on_request(&request);
        assert_eq!(verdict == Verdict::Next, passes, "{rule}");
        assert_eq!(policy.on_request(&get("/")), Verdict::Respond, "{rule}: no certificate");
    }
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let rule = |rule: Value| json!({ "rules": [rule] });
    for (config, message) in [
        (rule(json!({ "allow-names": [] })), "rules[0].allow-names: the list is empty"),
        (rule(json!({ "allow-subjects": [""] })), "rules[0].allow-subjects: the list is empty, or has"),
        (
            rule(json!({ "allow-names": ["DNS:a", "b.test"] })),
            "rules[0].allow-names[1]: `b.test` does not begin",
        ),
        (
            rule(json!({ "allow-fingerprints": ["ab"] })),
            "rules[0].allow-fingerprints[0]: `ab` is not a SHA-256",
        ),
        (
            rule(json!({ "optional": true, "allow-subjects": ["CN=a"] })),
            "rules[0].optional: no certificate is",
        ),
        (rule(json!({ "require": true })), "rules[0].require: unknown field `require`"),
        (json!({ "headers": { "subject": "a b" } }), "headers.subject: `a b` is not a field name"),
        (
            json!({ "headers": { "serial": "X-A", "names": "x-a" } }),
            "headers.names: `x-a` tells something else",
        ),
        (
            json!({ "headers": { "subject": "Client-Cert" } }),
            "headers.subject: `Client-Cert` tells something",
        ),
        (json!({ "headers": { "issuer": "x" } }), "headers.issuer: unknown field `issuer`"),
        (json!({ "status": 200 }), "status: 200 is not 400 to 599"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
