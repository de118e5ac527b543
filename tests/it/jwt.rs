//! The stock policy `jwt`: tokens, keys that are fetched, and an issuer that fails.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response};
use hyper::body::Incoming;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use tidegate_tests::{Answer, Builder, Client, Proxy, Redis, Upstream, body, request, stock, until};
use tokio::sync::watch;
use tokio::task::JoinSet;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn in_ten_minutes() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() + 600
}

/// A key of an issuer.
#[derive(Debug)]
struct Signer {
    id: &'static str,
    key: KeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        Self { id, key: KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key") }
    }

    /// A token of Alice for `api`, with these further claims.
    fn token(&self, claims: &Value) -> String {
        let mut all =
            json!({ "iss": "https://id.test", "aud": "api", "sub": "alice", "exp": in_ten_minutes() });
        for (name, value) in claims.as_object().expect("claims") {
            all[name] = value.clone();
        }
        let header = json!({ "alg": "EdDSA", "kid": self.id }).to_string();
        let message = format!("{}.{}", base64(header), base64(all.to_string()));
        format!("{message}.{}", base64(self.key.sign(message.as_bytes()).expect("a signature")))
    }

    fn jwk(&self) -> Value {
        json!({ "kid": self.id, "kty": "OKP", "crv": "Ed25519", "use": "sig", "x": base64(self.key.der_bytes()) })
    }
}

fn set(keys: &[&Signer]) -> String {
    json!({ "keys": keys.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// A server that publishes a set of keys, which the test changes.
async fn issuer(published: &str) -> (Upstream, Arc<Mutex<String>>) {
    let published = Arc::new(Mutex::new(published.to_owned()));
    let set = published.clone();
    let upstream = Upstream::serve(move |_: Request<Incoming>| {
        let set = set.lock().expect("no panic").clone();
        async move { Response::new(body(set)) }
    });
    (upstream.await, published)
}

const FETCHED: &str = "grants = { callout = [\"issuer\"], store = true }\n";

fn fetching(app: &Upstream, issuer: &Upstream, head: &str, jwks: &str) -> Builder {
    let settings = format!(
        "{FETCHED}{head}\n[config]\nalgorithms = [\"EdDSA\"]\nissuer = \"https://id.test\"\naudience = \"api\"\n\
         headers = {{ x-user = \"sub\" }}\njwks = {{ upstream = \"issuer\", path = \"/keys\"{jwks} }}"
    );
    Proxy::builder(app)
        // An issuer that comes back is to be seen at once.
        .section(&format!("[upstream.issuer]\nservers = [\"{}\"]\neject = false", issuer.server()))
        .plugin("10-jwt", stock("jwt"), &settings)
}

async fn bearing(proxy: &Proxy, target: &str, token: &str) -> Answer {
    proxy.ask("GET", target, &[("authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test]
async fn a_token_opens_the_way_and_tells_the_server_who_came() {
    let app = Upstream::echo("app").await;
    let signer = Signer::new("a");
    let settings = format!(
        "[secrets]\nhmac = {{ file = \"hmac.key\" }}\n[config]\nalgorithms = [\"EdDSA\", \"HS256\"]\naudience = \"api\"\n\
         keys = [{{ jwk = '{}' }}, {{ secret = \"hmac\", format = \"raw\" }}]\nstrip = true\n\
         headers = {{ x-user = \"sub\", x-roles = \"/realm_access/roles\" }}\n\
         [[config.rules]]\npaths = [\"/public/**\"]\ntoken = \"optional\"\n\
         [[config.rules]]\npaths = [\"/admin/**\"]\nclaims = {{ \"/realm_access/roles\" = \"admin\" }}\n",
        signer.jwk()
    );
    let proxy = Proxy::builder(&app)
        .file("plugins/hmac.key", "a secret of thirty-two bytes ...\n")
        .plugin("10-jwt", stock("jwt"), &settings)
        .start()
        .await;

    let answer = proxy.get("/x").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer realm=\"tidegate\""));
    let token = signer.token(&json!({ "realm_access": { "roles": ["admin", "dev"] } }));
    let answer = bearing(&proxy, "/admin/x", &token).await;
    let seen = answer.json();
    assert_eq!(
        (&seen["headers"]["x-user"], &seen["headers"]["x-roles"]),
        (&json!("alice"), &json!("admin,dev"))
    );
    assert_eq!(seen["headers"]["authorization"], Value::Null);
    let line = proxy.access("/admin/x").await;
    assert_eq!(line["attributes"]["sub"], "alice", "{line}");
    let answer = bearing(&proxy, "/admin/y", &signer.token(&json!({}))).await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("www-authenticate").contains("error=\"insufficient_scope\""));

    // Nobody says who they are but the issuer.
    let forged = [("x-user", "root"), ("x-user", "alice"), ("X-Roles", "admin")];
    let seen = proxy.ask("GET", "/public/x", &forged).await.json();
    assert_eq!((&seen["headers"]["x-user"], &seen["headers"]["x-roles"]), (&Value::Null, &Value::Null));
    assert_eq!(bearing(&proxy, "/public/x", "nonsense").await.status, 401);
}

#[tokio::test]
async fn no_valid_token_is_refused_while_keys_rotate_and_the_issuer_dies() {
    let [a, b] = [Arc::new(Signer::new("a")), Arc::new(Signer::new("b"))];
    let app = Upstream::echo("app").await;
    let (mut server, published) = issuer(&set(&[&a])).await;
    let times = ", refresh = \"1s\", cool-down = \"1s\"";
    let proxy = fetching(&app, &server, "timer = \"1s\"", times);
    let proxy = proxy.section("[limits]\nrequests-per-connection = 1_000_000_000").workers(2).start().await;
    until("the keys are there", async || bearing(&proxy, "/", &a.token(&json!({}))).await.status == 200)
        .await;

    // Clients that use the key that is signed with now.
    let (current, now) = watch::channel(a.clone());
    let (stop, stopped) = watch::channel(false);
    let mut load = JoinSet::new();
    for number in 0..4 {
        let (address, now, stopped) = (proxy.address("web"), now.clone(), stopped.clone());
        load.spawn(async move {
            let mut client = Client::http1(address).await;
            let mut statuses = Vec::new();
            while !*stopped.borrow() {
                let signer = now.borrow().clone();
                let field = format!("Bearer {}", signer.token(&json!({})));
                let asked = request("GET", &format!("/load/{number}")).header("authorization", field);
                let answer = client.send(asked.body(tidegate_tests::empty()).expect("valid")).await;
                statuses.push(answer.status);
            }
            statuses
        });
    }
    let failed = async || {
        let mark = proxy.log().len();
        proxy.log().wait_from(mark, &["WARN", "no new keys from `issuer`"]).await;
    };
    let passes = async |signer: &Signer| bearing(&proxy, "/", &signer.token(&json!({}))).await.status == 200;

    // It is dead, then talks nonsense: the old keys serve.
    server.stop().await;
    failed().await;
    failed().await;
    assert_eq!(bearing(&proxy, "/", &b.token(&json!({}))).await.status, 503, "it may well be good");
    server.start().await;
    for nonsense in ["", "{\"keys\":[]}", "<html>"] {
        *published.lock().expect("no panic") = nonsense.to_owned();
        failed().await;
    }
    // A new key is published and then signed with; the issuer dies again.
    *published.lock().expect("no panic") = set(&[&a, &b]);
    until("the new key is known", async || passes(&b).await).await;
    // Instances that have not looked yet do so when they see a key they do not know.
    current.send_replace(b.clone());
    server.stop().await;
    failed().await;
    assert!(passes(&a).await && passes(&b).await);
    server.start().await;
    *published.lock().expect("no panic") = set(&[&b]);
    until("the old key is gone", async || bearing(&proxy, "/", &a.token(&json!({}))).await.status == 401)
        .await;

    stop.send_replace(true);
    let statuses: Vec<u16> = load.join_all().await.into_iter().flatten().collect();
    assert!(statuses.len() > 100, "{}", statuses.len());
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test]
async fn before_the_first_keys_tokens_are_not_called_invalid() {
    let signer = Signer::new("a");
    let app = Upstream::echo("app").await;
    let (mut server, _published) = issuer(&set(&[&signer])).await;
    server.stop().await;
    let proxy = fetching(&app, &server, "", "").start().await;
    let answer = bearing(&proxy, "/", &signer.token(&json!({}))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(proxy.get("/").await.status, 401, "without a token no key is needed");
    server.start().await;
    until("the issuer is asked again", async || {
        let status = bearing(&proxy, "/", &signer.token(&json!({}))).await.status;
        assert_ne!(status, 401);
        status == 200
    })
    .await;
}

#[tokio::test]
async fn clients_with_made_up_keys_do_not_reach_the_issuer() {
    let signer = Signer::new("a");
    let app = Upstream::echo("app").await;
    let (server, _published) = issuer(&set(&[&signer])).await;
    let proxy = fetching(&app, &server, "", ", cool-down = \"1h\"").workers(2).start().await;
    until("the keys are there", async || bearing(&proxy, "/", &signer.token(&json!({}))).await.status == 200)
        .await;
    let before = server.requests().len();
    for number in 0..40 {
        let id: &'static str = Box::leak(format!("made-up-{number}").into_boxed_str());
        assert_eq!(bearing(&proxy, "/", &Signer::new(id).token(&json!({}))).await.status, 401);
    }
    let forged = Signer::new("a").token(&json!({}));
    assert_eq!(bearing(&proxy, "/", &forged).await.status, 401);
    assert!(server.requests().len() <= before + 1, "{:?}", server.requests());

    // What has been tried on others.
    let payload =
        base64(json!({ "iss": "https://id.test", "aud": "api", "exp": in_ten_minutes() }).to_string());
    let none = base64(r#"{"alg":"none"}"#);
    let deep = base64(format!("{{\"alg\":{}", "[".repeat(6000)));
    for token in [
        format!("{none}.{payload}."),
        format!("{none}.{payload}.AAAA"),
        format!("{}.{payload}.AAAA", base64(r#"{"alg":"EdDSA","kid":"a","jwk":{"kty":"oct"}}"#)),
        format!("{deep}.{payload}.AAAA"),
        "x".repeat(20_000),
        ".".repeat(500),
    ] {
        assert_eq!(bearing(&proxy, "/", &token).await.status, 401, "{token}");
    }
    let good = format!("Bearer {}", signer.token(&json!({})));
    let twice = [("authorization", good.as_str()), ("authorization", good.as_str())];
    assert_eq!(proxy.ask("GET", "/", &twice).await.status, 400);
    assert!(app.requests().iter().all(|request| request.header("x-user") == "alice"));
    assert_eq!(proxy.plugin_state("10-jwt", "serving").await["state"], "serving");
}

#[tokio::test]
async fn what_was_not_granted_is_said_before_it_serves() {
    let app = Upstream::echo("app").await;
    let (server, _published) = issuer("").await;
    for (grants, line) in [
        ("", "keeps the keys in the store: write `grants = { store = true }`"),
        ("grants = { store = true }", "is not granted: write `grants = { callout = [\"issuer\"] }`"),
    ] {
        let settings = format!(
            "{grants}\n[config]\nalgorithms = [\"RS256\"]\naudience = \"*\"\njwks = {{ upstream = \"issuer\" }}"
        );
        let proxy = Proxy::builder(&app)
            .upstream("issuer", &server)
            .plugin("10-jwt", stock("jwt"), &settings)
            .start()
            .await;
        proxy.log().wait(&["ERROR", "10-jwt.toml:", line]).await;
        assert_eq!(proxy.get("/").await.status, 503);
    }
}

#[tokio::test]
async fn proxies_that_share_a_store_share_the_keys_and_go_by_themselves_without_it() {
    let Some(mut redis) = Redis::start().await else { return };
    let signer = Signer::new("a");
    let app = Upstream::echo("app").await;
    let (server, _published) = issuer(&set(&[&signer])).await;
    let proxy = async || {
        let state =
            format!("[state]\nbackend = \"{}\"\ntimeout = \"2s\"\nstore-timeout = \"200ms\"", redis.url());
        let times = ", refresh = \"1s\", cool-down = \"1s\", keep = \"1h\"";
        fetching(&app, &server, "limits = { time = \"10s\" }", times).section(&state).workers(1).start().await
    };
    let passes = async |proxy: &Proxy| bearing(proxy, "/", &signer.token(&json!({}))).await.status == 200;
    let one = proxy().await;
    until("the first has the keys", async || passes(&one).await).await;
    let two = proxy().await;
    until("the second has them", async || passes(&two).await).await;
    redis.kill();
    let asked = server.requests().len();
    until("each asks for itself", async || {
        assert!(passes(&one).await && passes(&two).await, "no store is no reason to refuse");
        server.requests().len() >= asked + 2
    })
    .await;
}
