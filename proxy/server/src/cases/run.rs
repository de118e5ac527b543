//! Makes an exchange of a case, and calls the policy about it as the proxy does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tidegate_config::{Case, CaseRequest, CaseResponse, CaseStep, Cases, Values};
use tidegate_message::{ResponseHead, fields as field_rules};
use tidegate_plugin_host::{
    BodyMode, CallError, Callouts, Chunk, Code, Destinations, EditLimits, Exchange, Fixed, Host, Instances,
    LoadError, Phase, Plugin, Retry, Services, Settings, Side, Slot, Verdict,
};
use tidegate_state::{Answer, State, StoppedClock, Store};

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

/// Tries all cases, each with a plugin of its own. Blocks meanwhile, as [`Host::load`] does; what is not done by `until` is a
/// difference.
///
/// # Errors
///
/// As [`Host::load`]; that a plugin does not take the `[config]` of a case is a difference of that case.
pub(crate) fn run(
    host: &Host,
    code: &Code,
    settings: &Settings,
    cases: &Cases,
    until: Option<Instant>,
) -> Result<Vec<Trial>, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| LoadError::Match(format!("cannot try its cases: {error}")))?;
    let mut trials = Vec::with_capacity(cases.cases.len());
    for case in &cases.cases {
        let clock = Clock::new(Duration::from_secs(case.time.or(cases.time).unwrap_or(TIME)), case.random);
        let services = Services {
            state: State::memory_at(&clock.kept),
            fixed: Some(clock.told.clone()),
            ..Services::default()
        };
        let began = Instant::now();
        let differences = match host.load_apart(code, settings_of(settings, cases, case), &services) {
            Ok(plugin) => match runtime.block_on(about(case, cases, plugin, &services, &clock, until)) {
                Ok(differences) => differences,
                Err(mistake) => vec![mistake],
            },
            Err(error) if case.config.json.is_some() => vec![format!("config: {error}")],
            Err(error) => return Err(error),
        };
        trials.push(Trial { name: case.name.clone(), differences, took: began.elapsed() });
    }
    Ok(trials)
}

/// With what the case has in their place.
fn settings_of(settings: &Settings, cases: &Cases, case: &Case) -> Settings {
    let mut settings = settings.clone();
    if cases.has_secrets() {
        // Of two with the same name the later one counts.
        let secrets = cases.secrets.iter().chain(&case.secrets);
        settings.secrets = secrets.map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
    }
    if let Some(config) = &case.config.json {
        settings.config.clone_from(config);
    }
    settings
}

/// The clocks of a case, which go on together: what the plugin is told, and by what its limits and its store go.
struct Clock {
    told: Arc<Fixed>,
    kept: StoppedClock,
}

impl Clock {
    fn new(time: Duration, random: u64) -> Self {
        Self { told: Arc::new(Fixed::new(time, random)), kept: StoppedClock::default() }
    }

    fn advance(&self, by: Duration) {
        self.told.advance(by);
        self.kept.advance(by);
    }
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
    pub(super) request_body: Vec<u8>,
    pub(super) response_body: Vec<u8>,
    pub(super) callouts: usize,
    /// What the store holds of what the case asks for.
    pub(super) store: BTreeMap<String, Option<Vec<u8>>>,
}

/// How a case differs from what was expected; what is about a further request begins with which one. An error is a mistake
/// in the case itself.
async fn about(
    case: &Case,
    cases: &Cases,
    plugin: Plugin,
    services: &Services,
    clock: &Clock,
    until: Option<Instant>,
) -> Result<Vec<String>, String> {
    let store = services.state.store(plugin.name());
    for (key, value) in &case.store {
        now(store.set(key, value.as_bytes(), None)).map_err(|error| format!("store.{key}: {error}"))?;
    }
    let policy = Policy { instances: Instances::new(plugin), store };
    let destinations = destinations(case, cases, policy.instances.plugin());
    for (index, step) in case.steps().enumerate() {
        clock.advance(step.after);
        for time in 1..=step.times {
            let place = match (index.checked_sub(1), step.times) {
                (None, 1) => String::new(),
                (None, _) => format!("time {time}: "),
                (Some(then), 1) => format!("then[{then}]: "),
                (Some(then), _) => format!("then[{then}], time {time}: "),
            };
            if until.is_some_and(|until| Instant::now() > until) {
                return Ok(vec![format!("{place}all cases together take too long, so it was not tried")]);
            }
            let differences = policy.step(&step, destinations.clone()).await;
            let differences = differences.map_err(|mistake| format!("{place}{mistake}"))?;
            if !differences.is_empty() {
                // What follows is a consequence.
                return Ok(differences
                    .into_iter()
                    .map(|difference| format!("{place}{difference}"))
                    .collect());
            }
        }
    }
    Ok(Vec::new())
}

/// The names that the policy and the case speak of.
fn destinations(case: &Case, cases: &Cases, plugin: &Plugin) -> Arc<Destinations> {
    let expected = case.steps().flat_map(|step| [&step.expect.route, &step.expect.retry_at]);
    let expected = expected.flatten().filter(|name| !name.is_empty());
    let names = expected.chain(&cases.destinations).chain(plugin.activation().routes());
    let destinations: Destinations = names.map(|name| Arc::from(name.as_str())).collect();
    Arc::new(destinations.with_caches(cases.destinations.iter().map(String::as_str)))
}

/// Of a store in memory.
fn now<T, E: std::fmt::Display>(answer: Answer<Result<T, E>>) -> Result<T, String> {
    match answer {
        Answer::Now(answer) => answer.map_err(|error| error.to_string()),
        Answer::Later(_) => Err("the store in memory waits".to_owned()),
    }
}

/// A policy that one request after the other is shown to.
struct Policy {
    instances: Instances,
    store: Store,
}

impl Policy {
    /// How one request differs from what was expected.
    async fn step(
        &self,
        step: &CaseStep<'_>,
        destinations: Arc<Destinations>,
    ) -> Result<Vec<String>, String> {
        let slot = Slot::new(exchange(step.request, destinations)?);
        let response = step.response.map(response).transpose()?;
        let script = Script::new(step.callouts);
        let mut outcome = Outcome {
            is_called: self.instances.plugin().activation().applies(&slot),
            slot,
            verdict: Verdict::Next.as_str(),
            failure: None,
            has_replied: false,
            request_body: Vec::new(),
            response_body: Vec::new(),
            callouts: 0,
            store: BTreeMap::new(),
        };
        let request_body = pieces(step.request.body.as_ref());
        if outcome.is_called {
            let door: Arc<dyn Callouts> = script.clone();
            let mut walk = Walk { instances: &self.instances, door, outcome: &mut outcome };
            walk.run(request_body, response).await;
        } else {
            outcome.request_body = request_body.concat();
        }
        outcome.callouts = script.count();
        for key in step.expect.store.keys() {
            let value = now(self.store.get(key)).map_err(|error| format!("store.{key}: {error}"))?;
            outcome.store.insert(key.clone(), value);
        }
        let mut differences = script.problems();
        differences.extend(expect::differences(step.expect, &outcome));
        Ok(differences)
    }
}

/// A response, and its body in pieces.
type Response = (ResponseHead, Vec<Bytes>);

fn response(written: &CaseResponse) -> Result<Response, String> {
    let status = StatusCode::from_u16(written.status).map_err(|error| format!("response.status: {error}"))?;
    let headers = fields(&written.headers).map_err(|error| format!("response.headers: {error}"))?;
    let mut head = ResponseHead::new(status, headers);
    let body = pieces(Some(&written.body));
    head.content_length = Some(body.iter().map(|piece| piece.len() as u64).sum());
    head.origin = written.origin.as_deref().map(Arc::from);
    Ok((head, body))
}

fn pieces(body: Option<&Values>) -> Vec<Bytes> {
    let pieces = body.into_iter().flat_map(Values::iter).filter(|piece| !piece.is_empty());
    pieces.map(|piece| Bytes::from(piece.to_owned())).collect()
}

/// Leads one exchange through the phases.
struct Walk<'w> {
    instances: &'w Instances,
    door: Arc<dyn Callouts>,
    outcome: &'w mut Outcome,
}

impl Walk<'_> {
    async fn run(&mut self, body: Vec<Bytes>, response: Option<Response>) {
        let mut reply = self.call(Phase::Request, None).await == Some(Verdict::Respond);
        if reply || self.outcome.failure.is_some() {
            self.outcome.request_body = body.concat();
        } else {
            (reply, self.outcome.request_body) = self.show(Side::Request, body).await;
        }
        if self.outcome.failure.is_some() {
            return;
        }
        let response = match reply {
            true => self.reply(),
            false => response,
        };
        let Some((head, mut body)) = response else { return };
        self.outcome.slot.retry = Retry::Possible;
        self.outcome.slot.replace_response(head);
        if self.call(Phase::Response, None).await == Some(Verdict::Respond)
            && let Some((head, own)) = self.reply()
        {
            self.outcome.slot.replace_response(head);
            body = own;
        }
        let (reply, shown) = self.show(Side::Response, body).await;
        self.outcome.response_body = shown;
        if reply && let Some((head, own)) = self.reply() {
            self.outcome.slot.replace_response(head);
            self.outcome.response_body = own.concat();
        }
        self.call(Phase::Log, None).await;
    }

    fn reply(&mut self) -> Option<Response> {
        let reply = self.outcome.slot.reply.take()?;
        self.outcome.has_replied = true;
        let (head, body) = response::of_reply(reply);
        Some((head, vec![body]))
    }

    /// Shows a body as the policy asked for it, if it did. Whether the policy answers itself, and the body as it is then.
    async fn show(&mut self, side: Side, mut body: Vec<Bytes>) -> (bool, Vec<u8>) {
        let mode = self.instances.plugin().body_mode(&self.outcome.slot, side);
        let phase = match (side, mode) {
            (_, BodyMode::Skip) => return (false, body.concat()),
            (Side::Request, BodyMode::Whole) => Phase::RequestBody,
            (Side::Response, BodyMode::Whole) => Phase::ResponseBody,
            (Side::Request, _) => Phase::RequestChunk,
            (Side::Response, _) => Phase::ResponseChunk,
        };
        if mode == BodyMode::Whole && !body.is_empty() {
            body = vec![body.concat().into()];
        }
        let (count, mut passed, mut held) = (body.len(), Vec::new(), Bytes::new());
        let mut pieces = body.into_iter().enumerate();
        for (index, piece) in pieces.by_ref() {
            let mut chunk = Chunk::new([held, piece].concat().into(), index + 1 == count);
            let verdict = self.call(phase, Some(&mut chunk)).await;
            let (bytes, back) = chunk.into_parts();
            passed.extend_from_slice(&bytes);
            held = back;
            match verdict {
                Some(Verdict::Next) => {}
                Some(Verdict::Respond) => return (true, passed),
                // The policy wants to see no more of it.
                Some(Verdict::Finish | Verdict::Fail) | None => break,
            }
        }
        passed.extend_from_slice(&held);
        pieces.for_each(|(_, piece)| passed.extend_from_slice(&piece));
        (false, passed)
    }

    /// What the policy decided; `None` if the call failed.
    async fn call(&mut self, phase: Phase, chunk: Option<&mut Chunk>) -> Option<Verdict> {
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
        called.ok()
    }
}

fn exchange(request: &CaseRequest, destinations: Arc<Destinations>) -> Result<Box<Exchange>, String> {
    let CaseRequest { method, url, headers, body, certificate, client, listener } = request;
    let headers = fields(headers).map_err(|error| format!("request.headers: {error}"))?;
    let body_length = body.as_ref().map(|body| body.iter().map(str::len).sum());
    let certificate = certificate.as_deref();
    let imagined = Imagined { method, url, headers, body_length, certificate, client, listener };
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
