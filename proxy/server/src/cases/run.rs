//! Makes an exchange of a case, and calls the policy about it as the proxy does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tidegate_config::{Case, CaseRequest, Cases, Values};
use tidegate_message::{ResponseHead, fields as field_rules};
use tidegate_plugin_host::{
    BodyMode, CallError, Callouts, Chunk, Code, EditLimits, Exchange, Fixed, Host, Instances, LoadError,
    Phase, Plugin, Retry, Services, Settings, Side, Slot, Verdict,
};
use tidegate_state::{Answer, State};

use super::expect;
use super::script::Script;
use crate::imagined::Imagined;
use crate::response;

/// What came of one case.
pub(crate) struct Trial {
    pub(crate) name: String,
    /// From what was expected; empty if there is none.
    pub(crate) differences: Vec<String>,
    pub(crate) took: Duration,
}

/// Where the clock stands if nothing is said: the beginning of 2026.
const TIME: u64 = 1_767_225_600;

/// Tries all cases, each with a plugin of its own. Blocks meanwhile, as [`Host::load`] does.
///
/// # Errors
///
/// As [`Host::load`].
pub(crate) fn run(
    host: &Host,
    code: &Code,
    settings: &Settings,
    cases: &Cases,
) -> Result<Vec<Trial>, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| LoadError::Match(format!("cannot try its cases: {error}")))?;
    let mut settings = settings.clone();
    if !cases.secrets.is_empty() {
        let secrets = cases.secrets.iter();
        settings.secrets = secrets.map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
    }
    let mut trials = Vec::with_capacity(cases.cases.len());
    for case in &cases.cases {
        let time = Duration::from_secs(case.time.or(cases.time).unwrap_or(TIME));
        let services = Services {
            state: State::memory(),
            fixed: Some(Arc::new(Fixed::new(time, case.random))),
            ..Services::default()
        };
        let plugin = host.load_apart(code, settings.clone(), &services)?;
        let began = Instant::now();
        let differences = match runtime.block_on(about(case, cases, plugin, &services)) {
            Ok(differences) => differences,
            Err(mistake) => vec![mistake],
        };
        trials.push(Trial { name: case.name.clone(), differences, took: began.elapsed() });
    }
    Ok(trials)
}

/// What a policy made of an exchange.
pub(super) struct Outcome {
    pub(super) slot: Slot,
    pub(super) is_called: bool,
    /// Of the last call that was no `next`, or `next`.
    pub(super) verdict: &'static str,
    /// Why a call failed.
    pub(super) failure: Option<String>,
    /// It answered itself.
    pub(super) has_replied: bool,
    pub(super) request_body: Bytes,
    pub(super) response_body: Bytes,
    pub(super) callouts: usize,
    /// What the store holds of what the case asks for.
    pub(super) store: BTreeMap<String, Option<Vec<u8>>>,
}

/// How a case differs from what was expected. An error is a mistake in the case itself.
async fn about(
    case: &Case,
    cases: &Cases,
    plugin: Plugin,
    services: &Services,
) -> Result<Vec<String>, String> {
    let name = plugin.name().to_owned();
    let store = services.state.store(&name);
    for (key, value) in &case.store {
        now(store.set(key, value.as_bytes(), None)).map_err(|error| format!("store.{key}: {error}"))?;
    }
    let script = Script::new(&case.callouts);
    let door: Arc<dyn Callouts> = script.clone();
    let mut outcome = Outcome {
        slot: Slot::new(exchange(case, cases, &plugin)?),
        is_called: false,
        verdict: Verdict::Next.as_str(),
        failure: None,
        has_replied: false,
        request_body: Bytes::from(case.request.body.clone().unwrap_or_default()),
        response_body: Bytes::new(),
        callouts: 0,
        store: BTreeMap::new(),
    };
    outcome.is_called = plugin.activation().applies(&outcome.slot);
    let response = case.response.as_ref().map(|response| {
        let status =
            StatusCode::from_u16(response.status).map_err(|error| format!("response.status: {error}"))?;
        let mut head = ResponseHead::new(status, fields(&response.headers)?);
        head.content_length = Some(response.body.len() as u64);
        head.origin = response.origin.as_deref().map(Arc::from);
        Ok::<_, String>((head, Bytes::from(response.body.clone())))
    });
    if outcome.is_called {
        let mut policy = Policy { instances: Instances::new(plugin), door, outcome: &mut outcome };
        policy.run(response.transpose()?).await;
    }
    outcome.callouts = script.count();
    for key in case.expect.store.keys() {
        let value = now(store.get(key)).map_err(|error| format!("store.{key}: {error}"))?;
        outcome.store.insert(key.clone(), value);
    }
    let mut differences = script.problems();
    differences.extend(expect::differences(&case.expect, &outcome));
    Ok(differences)
}

/// Of a store in memory.
fn now<T, E: std::fmt::Display>(answer: Answer<Result<T, E>>) -> Result<T, String> {
    match answer {
        Answer::Now(answer) => answer.map_err(|error| error.to_string()),
        Answer::Later(_) => Err("the store in memory waits".to_owned()),
    }
}

struct Policy<'o> {
    instances: Instances,
    door: Arc<dyn Callouts>,
    outcome: &'o mut Outcome,
}

impl Policy<'_> {
    async fn run(&mut self, response: Option<(ResponseHead, Bytes)>) {
        let mut reply = self.call(Phase::Request, None).await;
        if !reply && self.outcome.failure.is_none() {
            let body = std::mem::take(&mut self.outcome.request_body);
            let has_body = self.outcome.slot.has_body;
            (reply, self.outcome.request_body) = self.show(Side::Request, body, has_body).await;
        }
        if self.outcome.failure.is_some() {
            return;
        }
        let response = match reply {
            true => self.reply(),
            false => response,
        };
        let Some((head, body)) = response else { return };
        self.outcome.slot.retry = Retry::Possible;
        self.respond_with(head, body);
        if self.call(Phase::Response, None).await {
            let own = self.reply();
            if let Some((head, body)) = own {
                self.respond_with(head, body);
            }
        }
        let body = std::mem::take(&mut self.outcome.response_body);
        let has_body = !body.is_empty();
        let (reply, shown) = self.show(Side::Response, body, has_body).await;
        self.outcome.response_body = shown;
        if reply && let Some((head, body)) = self.reply() {
            self.respond_with(head, body);
        }
        self.call(Phase::Log, None).await;
    }

    fn respond_with(&mut self, head: ResponseHead, body: Bytes) {
        self.outcome.slot.replace_response(head);
        self.outcome.response_body = body;
    }

    fn reply(&mut self) -> Option<(ResponseHead, Bytes)> {
        let reply = self.outcome.slot.reply.take()?;
        self.outcome.has_replied = true;
        Some(response::of_reply(reply))
    }

    /// Shows a body, if the policy asked for it: in chunks it comes as one. Whether the policy answers itself, and the body
    /// as it is then.
    async fn show(&mut self, side: Side, body: Bytes, has_body: bool) -> (bool, Bytes) {
        let mode = self.instances.plugin().body_mode(&self.outcome.slot, side);
        let phase = match (side, mode) {
            (_, BodyMode::Skip) => return (false, body),
            (Side::Request, BodyMode::Whole) => Phase::RequestBody,
            (Side::Response, BodyMode::Whole) => Phase::ResponseBody,
            (Side::Request, _) => Phase::RequestChunk,
            (Side::Response, _) => Phase::ResponseChunk,
        };
        if !has_body {
            return (false, body);
        }
        let mut chunk = Chunk::new(body, true);
        let reply = self.call(phase, Some(&mut chunk)).await;
        (reply, chunk.into_parts().0)
    }

    /// Whether the policy answers itself.
    async fn call(&mut self, phase: Phase, chunk: Option<&mut Chunk>) -> bool {
        let called = self.instances.call(phase, &mut self.outcome.slot, chunk, Some(&self.door)).await;
        let (verdict, failure) = match &called {
            Ok(Verdict::Fail) => ("fail", Some("it returned `fail`".to_owned())),
            Ok(verdict) => (verdict.as_str(), None),
            Err(error) => (CallError::as_str(error), Some(error.to_string())),
        };
        if verdict != Verdict::Next.as_str() {
            self.outcome.verdict = verdict;
        }
        if let Some(failure) = failure {
            self.outcome.failure = Some(format!("{} phase: {failure}", phase.as_str()));
        }
        called == Ok(Verdict::Respond)
    }
}

fn exchange(case: &Case, cases: &Cases, plugin: &Plugin) -> Result<Box<Exchange>, String> {
    let CaseRequest { method, url, headers, body, client, listener } = &case.request;
    let expected =
        [&case.expect.route, &case.expect.retry_at].into_iter().flatten().filter(|name| !name.is_empty());
    let names = expected.chain(&cases.destinations).chain(plugin.activation().routes());
    let destinations = Arc::new(names.map(|name| Arc::from(name.as_str())).collect());
    let headers = fields(headers).map_err(|error| format!("request.headers: {error}"))?;
    let imagined = Imagined { method, url, headers, body: body.as_deref(), client, listener };
    imagined.exchange(destinations, EditLimits::default()).map_err(|error| format!("request.{error}"))
}

/// Fields as they come from another, without framing and hop-by-hop fields.
pub(super) fn fields(written: &BTreeMap<String, Values>) -> Result<HeaderMap, String> {
    let mut fields = HeaderMap::new();
    for (name, values) in written {
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no field name"))?;
        if field_rules::is_owned_by_proxy(&parsed) {
            return Err(format!("{name:?} belongs to the proxy: leave it out"));
        }
        for value in values.iter() {
            let value =
                HeaderValue::from_str(value).map_err(|_| format!("{name}: {value:?} is no field value"))?;
            fields.append(parsed.clone(), value);
        }
    }
    Ok(fields)
}
