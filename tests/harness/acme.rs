//! An authority that speaks ACME (RFC 8555), looks whether names are the proxy's, and can be told to misbehave.
//!
//! It believes every signature: that these are right is what `pebble` is for. All else is as the RFC has it: nonces, accounts,
//! orders, and the two ways to look at a name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificates::Authority;
use crate::tls::server_config;

/// A running authority; it ends with this.
pub struct Acme {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

struct Shared {
    base: String,
    authority: Authority,
    state: Mutex<State>,
    /// Whether it looks at names; while it does not, they are pending.
    looks: watch::Sender<bool>,
    is_down: AtomicBool,
}

#[derive(Default)]
struct State {
    nonces: HashSet<String>,
    next: u64,
    accounts: BTreeMap<String, Account>,
    orders: BTreeMap<u64, Order>,
    http: HashMap<String, SocketAddr>,
    tls: HashMap<String, SocketAddr>,
    refusals: Vec<Refusal>,
    requests: Vec<String>,
    since: Duration,
    lifetime: Duration,
    window: Option<(i64, i64)>,
    records: Option<PathBuf>,
}

#[derive(Clone)]
struct Account {
    thumbprint: String,
    bound_to: Option<String>,
}

/// An order that the authority got.
#[derive(Debug, Clone)]
pub struct Order {
    /// What for.
    pub name: String,
    /// What its certificate was to replace.
    pub replaces: Option<String>,
    /// The profile that was asked for.
    pub profile: Option<String>,
    /// The kind of challenge that was begun.
    pub challenge: Option<String>,
    /// `pending`, `ready`, `valid` or `invalid`.
    pub status: &'static str,
    /// Of its challenges.
    pub token: String,
    thumbprint: String,
    error: Option<String>,
    chain: String,
}

/// An answer in place of the right one.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The beginning of the path.
    pub path: &'static str,
    /// Only where the request contains this.
    pub with: &'static str,
    /// The status.
    pub status: u16,
    /// Without `urn:ietf:params:acme:error:`; empty: the body is no problem document.
    pub kind: &'static str,
    /// In seconds, if it says so.
    pub retry_after: Option<u64>,
    /// How often.
    pub times: usize,
}

impl Acme {
    /// Its certificates are valid for 90 days.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let authority = Authority::new();
        let leaf = authority.sign(&["localhost", "127.0.0.1"]);
        let state = State { lifetime: Duration::from_secs(90 * 24 * 3600), ..State::default() };
        let shared = Arc::new(Shared {
            base: format!("https://localhost:{}", address.port()),
            authority,
            state: Mutex::new(state),
            looks: watch::Sender::new(true),
            is_down: AtomicBool::new(false),
        });
        let tls = TlsAcceptor::from(server_config(&leaf, &["http/1.1"], None));
        let serving = tokio::spawn(serve(shared.clone(), listener, tls));
        Self { shared, address, serving }
    }

    /// For `acme.directory`.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("{}/directory", self.shared.base)
    }

    /// Signs what is asked for, and its own certificate: for clients, and for `acme.ca`.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.shared.authority
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a name leads: for `http-01`, and for `tls-alpn-01`.
    pub fn lead(&self, name: &str, http: Option<SocketAddr>, tls: Option<SocketAddr>) {
        let mut state = self.shared.state();
        state.http.remove(name);
        state.tls.remove(name);
        state.http.extend(http.map(|address| (name.to_owned(), address)));
        state.tls.extend(tls.map(|address| (name.to_owned(), address)));
    }

    /// The file with the records that `dns-01` looks for: a line `set NAME VALUE` or `remove NAME VALUE` for each change.
    /// Without one it finds what it looks for.
    pub fn set_records(&self, file: &Path) {
        self.shared.state().records = Some(file.to_owned());
    }

    /// Whether it looks at names that are shown to it, or leaves them pending.
    pub fn set_looking(&self, looks: bool) {
        self.shared.looks.send_replace(looks);
    }

    /// Closes every connection at once, or does not any more.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, SeqCst);
    }

    /// How long from now its next certificates are valid, of their whole lifetime.
    pub fn set_lifetime(&self, left: Duration, whole: Duration) {
        let mut state = self.shared.state();
        (state.since, state.lifetime) = (whole.saturating_sub(left), whole);
    }

    /// When certificates are to be renewed, in seconds from now (RFC 9773).
    pub fn set_window(&self, window: Option<(i64, i64)>) {
        self.shared.state().window = window;
    }

    /// Answers so, in place of what was said before.
    pub fn refuse(&self, refusals: impl IntoIterator<Item = Refusal>) {
        self.shared.state().refusals = refusals.into_iter().collect();
    }

    /// The orders it got, in order.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        self.shared.state().orders.values().cloned().collect()
    }

    /// The accounts it made, each with the account elsewhere that it is bound to.
    #[must_use]
    pub fn accounts(&self) -> Vec<Option<String>> {
        self.shared.state().accounts.values().map(|account| account.bound_to.clone()).collect()
    }

    /// What it was asked for: paths, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn nonce(&mut self) -> String {
        let nonce = format!("nonce-{}", self.number());
        self.nonces.insert(nonce.clone());
        nonce
    }
}

async fn serve(shared: Arc<Shared>, listener: TcpListener, tls: TlsAcceptor) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        if shared.is_down.load(SeqCst) {
            continue;
        }
        let (shared, tls) = (shared.clone(), tls.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| answer(shared.clone(), request));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Answer> {
    if shared.is_down.load(SeqCst) {
        return Err(io::Error::other("down"));
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut state = shared.state();
    state.requests.push(path.clone());
    let told = match parts.method {
        Method::POST => match signed(&mut state, &body) {
            Ok(told) => told,
            Err(refusal) => return Ok(*refusal),
        },
        _ => Told::default(),
    };
    if let Some(refused) = refuse(&mut state, &path, &told.payload) {
        return Ok(refused);
    }
    let mut answer = match path.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["directory"] => directory(&shared.base, &state),
        ["nonce"] => reply(200, &Value::Null),
        ["account"] => account(&mut state, &shared.base, &told),
        ["order"] => new_order(&mut state, &shared.base, &told),
        ["order", number] => order(&state, &shared.base, number),
        ["authorization", number] => authorization(&state, &shared.base, number),
        ["challenge", kind, number] => challenge(&mut state, &shared, kind, number),
        ["finalize", number] => finalize(&mut state, &shared, number, &told.payload),
        ["certificate", number] => certificate(&state, number),
        ["renewal", _] => renewal(&state),
        _ => problem(404, "malformed", "there is nothing here"),
    };
    let nonce = state.nonce().parse().expect("a field value");
    answer.headers_mut().insert("replay-nonce", nonce);
    Ok(answer)
}

/// What a request says, by whom.
#[derive(Default)]
struct Told {
    account: Option<String>,
    jwk: Value,
    payload: Value,
}

/// Reads the JWS of a request (RFC 8555 §6.2) and takes its nonce.
fn signed(state: &mut State, body: &[u8]) -> Result<Told, Box<Answer>> {
    let part = |text: &Value| -> Option<Value> {
        let text = BASE64.decode(text.as_str()?).ok()?;
        if text.is_empty() { Some(Value::Null) } else { serde_json::from_slice(&text).ok() }
    };
    let read = || {
        let jws: Value = serde_json::from_slice(body).ok()?;
        Some((part(&jws["protected"])?, part(&jws["payload"])?))
    };
    let refuse = |kind, text| Err(Box::new(problem(400, kind, text)));
    let Some((header, payload)) = read() else { return refuse("malformed", "this is no JWS") };
    if !state.nonces.remove(header["nonce"].as_str().unwrap_or_default()) {
        let mut answer = problem(400, "badNonce", "this nonce is not known");
        answer.headers_mut().insert("replay-nonce", state.nonce().parse().expect("a field value"));
        return Err(Box::new(answer));
    }
    let account = header["kid"].as_str().map(str::to_owned);
    if account.as_ref().is_some_and(|account| !state.accounts.contains_key(account)) {
        return refuse("accountDoesNotExist", "this account is not known");
    }
    Ok(Told { account, jwk: header["jwk"].clone(), payload })
}

fn refuse(state: &mut State, path: &str, payload: &Value) -> Option<Answer> {
    let text = payload.to_string();
    let refusal = state
        .refusals
        .iter_mut()
        .find(|refusal| refusal.times > 0 && path.starts_with(refusal.path) && text.contains(refusal.with))?;
    refusal.times -= 1;
    let mut answer = match refusal.kind {
        "" => Response::builder()
            .status(refusal.status)
            .body(Full::from("<h1>no</h1>"))
            .expect("a valid response"),
        kind => problem(refusal.status, kind, "as the test wants it"),
    };
    if let Some(seconds) = refusal.retry_after {
        answer.headers_mut().insert("retry-after", seconds.into());
    }
    let nonce = state.nonce().parse().expect("a field value");
    answer.headers_mut().insert("replay-nonce", nonce);
    Some(answer)
}

fn directory(base: &str, state: &State) -> Answer {
    let mut directory = json!({
        "newNonce": format!("{base}/nonce"),
        "newAccount": format!("{base}/account"),
        "newOrder": format!("{base}/order"),
        "revokeCert": format!("{base}/revoke"),
        "keyChange": format!("{base}/key"),
        "meta": { "profiles": { "short": "for a test" } },
    });
    if state.window.is_some() {
        directory["renewalInfo"] = format!("{base}/renewal").into();
    }
    reply(200, &directory)
}

fn account(state: &mut State, base: &str, told: &Told) -> Answer {
    let jwk = &told.jwk;
    let canonical =
        format!(r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#, jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]);
    let thumbprint = BASE64.encode(Sha256::digest(canonical));
    let bound = told.payload["externalAccountBinding"]["protected"].as_str().map(|text| {
        let header = BASE64.decode(text).expect("Base64");
        let header: Value = serde_json::from_slice(&header).expect("JSON");
        header["kid"].as_str().expect("a key identifier").to_owned()
    });
    let url = format!("{base}/accounts/{}", state.number());
    state.accounts.insert(url.clone(), Account { thumbprint, bound_to: bound });
    with_location(reply(201, &json!({ "status": "valid" })), &url)
}

fn new_order(state: &mut State, base: &str, told: &Told) -> Answer {
    let Some(account) = told.account.as_ref().and_then(|account| state.accounts.get(account)).cloned() else {
        return problem(401, "unauthorized", "no account");
    };
    let text = |key: &str| told.payload[key].as_str().map(str::to_owned);
    let number = state.number();
    let order = Order {
        name: told.payload["identifiers"][0]["value"].as_str().unwrap_or_default().to_owned(),
        replaces: text("replaces"),
        profile: text("profile"),
        challenge: None,
        status: "pending",
        token: format!("token-{number}"),
        thumbprint: account.thumbprint,
        error: None,
        chain: String::new(),
    };
    state.orders.insert(number, order);
    let number = number.to_string();
    with_location(with_status(order_body(state, base, &number), 201), &format!("{base}/order/{number}"))
}

fn found<'a>(state: &'a State, number: &str) -> Option<&'a Order> {
    state.orders.get(&number.parse().ok()?)
}

fn order(state: &State, base: &str, number: &str) -> Answer {
    order_body(state, base, number)
}

fn order_body(state: &State, base: &str, number: &str) -> Answer {
    let Some(order) = found(state, number) else { return problem(404, "malformed", "no such order") };
    let mut body = json!({
        "status": order.status,
        "identifiers": [{ "type": "dns", "value": order.name }],
        "authorizations": [format!("{base}/authorization/{number}")],
        "finalize": format!("{base}/finalize/{number}"),
    });
    if let Some(replaces) = &order.replaces {
        body["replaces"] = replaces.as_str().into();
    }
    if order.status == "valid" {
        body["certificate"] = format!("{base}/certificate/{number}").into();
    }
    reply(200, &body)
}

fn authorization(state: &State, base: &str, number: &str) -> Answer {
    let Some(order) = found(state, number) else { return problem(404, "malformed", "no such order") };
    let status = match order.status {
        "ready" => "valid",
        other => other,
    };
    let host = order.name.strip_prefix("*.");
    let kinds: &[_] = if host.is_some() { &["dns-01"] } else { &["http-01", "tls-alpn-01", "dns-01"] };
    let challenges = kinds.iter().map(|&kind| {
        let mut challenge = json!({
            "type": kind,
            "url": format!("{base}/challenge/{kind}/{number}"),
            "status": "pending",
            "token": order.token,
        });
        if let Some(error) = order.error.as_ref().filter(|_| order.challenge.as_deref() == Some(kind)) {
            challenge["status"] = "invalid".into();
            challenge["error"] =
                json!({ "type": "urn:ietf:params:acme:error:unauthorized", "detail": error });
        }
        challenge
    });
    reply(
        200,
        &json!({
            "status": status,
            "identifier": { "type": "dns", "value": host.unwrap_or(&order.name) },
            "wildcard": host.is_some(),
            "challenges": challenges.collect::<Vec<_>>(),
        }),
    )
}

/// Begins to look.
fn challenge(state: &mut State, shared: &Arc<Shared>, kind: &str, number: &str) -> Answer {
    let (shared, kind, number) = (shared.clone(), kind.to_owned(), number.to_owned());
    let Some(order) = number.parse().ok().and_then(|number: u64| state.orders.get_mut(&number)) else {
        return problem(404, "malformed", "no such order");
    };
    order.challenge = Some(kind.clone());
    let body = json!({
        "type": kind,
        "url": format!("{}/challenge/{kind}/{number}", shared.base),
        "status": "processing",
        "token": order.token,
    });
    tokio::spawn(async move {
        let mut looks = shared.looks.subscribe();
        if looks.wait_for(|looks| *looks).await.is_err() {
            return;
        }
        let (order, address, records) = {
            let state = shared.state();
            let Some(order) = found(&state, &number).cloned() else { return };
            let places = if kind == "http-01" { &state.http } else { &state.tls };
            let address = places.get(&order.name).copied();
            (order, address, state.records.clone())
        };
        let result = match address {
            _ if kind == "dns-01" => look_by_dns(&order, records.as_deref()),
            None => Err(format!("{} leads nowhere", order.name)),
            Some(address) if kind == "http-01" => look_by_http(&order, address).await,
            Some(address) => look_by_tls(&order, address).await,
        };
        let mut state = shared.state();
        if let Some(order) = number.parse().ok().and_then(|number: u64| state.orders.get_mut(&number)) {
            (order.status, order.error) = match result {
                Ok(()) => ("ready", None),
                Err(error) => ("invalid", Some(error)),
            };
        }
    });
    reply(200, &body)
}

/// RFC 8555 §8.3.
async fn look_by_http(order: &Order, address: SocketAddr) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| text(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| text(&error))?;
    tokio::spawn(connection);
    let request = Request::get(format!("/.well-known/acme-challenge/{}", order.token))
        .header("host", &order.name)
        .body(Empty::<Bytes>::new())
        .expect("a valid request");
    let answer = sender.send_request(request).await.map_err(|error| text(&error))?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| text(&error))?.to_bytes();
    let expected = format!("{}.{}", order.token, order.thumbprint);
    if status == StatusCode::OK && body == expected {
        Ok(())
    } else {
        Err(format!("{status}: {:?} instead of {expected:?}", String::from_utf8_lossy(&body)))
    }
}

/// RFC 8555 §8.4.
fn look_by_dns(order: &Order, records: Option<&Path>) -> Result<(), String> {
    let Some(file) = records else { return Ok(()) };
    let host = order.name.strip_prefix("*.").unwrap_or(&order.name);
    let value = BASE64.encode(Sha256::digest(format!("{}.{}", order.token, order.thumbprint)));
    let expected = format!("set _acme-challenge.{host} {value}");
    let changes = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    if changes.lines().any(|line| line == expected) { Ok(()) } else { Err(format!("no {expected:?}")) }
}

/// RFC 8737 §3.
async fn look_by_tls(order: &Order, address: SocketAddr) -> Result<(), String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name = ServerName::try_from(order.name.clone()).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(b"acme-tls/1") {
        return Err("another protocol".to_owned());
    }
    let certificate = session.peer_certificates().and_then(|chain| chain.first()).ok_or("no certificate")?;
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let identifier = certificate.extensions().iter().find(|one| one.oid.to_string() == "1.3.6.1.5.5.7.1.31");
    let digest = Sha256::digest(format!("{}.{}", order.token, order.thumbprint));
    match identifier {
        Some(one) if one.critical && one.value.get(2..) == Some(&digest[..]) => Ok(()),
        Some(_) => Err("the certificate stands for another answer".to_owned()),
        None => Err("the certificate is a usual one".to_owned()),
    }
}

/// Takes any certificate.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // Libraries refuse to look at a certificate with something critical in it that they do not know.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn finalize(state: &mut State, shared: &Shared, number: &str, payload: &Value) -> Answer {
    let (since, lifetime) = (state.since, state.lifetime);
    let Some(order) = number.parse().ok().and_then(|number: u64| state.orders.get_mut(&number)) else {
        return problem(404, "malformed", "no such order");
    };
    if order.status != "ready" {
        return problem(403, "orderNotReady", order.status);
    }
    let request = BASE64.decode(payload["csr"].as_str().unwrap_or_default()).expect("Base64");
    order.chain = shared.authority.sign_request(&request, since, lifetime);
    order.status = "valid";
    order_body(state, &shared.base, number)
}

fn certificate(state: &State, number: &str) -> Answer {
    let Some(order) = found(state, number) else { return problem(404, "malformed", "no such order") };
    Response::new(Full::from(order.chain.clone()))
}

/// RFC 9773 §4.2.
fn renewal(state: &State) -> Answer {
    let Some((start, end)) = state.window else { return problem(404, "malformed", "no renewals here") };
    let moment = |seconds: i64| {
        let now = OffsetDateTime::from(SystemTime::now()) + time::Duration::seconds(seconds);
        let (date, time) = (now.date(), now.time());
        let (hour, minute, second) = time.as_hms();
        format!(
            "{}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day()
        )
    };
    let body = json!({
        "suggestedWindow": { "start": moment(start), "end": moment(end) },
        "explanationURL": "https://localhost/why",
    });
    let mut answer = reply(200, &body);
    answer.headers_mut().insert("retry-after", 3600.into());
    answer
}

fn reply(status: u16, body: &Value) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .expect("a valid response")
}

fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    reply(status, &json!({ "type": kind, "detail": detail, "status": status }))
}

fn with_status(mut answer: Answer, status: u16) -> Answer {
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

fn with_location(mut answer: Answer, url: &str) -> Answer {
    answer.headers_mut().insert("location", url.parse().expect("a field value"));
    answer
}
