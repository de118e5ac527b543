//! What passes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::json;
use tidegate_plugin_sdk::callout::CalloutError;
use tidegate_plugin_sdk::crypto::{self, Hash};
use tidegate_plugin_sdk::store;

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes ...";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    environment::wall_clock().as_secs()
}

/// A token of these texts, signed with [`SECRET`].
fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64(header), base64(claims));
    format!("{message}.{}", base64(crypto::hmac(Hash::Sha256, SECRET, &message)))
}

/// A token that lacks nothing but what `claims` says otherwise; `null` takes a claim away.
fn token(claims: Value) -> String {
    let mut all = json!({ "iss": "issuer", "aud": "api", "sub": "alice", "exp": now() + 600, "iat": now() });
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    all.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, &all.to_string())
}

/// The configuration for them, with these further keys.
fn config(keys: Value) -> Value {
    testing::set_secret("hmac", SECRET);
    let mut config = json!({
        "algorithms": ["HS256"], "keys": [{ "secret": "hmac", "format": "raw" }],
        "issuer": "issuer", "audience": "api",
    });
    for (name, value) in keys.as_object().expect("a table") {
        config[name] = value.clone();
    }
    config.as_object_mut().expect("a table").retain(|_, value| !value.is_null());
    config
}

fn jwt(keys: Value) -> Jwt {
    testing::configure(config(keys)).expect("a valid configuration")
}

fn get(path: &str) -> testing::Request {
    testing::Request::new("GET", path)
}

fn bearing(token: &str) -> testing::Request {
    get("/").with_header("authorization", format!("Bearer {token}"))
}

#[track_caller]
fn assert_passes(jwt: &Jwt, request: &testing::Request) {
    let verdict = jwt.on_request(request);
    assert_eq!((verdict, request.reply()), (Verdict::Next, None));
}

/// Status and challenge.
#[track_caller]
fn refused(jwt: &Jwt, request: &testing::Request) -> (u16, String) {
    assert_eq!(jwt.on_request(request), Verdict::Respond);
    let reply = request.reply().expect("a reply");
    let challenge = reply.headers.iter().find(|(name, _)| name == "www-authenticate");
    let challenge = challenge.map(|(_, value)| String::from_utf8(value.clone()).expect("text"));
    (reply.status, challenge.unwrap_or_default())
}

#[track_caller]
fn assert_refused(jwt: &Jwt, request: &testing::Request, status: u16, why: &str) {
    let (found, challenge) = refused(jwt, request);
    assert!(found == status && challenge.contains(why), "{found} {challenge}, not {status} {why}");
}

#[test]
fn a_valid_token_passes_and_names_its_subject() {
    let jwt = jwt(json!({ "headers": { "x-user": "sub" } }));
    let request = bearing(&token(json!({})))
        .with_header("x-user", "root")
        .with_header("X-User", "root")
        .with_header("X_User", "root");
    assert_passes(&jwt, &request);
    assert_eq!(request.header_values("x-user"), [b"alice"]);
    assert_eq!(request.header_count("x_user"), 0, "servers may take it for the same");
    assert_eq!(request.attribute("sub").as_deref(), Some("alice"));
    assert_eq!(request.header_count("authorization"), 1);
}

#[test]
fn a_request_without_a_token_is_told_where_one_is_needed() {
    let jwt = jwt(json!({ "realm": "the api" }));
    for request in [
        get("/"),
        get("/").with_header("authorization", "Basic YTpi"),
        get("/").with_header("authorization", "Bearers x"),
        get("/?access_token=a").with_header("cookie", "token=a"),
    ] {
        assert_eq!(refused(&jwt, &request), (401, "Bearer realm=\"the api\"".to_owned()));
    }
}

#[test]
fn the_name_of_the_scheme_regards_no_case() {
    let jwt = jwt(json!({}));
    for field in ["bearer", "BEARER", "Bearer  "] {
        assert_passes(&jwt, &get("/").with_header("authorization", format!("{field} {}", token(json!({})))));
    }
}

#[test]
fn claims_are_checked() {
    let jwt = jwt(json!({ "max-age": "1h", "claims": { "tenant": "*" } }));
    let good = |claims: Value| {
        let mut claims = claims;
        claims["tenant"] = json!("a");
        bearing(&token(claims))
    };
    for claims in [
        json!({}),
        json!({ "aud": ["other", "api"] }),
        json!({ "exp": now() - 30 }),
        json!({ "exp": now() as f64 + 0.5 }),
        json!({ "nbf": now() + 30 }),
        json!({ "iat": now() + 30 }),
        json!({ "iat": now() - 3600 }),
    ] {
        assert_passes(&jwt, &good(claims));
    }
    for (claims, why) in [
        (json!({ "iss": null }), "of another issuer"),
        (json!({ "iss": "issuer2" }), "of another issuer"),
        (json!({ "iss": ["issuer"] }), "of another issuer"),
        (json!({ "aud": null }), "for another audience"),
        (json!({ "aud": "api2" }), "for another audience"),
        (json!({ "aud": [] }), "for another audience"),
        (json!({ "aud": [["api"]] }), "for another audience"),
        (json!({ "exp": null }), "has no end"),
        (json!({ "exp": now() - 61 }), "has expired"),
        (json!({ "exp": -1 }), "has expired"),
        (json!({ "exp": (now() + 600).to_string() }), "is no number"),
        (json!({ "nbf": now() + 120 }), "not valid yet"),
        (json!({ "nbf": true }), "is no number"),
        (json!({ "iat": now() + 120 }), "issued in the future"),
        (json!({ "iat": now() - 3700 }), "too old"),
        (json!({ "iat": null }), "does not say when it was issued"),
    ] {
        assert_refused(&jwt, &good(claims), 401, why);
    }
    let (_, challenge) = refused(&jwt, &good(json!({ "exp": 1 })));
    let expected =
        r#"Bearer realm="tidegate", error="invalid_token", error_description="the token has expired""#;
    assert_eq!(challenge, expected);
}

#[test]
fn what_is_not_asked_for_is_not_checked() {
    let jwt = jwt(json!({ "issuer": null, "audience": "*", "require-expiry": false }));
    assert_passes(
        &jwt,
        &bearing(&token(json!({ "iss": null, "aud": null, "exp": null, "iat": null, "sub": null }))),
    );
    assert_passes(&jwt, &bearing(&token(json!({ "aud": "whoever" }))));
    assert_refused(&jwt, &bearing(&token(json!({ "exp": 5 }))), 401, "has expired");
}

#[test]
fn the_type_of_a_token_may_be_asked_for() {
    let jwt = jwt(json!({ "types": ["at+jwt"] }));
    let typed = |header: &str| {
        bearing(&signed(header, &json!({ "iss": "issuer", "aud": "api", "exp": now() + 9 }).to_string()))
    };
    for header in [r#"{"alg":"HS256","typ":"at+jwt"}"#, r#"{"alg":"HS256","typ":"application/AT+JWT"}"#] {
        assert_passes(&jwt, &typed(header));
    }
    for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","typ":"JWT"}"#] {
        assert_refused(&jwt, &typed(header), 401, "of another type");
    }
}

#[test]
fn a_token_has_one_spelling() {
    let jwt = jwt(json!({}));
    let claims = json!({ "iss": "issuer", "aud": "api", "exp": now() + 600 }).to_string();
    let good = signed(r#"{"alg":"HS256"}"#, &claims);
    assert_passes(&jwt, &bearing(&good));
    let (message, signature) = good.rsplit_once('.').expect("a signature");
    let padded = format!("{message}.{signature}=");
    let long = signed(r#"{"alg":"HS256"}"#, &format!("{{\"x\":\"{}\"}}", "x".repeat(8000)));
    for (token, why) in [
        ("x", "malformed"),
        ("..", "malformed"),
        ("a.b", "malformed"),
        (&format!("{good}.a.b"), "malformed"),
        (&padded, "malformed"),
        (&format!("{message}.{signature}\u{e9}"), "malformed"),
        (&format!("{message}."), "no key"),
        (&format!("{message}.AAAA"), "no key"),
        (&long, "too long"),
        (&signed("[]", &claims), "malformed"),
        (&signed("{}", &claims), "malformed"),
        (&signed(r#"{"alg":1}"#, &claims), "malformed"),
        (&signed(r#"{"alg":"HS256","kid":7}"#, &claims), "malformed"),
        (&signed(r#"{"alg":"HS256","alg":"HS256"}"#, &claims), "malformed"),
        (&signed(r#"{"alg":"HS256","crit":["exp"]}"#, &claims), "critical"),
        (&signed(r#"{"alg":"none"}"#, &claims), "algorithm"),
        (&signed(r#"{"alg":"hs256"}"#, &claims), "algorithm"),
        (&signed(r#"{"alg":"HS512"}"#, &claims), "algorithm"),
        (&signed(r#"{"alg":"RS256"}"#, &claims), "algorithm"),
        (&signed(r#"{"alg":"HS256"}"#, "7"), "claims"),
        (&signed(r#"{"alg":"HS256"}"#, &claims.replace('{', "{\"iss\":\"issuer\",")), "claims"),
        (&signed(r#"{"alg":"HS256"}"#, &claims[1..]), "claims"),
    ] {
        assert_refused(&jwt, &bearing(token), 401, why);
    }
    // Of the last letter of 43, two bits belong to no byte.
    let last = signature.chars().last().expect("a letter");
    let next = char::from_u32(u32::from(last) + 1).expect("a letter");
    let other = format!("{message}.{}{next}", &signature[..signature.len() - 1]);
    assert_refused(&jwt, &bearing(&other), 401, "malformed");
}

#[test]
fn more_than_one_token_is_none_to_rely_on() {
    let jwt = jwt(json!({ "cookie": "session", "query-parameter": "access_token" }));
    let one = token(json!({}));
    let field = format!("Bearer {one}");
    let cookie = format!("a=1; session={one}; b=2");
    let target = format!("/?a=1&access_token={one}");
    for request in [
        get("/").with_header("authorization", &field),
        get("/").with_header("cookie", &cookie),
        get("/").with_header("cookie", format!("session=\"{one}\"")),
        get(&target),
        get(&target).with_header("cookie", "session="),
    ] {
        assert_passes(&jwt, &request);
    }
    for (request, why) in [
        (
            get("/").with_header("authorization", &field).with_header("authorization", &field),
            "authorization field",
        ),
        (
            get("/").with_header("authorization", &field).with_header("authorization", "Basic x"),
            "authorization field",
        ),
        (get("/").with_header("authorization", format!("{field}, {field}")), "malformed"),
        (get("/").with_header("authorization", "Bearer"), "malformed"),
        (get("/").with_header("authorization", format!("Bearer\t{one}")), "malformed"),
        (get("/").with_header("authorization", b"Bearer \xff"), "malformed"),
        (get("/").with_header("authorization", &field).with_header("cookie", &cookie), "more than one token"),
        (get("/").with_header("cookie", &cookie).with_header("cookie", "session=x"), "more than one token"),
        (get("/").with_header("cookie", format!("{cookie}; session=x")), "more than one token"),
        (get(&target).with_header("cookie", &cookie), "more than one token"),
        (get(&format!("{target}&access%5Ftoken=x")), "more than one token"),
    ] {
        let (status, challenge) = refused(&jwt, &request);
        assert!(
            status == 400 && challenge.contains("error=\"invalid_request\"") && challenge.contains(why),
            "{challenge}"
        );
    }
}

#[test]
fn the_token_is_taken_out_if_wished() {
    let jwt = jwt(json!({ "cookie": "session", "query-parameter": "access_token", "strip": true }));
    let one = token(json!({}));
    let request = bearing(&one).with_header("cookie", "a=1; session=; b=2").with_header("cookie", "session=");
    assert_passes(&jwt, &request);
    assert_eq!(request.header_count("authorization"), 0);
    assert_eq!(request.header_values("cookie"), [b"a=1; b=2"]);

    let request = get(&format!("/a?x=%20&access%5ftoken={one}&y")).with_header("authorization", "Basic YTpi");
    assert_passes(&jwt, &request);
    assert_eq!((request.path().as_str(), request.query().as_deref()), ("/a", Some("x=%20&y")));
    assert_eq!(request.header("authorization").as_deref(), Some("Basic YTpi"), "it is no token");

    let request = get(&format!("/a?access_token={one}"));
    assert_passes(&jwt, &request);
    assert_eq!((request.path().as_str(), request.query()), ("/a", None));
}

#[test]
fn rules_say_what_requests_need() {
    let jwt = jwt(json!({
        "headers": { "x-user": "sub" },
        "rules": [
            { "paths": ["/health"], "token": "ignored" },
            { "paths": ["/shop/**"], "token": "optional" },
            { "paths": ["/admin/**"], "claims": { "/realm_access/roles": ["admin", "owner"], "level": 3, "mfa": true } },
            { "methods": ["POST", "DELETE"], "scopes": ["write", "all"] },
        ],
    }));
    let at = |method: &str, path: &str, claims: Value| {
        let field = format!("Bearer {}", token(claims));
        testing::Request::new(method, path).with_header("authorization", field).with_header("x-user", "root")
    };
    for path in ["/health", "/shop/x"] {
        let request = get(path).with_header("x-user", "root");
        assert_passes(&jwt, &request);
        assert_eq!(request.header_count("x-user"), 0, "nobody says who it is");
    }
    assert_passes(&jwt, &get("/health").with_header("authorization", "Bearer nonsense"));
    assert_refused(
        &jwt,
        &get("/shop/x").with_header("authorization", "Bearer nonsense"),
        401,
        "invalid_token",
    );
    assert_refused(&jwt, &get("/other"), 401, "realm");
    for path in ["//shop/../other", "/%61dmin", "/admin"] {
        assert_refused(&jwt, &get(path), 401, "realm");
    }
    let request = at("GET", "/shop/x", json!({}));
    assert_passes(&jwt, &request);
    assert_eq!(request.header("x-user").as_deref(), Some("alice"));

    let admin = json!({ "realm_access": { "roles": ["user", "owner"] }, "level": 3.0, "mfa": true });
    assert_passes(&jwt, &at("GET", "/admin/x", admin.clone()));
    for (name, value) in
        [("realm_access", json!({ "roles": "user" })), ("level", json!("3")), ("mfa", json!(null))]
    {
        let mut claims = admin.clone();
        claims[name] = value;
        let (status, challenge) = refused(&jwt, &at("GET", "/admin/x", claims));
        assert!(status == 403 && challenge.contains("error=\"insufficient_scope\""), "{name}: {challenge}");
        assert!(!challenge.contains("scope=\""), "{challenge}");
    }
    for claims in [json!({ "scope": "read write all" }), json!({ "scp": ["all", "write"] })] {
        assert_passes(&jwt, &at("POST", "/x", claims));
    }
    for claims in [
        json!({}),
        json!({ "scope": "write" }),
        json!({ "scope": "write,all" }),
        json!({ "scope": "writer all" }),
    ] {
        assert_refused(&jwt, &at("POST", "/x", claims), 403, "scope=\"write all\"");
    }
}

#[test]
fn what_holds_for_all_holds_beside_the_rules() {
    let jwt =
        jwt(json!({ "scopes": ["api"], "claims": { "tenant": "*" }, "rules": [{ "token": "optional" }] }));
    assert_passes(&jwt, &get("/"));
    assert_passes(&jwt, &bearing(&token(json!({ "scope": "api", "tenant": 0 }))));
    assert_refused(&jwt, &bearing(&token(json!({ "tenant": "a" }))), 403, "scope=\"api\"");
    assert_refused(&jwt, &bearing(&token(json!({ "scope": "api" }))), 403, "insufficient_scope");
}

#[test]
fn fields_say_what_claims_say_and_nothing_else() {
    let jwt = jwt(json!({
        "headers": { "x-roles": "/realm/roles", "x-level": "level", "x-mfa": "mfa", "x-name": "name", "x-org": "org" },
        "attributes": { "user": "sub", "org": "org" },
    }));
    let claims = json!({
        "realm": { "roles": ["a", "b,admin", 7, { "x": 1 }, "c%2C"] }, "level": 3, "mfa": false, "name": "Zoë", "org": { "a": 1 },
    });
    let request = bearing(&token(claims)).with_header("x-org", "forged");
    assert_passes(&jwt, &request);
    for (name, value) in
        [("x-roles", "a,b%2Cadmin,7,c%252C"), ("x-level", "3"), ("x-mfa", "false"), ("x-name", "Zoë")]
    {
        assert_eq!(request.header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(request.header_count("x-org"), 0, "an object is no value");
    assert_eq!((request.attribute("user").as_deref(), request.attribute("org")), (Some("alice"), None));
    for name in ["a\r\nx-level: 9", "a\u{0}", " admin", "admin\u{a0}"] {
        let request = bearing(&token(json!({ "name": name })));
        assert_refused(&jwt, &request, 401, "cannot be passed on");
    }
}

/// RFC 7515, appendix A: a token signed in two ways, long expired.
#[test]
fn keys_come_from_the_configuration_and_from_secrets() {
    const PAYLOAD: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RS256: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const ES256: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" });
    let p256 = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    testing::set_secret("set", json!({ "keys": [{ "kty": "EC", "crv": "P-521" }, rsa, p256] }).to_string());
    testing::set_secret("one", format!("\n{rsa}\n"));
    let rs256 = bearing(&format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{RS256}"));
    let es256 = bearing(&format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{ES256}"));
    let with = |keys: Value, algorithms: Value| {
        jwt(
            json!({ "keys": keys, "algorithms": algorithms, "audience": "*", "issuer": "joe", "leeway": "1000000h" }),
        )
    };
    for keys in [json!([{ "jwk": rsa }, { "jwk": p256.to_string() }]), json!([{ "secret": "set" }])] {
        let both = with(keys, json!(["RS256", "ES256"]));
        assert_passes(&both, &rs256);
        assert_passes(&both, &es256);
    }
    let one = with(json!([{ "secret": "one" }]), json!(["RS256", "ES256"]));
    assert_passes(&one, &rs256);
    assert_refused(&one, &es256, 401, "no key");
    let other = with(json!([{ "jwk": rsa }]), json!(["PS256"]));
    assert_refused(&other, &rs256, 401, "algorithm");
}

/// The classic: signed by HMAC with the text of the public key, which everybody knows.
#[test]
fn a_public_key_is_no_secret() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let pem = key.public_key_pem();
    let message =
        format!("{}.{}", base64(r#"{"alg":"HS256"}"#), base64(json!({ "exp": now() + 9 }).to_string()));
    let forged = format!("{message}.{}", base64(crypto::hmac(Hash::Sha256, &pem, &message)));
    let policy = jwt(json!({
        "algorithms": ["EdDSA", "HS256"], "keys": [{ "pem": pem }, { "secret": "hmac", "format": "raw" }],
        "issuer": null, "audience": "*",
    }));
    assert_refused(&policy, &bearing(&forged), 401, "no key");
}

#[test]
fn a_named_key_is_for_its_tokens() {
    let policy = jwt(json!({ "keys": [{ "secret": "hmac", "format": "raw", "kid": "a" }] }));
    let claims = json!({ "iss": "issuer", "aud": "api", "exp": now() + 9 }).to_string();
    assert_passes(&policy, &bearing(&signed(r#"{"alg":"HS256","kid":"a"}"#, &claims)));
    assert_passes(&policy, &bearing(&signed(r#"{"alg":"HS256"}"#, &claims)));
    assert_refused(&policy, &bearing(&signed(r#"{"alg":"HS256","kid":"b"}"#, &claims)), 401, "no key");
}

/// An issuer with keys of its own, by `kid`.
struct Issuer(Vec<(&'static str, KeyPair)>);

impl Issuer {
    fn new(ids: &[&'static str]) -> Self {
        Self(
            ids.iter().map(|&id| (id, KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key"))).collect(),
        )
    }

    fn token(&self, id: &str) -> testing::Request {
        let (_, key) = self.0.iter().find(|(known, _)| *known == id).expect("a key of this name");
        let header = json!({ "alg": "EdDSA", "kid": id }).to_string();
        let claims = json!({ "exp": now() + 600, "sub": "alice" }).to_string();
        let message = format!("{}.{}", base64(header), base64(claims));
        bearing(&format!("{message}.{}", base64(key.sign(message.as_bytes()).expect("a signature"))))
    }

    /// The set of these.
    fn set(&self, ids: &[&str]) -> String {
        let published = self.0.iter().filter(|(id, _)| ids.contains(id));
        let keys: Vec<Value> = published
            .map(|(id, key)| json!({ "kid": id, "kty": "OKP", "crv": "Ed25519", "use": "sig", "x": base64(key.der_bytes()) }))
            .collect();
        json!({ "keys": keys }).to_string()
    }
}

/// A policy that fetches its keys; nothing comes of that before the test says what.
fn fetching(jwks: Value) -> Jwt {
    testing::answer_callouts(|_| Err(CalloutError::TooMany));
    let mut source = json!({ "upstream": "issuer" });
    for (name, value) in jwks.as_object().expect("a table") {
        source[name] = value.clone();
    }
    jwt(json!({ "algorithms": ["EdDSA"], "keys": null, "jwks": source, "issuer": null, "audience": "*" }))
}

/// What the issuer answers from now on, and how often it was asked for that.
fn answer(reply: Result<Reply, CalloutError>) -> Rc<Cell<usize>> {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    testing::answer_callouts(move |callout| {
        assert_eq!((callout.destination.as_str(), callout.method.as_str()), ("issuer", "GET"));
        count.set(count.get() + 1);
        reply.clone()
    });
    asked
}

fn publish(set: String) -> Rc<Cell<usize>> {
    answer(Ok(Reply::new(200).body(set)))
}

#[track_caller]
fn assert_unavailable(jwt: &Jwt, request: &testing::Request, retry_after: &str) {
    assert_eq!(jwt.on_request(request), Verdict::Respond);
    let reply = request.reply().expect("a reply");
    let field = reply.headers.iter().find(|(name, _)| name == "retry-after").map(|(_, value)| value.clone());
    assert_eq!((reply.status, field), (503, Some(retry_after.into())));
}

#[test]
fn keys_are_fetched_once_for_all_instances() {
    let issuer = Issuer::new(&["a", "b"]);
    let (one, two) = (fetching(json!({})), fetching(json!({})));
    let asked = publish(issuer.set(&["a"]));
    for _ in 0..3 {
        assert_passes(&one, &issuer.token("a"));
        assert_passes(&two, &issuer.token("a"));
    }
    assert_eq!(asked.get(), 1);
    testing::advance(Duration::from_secs(600));
    assert_passes(&two, &issuer.token("a"));
    assert_eq!(asked.get(), 2, "they are old");
}

#[test]
fn an_unknown_key_is_asked_for_once_in_a_while() {
    let issuer = Issuer::new(&["a", "b"]);
    let (one, two) = (fetching(json!({ "cool-down": "20s" })), fetching(json!({ "cool-down": "20s" })));
    publish(issuer.set(&["a"]));
    assert_passes(&one, &issuer.token("a"));
    testing::advance(Duration::from_secs(20));
    let asked = publish(issuer.set(&["a"]));
    for _ in 0..3 {
        assert_refused(&one, &issuer.token("b"), 401, "no key that is known");
        assert_refused(&two, &issuer.token("b"), 401, "no key that is known");
    }
    assert_eq!(asked.get(), 1);
    let asked = publish(issuer.set(&["a", "b"]));
    assert_refused(&one, &issuer.token("b"), 401, "no key that is known");
    testing::advance(Duration::from_secs(21));
    for id in ["b", "a", "b"] {
        assert_passes(&one, &issuer.token(id));
        assert_passes(&two, &issuer.token(id));
    }
    assert_eq!(asked.get(), 1);
    // A signature that is wrong under a key that is known says nothing of new keys.
    testing::advance(Duration::from_secs(21));
    let forged = Issuer::new(&["a"]).token("a");
    assert_refused(&one, &forged, 401, "signature");
    assert_eq!(asked.get(), 1);
}

#[test]
fn a_token_without_the_name_of_its_key_has_all_tried() {
    let issuer = Issuer::new(&["a", "b"]);
    let policy = fetching(json!({}));
    publish(issuer.set(&["a", "b"]));
    let header = base64(r#"{"alg":"EdDSA"}"#);
    let message = format!("{header}.{}", base64(json!({ "exp": now() + 9 }).to_string()));
    let signature = base64(issuer.0[1].1.sign(message.as_bytes()).expect("a signature"));
    assert_passes(&policy, &bearing(&format!("{message}.{signature}")));
}

#[test]
fn old_keys_serve_while_the_issuer_is_down_or_talks_nonsense() {
    let issuer = Issuer::new(&["a", "b"]);
    let policy = fetching(json!({ "keep": "48h" }));
    publish(issuer.set(&["a"]));
    assert_passes(&policy, &issuer.token("a"));
    let hmac = json!({ "keys": [{ "kty": "oct", "kid": "b", "k": base64(SECRET) }] }).to_string();
    for reply in [
        Err(CalloutError::Failed),
        Err(CalloutError::Timeout),
        Ok(Reply::new(500).body(issuer.set(&["b"]))),
        Ok(Reply::new(302).header("location", "/elsewhere")),
        Ok(Reply::new(200).text("<html>")),
        Ok(Reply::new(200).body("{}")),
        Ok(Reply::new(200).body(r#"{"keys":[]}"#)),
        Ok(Reply::new(200).body(r#"{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}"#)),
        Ok(Reply::new(200).body(hmac)),
        Ok(Reply::new(200).body(format!(
            "{{\"x\":\"{}\",{}",
            "x".repeat(128 << 10),
            &issuer.set(&["b"])[1..]
        ))),
    ] {
        testing::advance(Duration::from_secs(3600));
        let asked = answer(reply.clone());
        assert_passes(&policy, &issuer.token("a"));
        assert_eq!(asked.get(), 1, "{reply:?}");
        // It may be good, nobody knows.
        assert_unavailable(&policy, &issuer.token("b"), "30");
        assert_passes(&policy, &issuer.token("a"));
        assert_eq!(asked.get(), 1, "{reply:?}");
    }
    testing::advance(Duration::from_secs(48 * 3600));
    assert_unavailable(&policy, &issuer.token("a"), "1");
    publish(issuer.set(&["a", "b"]));
    testing::advance(Duration::from_secs(1));
    assert_passes(&policy, &issuer.token("b"));
}

#[test]
fn before_the_first_keys_nobody_is_refused_for_good() {
    let issuer = Issuer::new(&["a"]);
    let (one, two) = (fetching(json!({})), fetching(json!({})));
    let asked = answer(Err(CalloutError::Failed));
    assert_unavailable(&one, &issuer.token("a"), "1");
    assert_unavailable(&two, &issuer.token("a"), "1");
    assert_eq!(asked.get(), 1);
    publish(issuer.set(&["a"]));
    testing::advance(Duration::from_secs(1));
    assert_passes(&two, &issuer.token("a"));
    assert_passes(&one, &issuer.token("a"));
}

#[test]
fn who_gives_up_keeps_nobody_from_the_next_attempt() {
    let issuer = Issuer::new(&["a"]);
    let policy = fetching(json!({ "timeout": "3s" }));
    let asked = publish(issuer.set(&["a"]));
    // As an instance leaves it whose client went while it asked.
    let name = policy.jwks.as_ref().expect("it fetches").attempt_name().to_owned();
    assert_eq!(store::set(&name, "under way", Some(Duration::from_secs(4))), Ok(()));
    assert_unavailable(&policy, &issuer.token("a"), "1");
    assert_eq!(asked.get(), 0);
    testing::advance(Duration::from_secs(4));
    assert_passes(&policy, &issuer.token("a"));
}

#[test]
fn the_timer_fetches_beside_the_traffic() {
    let issuer = Issuer::new(&["a", "b"]);
    let policy = fetching(json!({}));
    let asked = publish(issuer.set(&["a"]));
    assert_eq!(policy.on_timer(), Ok(()));
    assert_eq!(policy.on_timer(), Ok(()), "another proxy may just have done it");
    assert_eq!(asked.get(), 1);
    assert_passes(&policy, &issuer.token("a"));
    testing::advance(Duration::from_secs(300));
    answer(Err(CalloutError::Failed));
    assert_eq!(policy.on_timer(), Err("there are no new keys".to_owned()));
    publish(issuer.set(&["b"]));
    assert_eq!(policy.on_timer(), Ok(()), "a failure does not hold it up");
    assert_passes(&policy, &issuer.token("b"));
    assert_refused(&policy, &issuer.token("a"), 401, "no key that is known");
    assert_eq!(jwt(json!({})).on_timer(), Ok(()));
}

#[test]
fn an_answer_that_took_long_does_not_bring_old_keys_back() {
    let issuer = Issuer::new(&["a", "b"]);
    let (slow, fast) = (fetching(json!({})), Rc::new(fetching(json!({}))));
    let (old, new) = (issuer.set(&["a"]), issuer.set(&["b"]));
    // While the one waits for its answer, the timer of the other asks and has newer keys.
    let (is_first, other) = (Cell::new(true), fast.clone());
    testing::answer_callouts(move |_| {
        if !is_first.replace(false) {
            return Ok(Reply::new(200).body(new.clone()));
        }
        testing::advance(Duration::from_millis(5));
        assert_eq!(other.on_timer(), Ok(()));
        testing::advance(Duration::from_millis(5));
        Ok(Reply::new(200).body(old.clone()))
    });
    assert_refused(&slow, &issuer.token("a"), 401, "no key that is known");
    for policy in [&slow, &*fast] {
        assert_passes(policy, &issuer.token("b"));
    }
}

#[test]
fn the_request_for_keys_is_what_was_configured() {
    let policy = fetching(json!({ "path": "/keys?v=1", "host": "id.example.com", "timeout": "250ms" }));
    testing::answer_callouts(|callout: &testing::Callout| {
        assert_eq!((callout.target.as_str(), callout.host.as_deref()), ("/keys?v=1", Some("id.example.com")));
        assert_eq!(callout.timeout, Some(Duration::from_millis(250)));
        assert!(callout.header("authorization").is_none());
        Err(CalloutError::Failed)
    });
    assert_eq!(policy.on_timer(), Err("there are no new keys".to_owned()));
}

#[test]
fn mistakes_are_refused_with_their_key() {
    testing::set_secret("short", "short");
    testing::set_secret("pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n");
    testing::answer_callouts(|_| Err(CalloutError::NotGranted));
    let key = |key: Value| json!({ "keys": [key] });
    let rule = |rule: Value| json!({ "rules": [rule] });
    for (keys, message) in [
        (json!({ "algorithms": null }), "missing field `algorithms`"),
        (json!({ "audience": null }), "missing field `audience`"),
        (json!({ "algorithms": [] }), "algorithms: no token would count"),
        (json!({ "algorithms": ["HS256", "none"] }), "algorithms[1]: `none` is none of RS256, "),
        (json!({ "algorithms": ["HS256", "RS256"] }), "algorithms[1]: needs a public key"),
        (json!({ "keys": null }), "neither `keys` nor `jwks`"),
        (json!({ "audience": [] }), "audience: is empty"),
        (json!({ "audience": ["*", "a"] }), "audience: `*` is any"),
        (json!({ "issuer": "" }), "issuer: is empty"),
        (json!({ "leeway": 60 }), "leeway: invalid type"),
        (json!({ "leeway": "1 min" }), "leeway: `1 min`: a duration is"),
        (json!({ "cookie": "" }), "cookie: has no name"),
        (json!({ "realm": "a\"b" }), "realm: "),
        (json!({ "scopes": ["a b"] }), "scopes[0]: \"a b\" is not one scope"),
        (json!({ "claims": { "a": [] } }), "claims.a: no value will do"),
        (json!({ "claims": { "a": {} } }), "claims.a: expected a text, a number"),
        (json!({ "headers": { "a b": "sub" } }), "headers.a b: `a b` is not a field name"),
        (json!({ "headers": { "Host": "sub" } }), "headers.Host: `Host` belongs to the proxy"),
        (json!({ "headers": { "Cookie": "sub" } }), "headers.Cookie: `Cookie` is where clients"),
        (json!({ "headers": { "x-a": "" } }), "headers.x-a: `` names no claim"),
        (
            json!({ "headers": { "x-a-b-c-d-e": "sub" } }),
            "headers.x-a-b-c-d-e: `x-a-b-c-d-e` has more than 4",
        ),
        (json!({ "issuers": "a" }), "issuers: unknown field `issuers`"),
        (key(json!({})), "keys[0]: needs exactly one of"),
        (key(json!({ "jwk": "{}", "pem": "" })), "keys[0]: needs exactly one of"),
        (key(json!({ "jwk": "{" })), "keys[0].jwk: is not a JSON object"),
        (key(json!({ "jwk": {} })), "keys[0].jwk: the JWK has no `kty`"),
        (key(json!({ "jwk": { "keys": [] } })), "keys[0].jwk: the set has no keys"),
        (key(json!({ "jwk": 7 })), "keys[0].jwk: expected a JSON Web Key as text or"),
        (key(json!({ "jwk": "{}", "kid": "a" })), "keys[0].kid: belongs into"),
        (key(json!({ "jwk": { "kty": "OKP", "d": "" } })), "keys[0].jwk: this is a private key"),
        (key(json!({ "pem": "x" })), "keys[0].pem: this is no PEM text"),
        (key(json!({ "pem": "x", "format": "raw" })), "keys[0].format: is only about `secret`"),
        (key(json!({ "secret": "gone" })), "keys[0].secret: there is no secret `gone`"),
        (key(json!({ "secret": "hmac" })), "keys[0].secret: is neither PEM nor"),
        (key(json!({ "secret": "short", "format": "raw" })), "keys[0].secret: the symmetric key has 5 bytes"),
        (key(json!({ "secret": "pem" })), "keys[0].secret: the PEM text is damaged"),
        (key(json!({ "secret": "hmac", "format": "rew" })), "keys[0].format: unknown variant `rew`"),
        (rule(json!({ "token": "ignored", "scopes": ["a"] })), "rules[0].token: is ignored"),
        (rule(json!({ "token": "maybe" })), "rules[0].token: unknown variant `maybe`"),
        (rule(json!({ "claims": { "/": 1 } })), "rules[0].claims: `/` names no claim"),
        (rule(json!({ "scope": ["a"] })), "rules[0].scope: unknown field"),
        (json!({ "jwks": { "upstream": "a" } }), "jwks.upstream: is not granted: write `grants"),
        (json!({ "jwks": { "upstream": "a", "path": "b" } }), "jwks.path: `b` does not begin"),
        (json!({ "jwks": { "upstream": "a", "cool-down": "0s" } }), "jwks.cool-down: has to be longer"),
        (json!({ "jwks": { "upstream": "a", "keep": "1m" } }), "jwks.keep: is shorter than `refresh`"),
    ] {
        let error = testing::configure::<Jwt>(config(keys.clone())).err();
        let error = error.unwrap_or_else(|| panic!("valid: {keys}"));
        assert!(error.starts_with(message), "{error}");
        assert!(!error.contains("thirty-two"), "{error}");
    }
}
