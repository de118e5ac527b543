//! Uses what a policy may use, as the path of a request says, and answers with what came of it.

use std::cell::Cell;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_plugin_sdk::callout::{self, CalloutError, Incoming, Outgoing};
use tidegate_plugin_sdk::crypto::{self, Algorithm, Hash, Key, KeyFormat};
use tidegate_plugin_sdk::metrics::{Counter, Gauge, Histogram};
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rate_limit::{Limit, Limiter, Scope, WhenDown};
use tidegate_plugin_sdk::{password, store};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// A limit for `/limit`: how many per second.
    limit: Option<u64>,
    /// How many more at once.
    burst: u64,
    /// `local`, `shared` or `approximate`.
    scope: String,
    /// `local`, `allow` or `deny`.
    when_down: String,
    /// Whether metrics are defined.
    metrics: bool,
    /// Where the timer calls out to, instead of counting in the store.
    timer_to: Option<String>,
    /// Where a response of 503 is asked for again.
    retry_at: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limit: None,
            burst: 0,
            scope: "local".to_owned(),
            when_down: "local".to_owned(),
            metrics: false,
            timer_to: None,
            retry_at: None,
        }
    }
}

struct Capabilities {
    limiter: Option<Limiter>,
    metrics: Option<(Counter, Gauge, Histogram)>,
    key: Key,
    paths: Patterns,
    timer_to: Option<String>,
    retry_at: Option<String>,
    /// Chunks this instance has seen of the body it is at.
    chunks: Cell<usize>,
}

/// Bytes of a key for HMAC.
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

#[policy]
impl Policy for Capabilities {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let scope = match config.scope.as_str() {
            "shared" => Scope::Shared,
            "approximate" => Scope::Approximate,
            _ => Scope::Local,
        };
        let when_down = match config.when_down.as_str() {
            "allow" => WhenDown::Allow,
            "deny" => WhenDown::Deny,
            _ => WhenDown::Local,
        };
        let open = |limit| {
            let second = Limit::new(limit, Duration::from_secs(1));
            Limiter::new("requests", &Limit { burst: config.burst, scope, when_down, ..second })
        };
        let define = || {
            Ok::<_, Error>((
                Counter::new("seen", "Requests seen", &["path"])?,
                Gauge::new("level", "How it stands", &[])?,
                Histogram::new("size", "Sizes", &[], &[1.0, 10.0])?,
            ))
        };
        Ok(Self {
            limiter: config.limit.map(open).transpose().map_err(|error| error.within("limit"))?,
            metrics: config.metrics.then(define).transpose().map_err(|error| error.within("metrics"))?,
            key: Key::new(KeyFormat::Raw, KEY)?,
            paths: Patterns::for_paths().regex(["^/caf\u{e9}/(.*)$"])?,
            timer_to: config.timer_to,
            retry_at: config.retry_at,
            chunks: Cell::new(0),
        })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let told = match request.normalized_path().as_str() {
            "/store" => stored(request),
            "/limit" => self.limited(request),
            "/callout" => called(request),
            "/secret" => json!(environment::secret(&param(request, "name")).map(text)),
            "/crypto" => self.checked(request),
            "/password" => match password::verify(&param(request, "hash"), param(request, "password")) {
                Ok(is_right) => json!(is_right),
                Err(error) => json!(error.to_string()),
            },
            "/count" => self.counted(request),
            "/facts" => facts(request),
            "/small" => {
                request.limit_body(4);
                if request.query_param("whole").is_some() {
                    request.set_body_mode(BodyMode::Whole);
                }
                return Verdict::Next;
            }
            "/count-chunks" => {
                request.set_body_mode(BodyMode::StatefulChunks);
                self.chunks.set(0);
                return Verdict::Next;
            }
            "/spin" => loop {
                std::hint::black_box(());
            },
            _ => {
                let noted = request.set_note("path", request.path());
                let seen = self.paths.matches_path(request).is_some();
                request.set_token(seen.into());
                return if noted.is_ok() { Verdict::Next } else { Verdict::Fail };
            }
        };
        request.respond(Reply::new(200).header("content-type", "application/json").body(told.to_string()))
    }

    fn on_request_body(&self, _: &Request, body: &Body) -> Verdict {
        assert!(body.len() <= 4, "more than was allowed");
        Verdict::Next
    }

    /// Says of each how many there were before.
    fn on_request_chunk(&self, _: &Request, chunk: &Body) -> Verdict {
        assert!(chunk.find("crash", 0).is_none(), "as it was told");
        let before = self.chunks.replace(self.chunks.get() + 1);
        let numbered = chunk.replace_range(0..0, format!("[{before}]"));
        if numbered.is_ok() { Verdict::Next } else { Verdict::Fail }
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        if let (503, Some(to)) = (response.status(), &self.retry_at) {
            return match response.retry_at(to) {
                Ok(()) if request.query_param("but").is_some() => response.respond(Reply::new(418)),
                Ok(()) => Verdict::Next,
                Err(error) => response.respond(Reply::new(502).text(error.to_string())),
            };
        }
        let facts = [
            ("x-note", request.note("path").map(text).unwrap_or_default()),
            ("x-token", request.token().to_string()),
            ("x-server", response.server().unwrap_or_default()),
            ("x-attempts", response.attempts().to_string()),
        ];
        let told = facts.iter().try_for_each(|(name, value)| response.set_header(name, value));
        if told.is_ok() { Verdict::Next } else { Verdict::Fail }
    }

    fn on_log(&self, request: &Request, response: &Response) {
        log::info!(
            "ended {} in={} out={} server={} failure={}",
            request.path(),
            request.bytes_received(),
            response.bytes_sent(),
            response.server().unwrap_or_default(),
            response.failure().unwrap_or_default(),
        );
        if let Some(to) = request.query_param("log-to") {
            let answer = Outgoing::new(&to, "POST", "/logged").body(request.path()).send();
            log::info!(
                "log phase: {}",
                answer.map_or_else(|error| error.to_string(), |it| it.status().to_string())
            );
        }
    }

    fn on_timer(&self) -> Result<(), String> {
        match &self.timer_to {
            Some(to) => {
                let answer = Outgoing::new(to, "GET", "/tick").send().map_err(|error| error.to_string())?;
                if answer.status() == 200 { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
            }
            None => store::increment("ticks", 1, None).map(drop).map_err(|error| error.to_string()),
        }
    }
}

impl Capabilities {
    fn limited(&self, request: &Request) -> Value {
        let Some(limiter) = &self.limiter else { return json!("no limit") };
        let decision = match request.query_param("key") {
            Some(key) => limiter.take(&key, 1),
            None => limiter.take_for_client(request, 1),
        };
        json!({
            "allowed": decision.allowed,
            "limit": decision.limit,
            "remaining": decision.remaining,
            "locally": decision.decided_locally,
        })
    }

    fn checked(&self, _: &Request) -> Value {
        let code = crypto::hmac(Hash::Sha256, KEY, "message");
        json!({
            "digest": hex(&crypto::digest(Hash::Sha256, "abc")),
            "right": self.key.verify(Algorithm::Hs256, "message", &code),
            "wrong": self.key.verify(Algorithm::Hs256, "massage", &code),
            "unsuitable": self.key.verify(Algorithm::Rs256, "message", &code),
            "with": crypto::verify_with(KeyFormat::Raw, KEY, Algorithm::Hs256, "message", &code),
            "no-key": crypto::verify_with(KeyFormat::Pem, "x", Algorithm::Rs256, "", "").is_err(),
            "equal": crypto::equal("a", "a") && !crypto::equal("a", "b"),
            "random": crypto::random_bytes(16) != crypto::random_bytes(16),
            "late": Key::new(KeyFormat::Raw, KEY).map(drop).map_err(|error| error.to_string()).err(),
        })
    }

    fn counted(&self, request: &Request) -> Value {
        match &self.metrics {
            Some((seen, level, size)) => {
                seen.add(&[&param(request, "path")], 2);
                level.set(&[], 1.5);
                size.observe(&[], 5.0);
                json!("counted")
            }
            None => json!("not defined"),
        }
    }
}

fn stored(request: &Request) -> Value {
    let key = param(request, "key");
    let ttl = request.query_param("ttl").and_then(|ttl| ttl.parse().ok()).map(Duration::from_millis);
    let told = match param(request, "do").as_str() {
        "set" => store::set(&key, param(request, "value"), ttl).map(|()| json!(true)),
        "swap" => {
            let expected = request.query_param("expected");
            let expected = expected.as_ref().map(String::as_bytes);
            store::compare_and_set(&key, expected, param(request, "value"), ttl).map(|did| json!(did))
        }
        "add" => {
            store::increment(&key, param(request, "value").parse().unwrap_or(1), ttl).map(|sum| json!(sum))
        }
        "remove" => store::remove(&key).map(|()| json!(true)),
        _ => store::get(&key).map(|value| json!(value.map(text))),
    };
    told.unwrap_or_else(|error| json!(error.to_string()))
}

/// `to` may be several, separated by commas: then all at once.
fn called(request: &Request) -> Value {
    let path = param(request, "path");
    let all = param(request, "to");
    let outgoing = |to: &str| {
        let method = request.query_param("method");
        let outgoing = Outgoing::new(to, method.as_deref().unwrap_or("POST"), &path)
            .header("x-mine", "1")
            .copy_headers_from(request, &["authorization", "connection"])
            .body("asked");
        let fields = request.query_param("fields").and_then(|fields| fields.parse().ok()).unwrap_or(0);
        let outgoing = (0..fields)
            .fold(outgoing, |outgoing, field| outgoing.append_header(&format!("x-{field}"), ""))
            .copy_headers_from(request, &["user-agent"]);
        match request.query_param("timeout").and_then(|timeout| timeout.parse().ok()) {
            Some(timeout) => outgoing.timeout(Duration::from_millis(timeout)),
            None => outgoing,
        }
    };
    let told = |answer: Result<Incoming, CalloutError>| match answer {
        Ok(answer) => json!({
            "status": answer.status(),
            "server": answer.header("x-server"),
            "body": text(answer.body()),
        }),
        Err(error) => json!(error.to_string()),
    };
    let times = request.query_param("times").and_then(|times| times.parse().ok()).unwrap_or(1);
    if all.contains(',') {
        return callout::send_all(all.split(',').map(outgoing)).into_iter().map(told).collect();
    }
    let mut last = Value::Null;
    for _ in 0..times {
        last = told(outgoing(&all).send());
    }
    last
}

fn facts(request: &Request) -> Value {
    json!({
        "id": request.id(),
        "cookie": request.cookie("session"),
        "param": request.query_param("a"),
        "params": request.query_params("a"),
        "original": request.original_target(),
        "local": request.local_address(),
        "has-body": request.has_body(),
        "subject": request.client_certificate_subject(),
        "serial": request.client_certificate_serial(),
        "der": request.client_certificate().map(|der| der.len()),
        "verified": request.client_verified(),
    })
}

fn param(request: &Request, name: &str) -> String {
    request.query_param(name).unwrap_or_default()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
