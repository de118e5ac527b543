//! What the admin interface answers, path by path.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidegate_config::{Config, LogLevel};
use tidegate_telemetry::Format;
use tidegate_upstream::{Cluster, Hold};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Body, Inside, Interface, Last, dashboard, exposition, openapi, status};
use crate::cache;
use crate::explain::{self, Recorded};
use crate::reload::Handle;
use crate::upgrade::{Door, Failure, Reply};

/// More is asked for by nobody: some thousand servers.
const LARGEST: usize = 1 << 20;
/// For all of it to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The answer; or that there is none, to be answered instead.
type Answer = Result<Response<Body>, Refused>;
/// Boxed: it is larger than what is there otherwise.
type Refused = Box<Response<Body>>;

pub(super) async fn answer(request: &Parts, body: Incoming, interface: &Interface) -> Response<Body> {
    let inside = &interface.inside;
    let path: Vec<String> = request.uri.path().trim_start_matches('/').split('/').map(decoded).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let answer = match &path[..] {
        ["api", "v1", rest @ ..] => call(request, rest, body, interface).await,
        ["livez"] => get(request, || lines(StatusCode::OK, &status::stuck(&inside.metrics))),
        ["readyz"] => {
            let reasons = || status::not_ready(&inside.control.status(), inside.control.certificates());
            get(request, || lines(StatusCode::OK, &reasons()))
        }
        ["metrics"] => get(request, || metrics(request, inside)),
        [file] => match dashboard::file(file) {
            Some((media_type, content)) => get(request, || with_type(StatusCode::OK, media_type, content)),
            None => Err(Box::new(nothing())),
        },
        _ => Err(Box::new(nothing())),
    };
    answer.unwrap_or_else(|refusal| *refusal)
}

async fn call(request: &Parts, path: &[&str], body: Incoming, interface: &Interface) -> Answer {
    let inside = &interface.inside;
    let control = &inside.control;
    match path {
        ["status"] => get(request, || json(StatusCode::OK, &status::whole(inside))),
        ["config"] => get(request, || match control.status().config {
            Some(config) => json(StatusCode::OK, &config.shown),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "nothing serves yet\n"),
        }),
        ["openapi.json"] => get(request, || json(StatusCode::OK, &openapi::document())),
        ["events"] => match interface.events.follow() {
            Some(events) => get(request, || events),
            None => {
                Err(Box::new(text(StatusCode::SERVICE_UNAVAILABLE, "as many follow the events as may\n")))
            }
        },
        ["history"] => get(request, || json(StatusCode::OK, &interface.events.history())),
        ["state"] => get(request, || json(StatusCode::OK, &status::state(&inside.services.state.status()))),
        ["acme"] => get(request, || json(StatusCode::OK, &json!(control.certificates().status()))),
        ["acme", name, "renew"] => {
            post(request)?;
            match control.certificates().renew(name) {
                true => Ok(text(StatusCode::ACCEPTED, "begun\n")),
                false => Ok(text(StatusCode::NOT_FOUND, "no certificate is obtained for this name\n")),
            }
        }
        ["caches"] => get(request, || json(StatusCode::OK, &status::caches(&control.status().caches))),
        ["cache", "purge"] => {
            post(request)?;
            let wanted: cache::Wanted = read(body).await?;
            let (caches, here) = (control.status().caches, wanted.clone());
            let purged = caches.clone();
            match spawn_blocking(move || cache::purge(&purged, &here)).await {
                Ok(Ok(purged)) => {
                    let mut answer = json!({ "purged": purged });
                    match inside.purges.tell(&wanted, &caches).await {
                        Ok(true) => answer["others"] = "told".into(),
                        Ok(false) => {}
                        Err(error) => answer["others"] = format!("not told: {error}").into(),
                    }
                    Ok(json(StatusCode::OK, &answer))
                }
                Ok(Err(wrong)) => Err(Box::new(problem(wrong))),
                Err(_) => {
                    Err(Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, "the purge came to no end\n")))
                }
            }
        }
        ["plugins"] => get(request, || json(StatusCode::OK, &json!(control.status().plugins))),
        ["requests"] => {
            get(request, || with_type(StatusCode::OK, "application/jsonl", control.recent().lines()))
        }
        ["requests", id] => get(request, || match explained(control, id) {
            Some(explanation) => text(StatusCode::OK, explanation),
            None => text(StatusCode::NOT_FOUND, "no request with this id is kept\n"),
        }),
        ["failures"] => get(request, || json(StatusCode::OK, &json!(inside.metrics.failures.all()))),
        ["reloads"] => get(request, || json(StatusCode::OK, &status::reloads(control))),
        ["reload"] => {
            post(request)?;
            Ok(reload(control).await)
        }
        ["drain"] => {
            post(request)?;
            inside.stop.notify_one();
            Ok(json(StatusCode::ACCEPTED, &json!({ "draining": true })))
        }
        ["upgrade"] => {
            post(request)?;
            // Nothing is expected; what is left unread when a connection closes takes the answer with it.
            let _ = timeout(BODY_TIMEOUT, Limited::new(body, LARGEST).collect()).await;
            Ok(upgrade(&inside.upgrades).await)
        }
        ["session"] => {
            post(request)?;
            let Session { token } = read(body).await?;
            let Some(cookie) = interface.guard.open_session(&token) else {
                return Err(Box::new(text(StatusCode::UNAUTHORIZED, "this is not the token\n")));
            };
            let mut response = json(StatusCode::OK, &json!({}));
            let cookie = HeaderValue::try_from(cookie).expect("hexadecimal digits and words");
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            Ok(response)
        }
        ["log"] => match request.method {
            Method::PUT => {
                let Level { level } = read(body).await?;
                inside.log_level.set(level);
                tracing::info!(target: "audit", ?level, "log level");
                Ok(json(StatusCode::OK, &json!({ "level": level })))
            }
            Method::GET | Method::HEAD => {
                Ok(json(StatusCode::OK, &json!({ "level": inside.log_level.get() })))
            }
            _ => Err(Box::new(not_allowed("GET, HEAD, PUT"))),
        },
        ["upstreams"] => get(request, || json(StatusCode::OK, &status::upstreams(control))),
        ["upstreams", name, rest @ ..] => {
            let upstreams = control.status().upstreams;
            let cluster = upstreams.into_iter().find(|cluster| *cluster.name == **name);
            let cluster = cluster
                .ok_or_else(|| text(StatusCode::NOT_FOUND, format!("there is no upstream {name:?}\n")))?;
            upstream(request, &cluster, rest, body).await
        }
        _ => Err(Box::new(nothing())),
    }
}

async fn upstream(request: &Parts, cluster: &Arc<Cluster>, path: &[&str], body: Incoming) -> Answer {
    let shown = || json(StatusCode::OK, &json!(cluster.status()));
    let ordered = |server: &str, done: bool| match done {
        true => Ok(shown()),
        false => {
            Err(Box::new(text(StatusCode::NOT_FOUND, format!("the upstream has no server {server:?}\n"))))
        }
    };
    match path {
        [] => get(request, shown),
        ["servers"] => match request.method {
            Method::PUT => {
                let servers: Value = read(body).await?;
                let servers = Config::servers(&servers).map_err(|problems| {
                    json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "problems": problems }))
                })?;
                cluster.replace_servers(Some(servers));
                Ok(shown())
            }
            Method::DELETE => {
                cluster.replace_servers(None);
                Ok(shown())
            }
            Method::GET | Method::HEAD => Ok(json(StatusCode::OK, &json!(cluster.status().servers))),
            _ => Err(Box::new(not_allowed("GET, HEAD, PUT, DELETE"))),
        },
        ["servers", server, "drain"] => {
            post(request)?;
            ordered(server, cluster.hold(server, Hold::Draining))
        }
        ["servers", server, "disable"] => {
            post(request)?;
            ordered(server, cluster.hold(server, Hold::Disabled))
        }
        ["servers", server, "enable"] => {
            post(request)?;
            ordered(server, cluster.release(server))
        }
        ["servers", server, "weight"] => {
            if request.method != Method::PUT {
                return Err(Box::new(not_allowed("PUT")));
            }
            let Weight { weight } = read(body).await?;
            if !(1..=1000).contains(&weight) {
                return Err(Box::new(problem(format!("a weight is from 1 to 1000, not {weight}"))));
            }
            ordered(server, cluster.set_weight(server, weight))
        }
        _ => Err(Box::new(nothing())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: LogLevel,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    weight: u32,
}

async fn reload(control: &Handle) -> Response<Body> {
    match control.reload().await {
        Some(Ok(outcome)) if outcome.problems.is_empty() => json(StatusCode::OK, &json!(outcome)),
        Some(Ok(outcome)) => json(StatusCode::UNPROCESSABLE_ENTITY, &json!(outcome)),
        Some(Err(problems)) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "problems": problems }))
        }
        None => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

async fn upgrade(door: &Door) -> Response<Body> {
    match door.ask().await {
        Some(Reply::Done { process, told }) => {
            let mut response = json(StatusCode::OK, &json!({ "upgraded": true, "pid": process }));
            response.extensions_mut().insert(Last(Arc::new(told)));
            response
        }
        Some(Reply::Failed(Failure { reason, log })) => {
            let answer = json!({ "upgraded": false, "problems": [reason], "log": log });
            json(StatusCode::UNPROCESSABLE_ENTITY, &answer)
        }
        Some(Reply::Busy) => text(StatusCode::CONFLICT, "an upgrade is under way\n"),
        None => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

fn metrics(request: &Parts, inside: &Inside) -> Response<Body> {
    let accept = request.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::wanted(accept.unwrap_or_default());
    let metrics = exposition::write(format, &inside.control, &inside.services, &inside.metrics);
    with_type(StatusCode::OK, format.media_type(), metrics)
}

/// What policies made of a request, in words.
fn explained(control: &Handle, id: &str) -> Option<String> {
    let line = control.recent().find(id)?;
    Some(explain::text::of(&serde_json::from_str::<Recorded>(&line).ok()?))
}

/// The content of a request for a change.
async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refused> {
    let arriving = timeout(BODY_TIMEOUT, Limited::new(body, LARGEST).collect());
    let bytes = match arriving.await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => {
            return Err(Box::new(text(StatusCode::PAYLOAD_TOO_LARGE, "it is broken, or more than 1 MiB\n")));
        }
        Err(_) => return Err(Box::new(text(StatusCode::REQUEST_TIMEOUT, "it took more than 10 s\n"))),
    };
    serde_json::from_slice(&bytes).map_err(|error| Box::new(problem(error.to_string())))
}

fn problem(problem: String) -> Response<Body> {
    json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "problems": [problem] }))
}

fn get(request: &Parts, answer: impl FnOnce() -> Response<Body>) -> Answer {
    match request.method {
        Method::GET | Method::HEAD => Ok(answer()),
        _ => Err(Box::new(not_allowed("GET, HEAD"))),
    }
}

fn post(request: &Parts) -> Result<(), Refused> {
    if request.method == Method::POST { Ok(()) } else { Err(Box::new(not_allowed("POST"))) }
}

/// `ok`, or 503 with the reasons why not.
fn lines(well: StatusCode, reasons: &[String]) -> Response<Body> {
    match reasons {
        [] => text(well, "ok\n"),
        reasons => text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn nothing() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "there is nothing here\n")
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", text)
}

fn json(status: StatusCode, value: &Value) -> Response<Body> {
    with_type(status, "application/json", format!("{value:#}\n"))
}

fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {allow}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn with_type(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
