//! Asks the policies of the chain about an exchange, in order, and says what they decided.
//!
//! `keeper` holds the exchange, and lends it to the filters of its bodies (`filter`) while its owner waits; `bodies`
//! shows bodies to the policies that asked for them; `breaker` takes a policy out of service that keeps failing.

mod bodies;
mod breaker;
mod effects;
mod filter;
mod keeper;
mod shadow;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tidegate_config::{BodyOverflow, Config, OnError, Problem};
use tidegate_message::Reply;
use tidegate_plugin_host::{
    Account, Activation, BodyMode, CallError, Callouts, Chunk, Exchange, Instances, Phase, Plugin, Side,
    Slot, Verdict,
};

pub(crate) use self::bodies::{Passage, Refusal};
pub(crate) use self::breaker::{Breaker, Shares};
pub(crate) use self::effects::Effects;
pub(crate) use self::keeper::Keeper;
use self::shadow::{Beside, Fork};
pub(crate) use self::shadow::{Report as ShadowReport, Shadow};
use crate::error::Error;
use crate::log;
use crate::metrics::{Counting, PolicyCalls};
use crate::response;
use crate::tasks::Tasks;
use crate::timers::Timer;

/// One policy of a generation, as all workers share it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) name: Arc<str>,
    pub(crate) on_error: OnError,
    /// It is called however often it fails.
    pub(crate) required: bool,
    /// What becomes of a body that is larger than a policy may see at once.
    pub(crate) body_overflow: BodyOverflow,
    pub(crate) policy: Policy,
    /// Shared by all workers; a new version of the policy gets a new one.
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) warm: Warm,
    /// Period of its timer phase; `None` = it is not run.
    pub(crate) timer: Option<Duration>,
    /// It decides nothing.
    pub(crate) shadow: Option<Shadow>,
}

/// Instances that were made beside the traffic, as many as there are workers: each takes one set over.
#[derive(Clone, Default)]
pub(crate) struct Warm(Arc<Mutex<Vec<Instances>>>);

impl Warm {
    /// Makes a set of instances for each worker, which runs the plugin: call it where no request waits.
    pub(crate) fn of(plugin: &Plugin, workers: usize) -> Self {
        let set = |_| {
            let instances = Instances::new(plugin.clone());
            instances.warm();
            instances
        };
        Self(Arc::new(Mutex::new((0..workers).map(set).collect())))
    }

    /// The lock is taken when a worker begins a generation, by no request.
    fn take(&self) -> Option<Instances> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Link {
    /// Whether the policy can send requests to this destination, clients' or its own. Of one that could not be loaded that is not
    /// known; its own problem is reported already.
    pub(crate) fn may_reach(&self, destination: &str) -> bool {
        match &self.policy {
            Policy::Serving(plugin) => plugin.may_reach(destination),
            Policy::Refused(_) => true,
        }
    }

    /// Whether the policy has the phase; not known of one that could not be loaded.
    fn may_have(&self, phase: Phase) -> bool {
        match &self.policy {
            Policy::Serving(plugin) => plugin.has(phase),
            Policy::Refused(_) => true,
        }
    }

    /// Destinations that the policy names and that do not exist.
    pub(crate) fn missing_routes<'a>(
        &'a self,
        exists: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = &'a str> {
        let named = match &self.policy {
            Policy::Serving(plugin) => plugin.activation().routes(),
            Policy::Refused(_) => &[],
        };
        named.iter().map(String::as_str).filter(move |name| !exists(name))
    }

    /// Whether both are the same version of the same policy under the same rule for failures.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_policy = match (&self.policy, &other.policy) {
            (Policy::Serving(one), Policy::Serving(other)) => one.ptr_eq(other),
            (Policy::Refused(one), Policy::Refused(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same_policy
            && self.name == other.name
            && self.on_error == other.on_error
            && self.required == other.required
            && self.body_overflow == other.body_overflow
            && self.timer == other.timer
            && self.shadow.as_ref().map(|shadow| (&shadow.of, shadow.share))
                == other.shadow.as_ref().map(|shadow| (&shadow.of, shadow.share))
    }
}

/// Policies that name destinations which do not exist, so that their requests fail one by one; and those that are given
/// a period for nothing.
pub(crate) fn warnings(links: &[Link], config: &Config) -> Vec<Problem> {
    let exists = |name: &str| config.upstreams.contains_key(name) || config.files.contains_key(name);
    let missing = links.iter().flat_map(|link| link.missing_routes(exists).map(move |to| (&link.name, to)));
    let problem = |(name, to): (&Arc<str>, &str)| Problem {
        file: config.plugin_directory.join(format!("{name}.toml")),
        position: None,
        message: format!("it routes to {to:?}, and there is no upstream or file root of this name"),
        help: Some(format!("add [upstream.{to}], or name one that there is")),
    };
    let idle = links.iter().filter(|link| link.timer.is_some() && !link.may_have(Phase::Timer));
    let for_nothing = |link: &Link| Problem {
        file: config.plugin_directory.join(format!("{}.toml", link.name)),
        position: None,
        message: "timer is set, and the policy has no timer phase".to_owned(),
        help: Some("leave timer out".to_owned()),
    };
    let mut found: Vec<Problem> = Vec::new();
    for problem in missing.map(problem).chain(idle.map(for_nothing)) {
        if !found.contains(&problem) {
            found.push(problem);
        }
    }
    found
}

/// What stands at a place of the chain.
#[derive(Clone)]
pub(crate) enum Policy {
    Serving(Plugin),
    /// No version of it could be loaded: every request it applies to fails as if a call had.
    Refused(Arc<Activation>),
}

/// The chain of one generation on one worker.
pub(crate) struct Chain {
    places: Vec<Place>,
    may_retry: bool,
    door: OnceCell<Arc<dyn Callouts>>,
    /// Of the worker: calls about bodies go on there after the body was given up.
    tasks: Tasks,
}

struct Place {
    link: Link,
    /// `None` for a refused policy.
    instances: Option<Rc<Instances>>,
    /// Of its failures in the proxy's log.
    lines: log::Rate,
    counts: Arc<PolicyCalls>,
    /// What runs beside it. The link itself is one of them where a shadow stands alone: nothing else is done there then.
    shadows: Vec<Rc<Beside>>,
}

/// What the policies decided about a request.
pub(crate) enum Decision {
    /// Send it to the route of the exchange.
    Forward,
    /// Answer it with this.
    Reply(Reply),
}

/// What the policies decided about a response.
pub(crate) enum Reaction {
    /// It goes on, as it is in the exchange.
    Keep,
    /// Its head is in the exchange, and this is its body: one of them answers itself.
    Replaced(Bytes),
    /// The request is to be sent once more.
    Again,
}

/// What the policies did to one exchange.
pub(crate) struct Trail {
    /// Places that saw the request, in order: the response phase takes them backwards.
    seen: Vec<usize>,
    /// `None` where there is no access log to read them.
    steps: Option<Vec<Step>>,
    /// The end of the step before, which is the beginning of the next.
    clock: Option<Instant>,
}

impl Trail {
    fn begin_phase(&mut self) {
        if self.steps.is_some() {
            self.clock = Some(Instant::now());
        }
    }

    /// Notes a step that ends now; `us` of it are the microseconds since the last look at the clock.
    fn note(&mut self, step: impl FnOnce(u64) -> Step) {
        if let Some(steps) = &mut self.steps {
            let now = Instant::now();
            let since = self.clock.replace(now).unwrap_or(now);
            steps.push(step(u64::try_from((now - since).as_micros()).unwrap_or(u64::MAX)));
        }
    }

    /// Adds steps that were noted apart, if there is an access log.
    pub(crate) fn append(&mut self, others: Vec<Step>) {
        if let Some(steps) = &mut self.steps {
            steps.extend(others);
        }
    }

    /// The steps, in order.
    pub(crate) fn take_steps(&mut self) -> Vec<Step> {
        self.steps.take().unwrap_or_default()
    }
}

/// One call, or what stood in its place.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    pub(crate) policy: Arc<str>,
    pub(crate) phase: &'static str,
    pub(crate) verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'static str>,
    pub(crate) us: u64,
}

/// What came of a call, by the operator's `on-error` where it is no decision.
struct Judged {
    verdict: Result<Verdict, Error>,
    /// For a [`Step`].
    noted: &'static str,
    error: Option<&'static str>,
}

impl Judged {
    fn of(verdict: Verdict) -> Self {
        Self { verdict: Ok(verdict), noted: verdict.as_str(), error: None }
    }

    /// What it means for the rest of a body: that passes unseen if the instance that saw the beginning is gone, since
    /// none is to go on that did not.
    fn for_the_rest(mut self, keeps_state: bool) -> Self {
        if keeps_state && self.error.is_some() && matches!(self.verdict, Ok(Verdict::Next)) {
            self.verdict = Ok(Verdict::Finish);
        }
        self
    }
}

impl Chain {
    /// Instances of plugins that `previous` runs as well are taken over, warm.
    pub(crate) fn new(links: &[Link], previous: Option<&Self>, tasks: Tasks, counting: &Counting) -> Self {
        let kept = |plugin: &Plugin| {
            let places = previous.iter().flat_map(|chain| &chain.places);
            let mut instances = places.flat_map(|place| {
                let beside = place.shadows.iter().map(|beside| beside.instances());
                place.instances.iter().chain(beside)
            });
            instances.find(|instances| instances.plugin().ptr_eq(plugin)).cloned()
        };
        let instances = |link: &Link| match &link.policy {
            Policy::Serving(plugin) => {
                let warm = || link.warm.take().unwrap_or_else(|| Instances::new(plugin.clone()));
                Some(kept(plugin).unwrap_or_else(|| Rc::new(warm())))
            }
            Policy::Refused(_) => None,
        };
        let beside = |link: &Link| {
            let shadow = link.shadow.clone()?;
            Some(Beside::new(link.clone(), shadow, instances(link)?))
        };
        let mut places: Vec<Place> = Vec::with_capacity(links.len());
        for link in links {
            let Some(shadow) = &link.shadow else {
                places.push(Place::new(link.clone(), instances(link), counting));
                continue;
            };
            let shadows = beside(link).into_iter();
            // The name of a shadow follows that of its policy.
            match places.iter_mut().find(|place| shadow.of.as_ref() == Some(&place.link.name)) {
                Some(place) => place.shadows.extend(shadows),
                None => places
                    .push(Place { shadows: shadows.collect(), ..Place::new(link.clone(), None, counting) }),
            }
        }
        let may_retry = links.iter().any(|link| match &link.policy {
            Policy::Serving(plugin) => plugin.may_retry(),
            Policy::Refused(_) => false,
        });
        Self { places, may_retry, door: OnceCell::new(), tasks }
    }

    /// Whether it has a policy of this name.
    pub(crate) fn has(&self, policy: &str) -> bool {
        self.places.iter().any(|place| *place.link.name == *policy)
    }

    /// Shows what its policies hold, now and then.
    pub(crate) fn look_around(&self) {
        for place in &self.places {
            let Some(instances) = &place.instances else { continue };
            let figures = instances.figures();
            place.counts.instances.set(figures.instances as u64);
            place.counts.memory.set(figures.memory as u64);
            place.counts.remembered.add(figures.remembered);
        }
    }

    /// Where callouts of this generation go; the first counts.
    pub(crate) fn attach(&self, door: Arc<dyn Callouts>) {
        let _ = self.door.set(door);
    }

    /// What is to be done periodically.
    pub(crate) fn timers(&self) -> Vec<Timer> {
        let timers = self.places.iter().filter_map(|place| {
            let (period, instances) = (place.link.timer?, place.instances.clone()?);
            Some(Timer { policy: place.link.name.clone(), period, instances })
        });
        timers.collect()
    }

    /// The trail of a new exchange; `noted` if the access log will show its steps.
    pub(crate) fn trail(&self, noted: bool) -> Trail {
        let places = self.places.len();
        Trail {
            seen: Vec::with_capacity(places),
            steps: noted.then(|| Vec::with_capacity(2 * places)),
            clock: None,
        }
    }

    /// Makes one instance of each plugin ready that has none, so that no request waits for it: those of a version that
    /// was put back, say. Others have theirs from [`Warm`].
    pub(crate) fn warm(&self) {
        for place in &self.places {
            let beside = place.shadows.iter().map(|beside| beside.instances());
            place.instances.iter().chain(beside).for_each(|instances| instances.prepare());
        }
    }

    /// The request phase: every policy that applies, in order, until one finishes or responds.
    pub(crate) async fn on_request(&self, slot: &mut Slot, trail: &mut Trail) -> Result<Decision, Error> {
        trail.begin_phase();
        for (index, place) in self.places.iter().enumerate() {
            if place.link.shadow.is_some() || !place.applies(slot) {
                if let Some(witness) = &mut slot.witness {
                    witness.note(Account::inapplicable(&place.link.name));
                }
                // They are compared with nothing being done.
                let forks = place.forks(slot);
                self.compare(forks, slot, Verdict::Next.as_str());
                continue;
            }
            trail.seen.push(index);
            if !place.takes_part(Phase::Request) {
                continue;
            }
            match self.call(place, Phase::Request, slot, trail).await? {
                Verdict::Finish => break,
                Verdict::Respond => {
                    if let Some(reply) = slot.reply.take() {
                        return Ok(Decision::Reply(reply));
                    }
                }
                Verdict::Next | Verdict::Fail => {}
            }
        }
        Ok(Decision::Forward)
    }

    /// The response phase: the policies that saw the request, backwards. What one of them puts in place of the
    /// response is seen by those after it as any other.
    pub(crate) async fn on_response(&self, slot: &mut Slot, trail: &mut Trail) -> Result<Reaction, Error> {
        let mut reaction = Reaction::Keep;
        trail.begin_phase();
        for position in (0..trail.seen.len()).rev() {
            let place = &self.places[trail.seen[position]];
            if !place.takes_part(Phase::Response) {
                continue;
            }
            let verdict = self.call(place, Phase::Response, slot, trail).await?;
            if slot.is_retried() {
                return Ok(Reaction::Again);
            }
            match verdict {
                Verdict::Finish => break,
                Verdict::Respond => {
                    if let Some(reply) = slot.reply.take() {
                        let (head, body) = response::of_reply(reply);
                        slot.replace_response(head);
                        reaction = Reaction::Replaced(body);
                    }
                }
                Verdict::Next | Verdict::Fail => {}
            }
        }
        Ok(reaction)
    }

    /// Whether any policy may want a request to be sent once more: then what it takes is kept.
    pub(crate) fn may_retry(&self) -> bool {
        self.may_retry
    }

    /// Whether any policy that saw the request wants to see the end of the exchange.
    pub(crate) fn wants_log(&self, trail: &Trail) -> bool {
        trail.seen.iter().any(|index| self.places[*index].takes_part(Phase::Log))
    }

    /// The log phase. Failures count and are logged, but there is nothing left to deny.
    pub(crate) async fn on_log(&self, slot: &mut Slot, trail: &mut Trail) {
        trail.begin_phase();
        for position in 0..trail.seen.len() {
            let place = &self.places[trail.seen[position]];
            if place.takes_part(Phase::Log) {
                let _ = self.call(place, Phase::Log, slot, trail).await;
            }
        }
    }

    /// Calls the policy and applies the operator's `on-error` to whatever is not a decision.
    async fn call(
        &self,
        place: &Place,
        phase: Phase,
        slot: &mut Slot,
        trail: &mut Trail,
    ) -> Result<Verdict, Error> {
        let forks = if phase == Phase::Request { place.forks(slot) } else { Vec::new() };
        let judged = match &place.instances {
            None => {
                let judged = place.no_decision("refused", "no version of it could be loaded");
                place.counts.count(phase.as_str(), judged.noted, judged.error, None);
                place.witness(slot, phase, &judged, Duration::ZERO);
                judged
            }
            Some(instances) => place.ask(instances, phase, slot, None, self.door.get()).await,
        };
        self.compare(forks, slot, judged.error.unwrap_or(judged.noted));
        trail.note(|us| place.step(phase, judged.noted, judged.error, us));
        judged.verdict
    }

    /// Lets shadows look at their copies, after everything that waits already.
    fn compare(&self, forks: Vec<Fork>, slot: &Slot, verdict: &'static str) {
        for fork in forks {
            self.tasks.spawn(fork.compare(Effects::of(slot, verdict), self.door.get().cloned()));
        }
    }

    /// The same about a body or a chunk of one; the caller notes the step.
    async fn call_body(&self, place: &Place, phase: Phase, slot: &mut Slot, chunk: &mut Chunk) -> Judged {
        // Only a policy that runs asks for bodies.
        let Some(instances) = &place.instances else { return Judged::of(Verdict::Next) };
        let side = if phase == Phase::RequestChunk { Side::Request } else { Side::Response };
        let keeps_state = phase.sees_chunks() && place.body_mode(slot, side) == BodyMode::StatefulChunks;
        let judged = place.ask(instances, phase, slot, Some(chunk), self.door.get()).await;
        judged.for_the_rest(keeps_state)
    }
}

impl Place {
    fn new(link: Link, instances: Option<Rc<Instances>>, counting: &Counting) -> Self {
        let counts = counting.policy(&link.name);
        Self { link, instances, lines: log::Rate::default(), counts, shadows: Vec::new() }
    }

    fn applies(&self, exchange: &Exchange) -> bool {
        match &self.link.policy {
            Policy::Serving(plugin) => plugin.activation().applies(exchange),
            Policy::Refused(activation) => activation.applies(exchange),
        }
    }

    /// Copies of the request as it is now, for its shadows.
    fn forks(&self, exchange: &Exchange) -> Vec<Fork> {
        self.shadows.iter().filter_map(|beside| beside.fork(exchange)).collect()
    }

    /// Whether it has a say in this phase. A refused policy stops the request, and that is all.
    fn takes_part(&self, phase: Phase) -> bool {
        self.instances.as_ref().map_or(phase == Phase::Request, |instances| instances.plugin().has(phase))
    }

    async fn ask(
        &self,
        instances: &Instances,
        phase: Phase,
        slot: &mut Slot,
        chunk: Option<&mut Chunk>,
        door: Option<&Arc<dyn Callouts>>,
    ) -> Judged {
        let began = (slot.witness.is_some() || self.counts.is_timed()).then(Instant::now);
        let judged = if !self.link.required && self.link.breaker.refuses(phase) {
            self.no_decision("quarantined", "it kept failing and is quarantined")
        } else {
            let outcome = instances.call(phase, slot, chunk, door).await;
            self.judge(phase, slot, outcome)
        };
        let took = began.map(|began| began.elapsed());
        if let Some(took) = took {
            self.witness(slot, phase, &judged, took);
        }
        self.counts.count(phase.as_str(), judged.noted, judged.error, took);
        judged
    }

    /// Tells what became of a call, if somebody wants to know.
    fn witness(&self, exchange: &mut Exchange, phase: Phase, judged: &Judged, took: Duration) {
        let Some(witness) = &mut exchange.witness else { return };
        let error = judged.error.map(str::to_owned);
        let pure = match &self.link.policy {
            Policy::Serving(plugin) => plugin.activation().is_pure(),
            Policy::Refused(_) => false,
        };
        let account = Account::of_call(&self.link.name, phase, took, judged.noted, error);
        witness.note(Account { pure, ..account });
    }

    fn judge(&self, phase: Phase, exchange: &Exchange, outcome: Result<Verdict, CallError>) -> Judged {
        match outcome {
            Ok(verdict) => {
                self.link.breaker.succeeded(phase);
                match verdict {
                    Verdict::Fail => self.no_decision("fail", "it returned fail"),
                    verdict => Judged::of(verdict),
                }
            }
            Err(error) => {
                self.link.breaker.failed(phase, &error, exchange.client);
                self.log_failure(phase, &error, exchange);
                self.no_decision(error.as_str(), &error.to_string())
            }
        }
    }

    fn no_decision(&self, error: &'static str, cause: &str) -> Judged {
        let (verdict, noted) = match self.link.on_error {
            OnError::Deny => {
                let policy = self.link.name.clone();
                (Err(Error::Policy { policy, cause: cause.to_owned() }), "fail")
            }
            OnError::Skip => (Ok(Verdict::Next), "skipped"),
        };
        Judged { verdict, noted, error: Some(error) }
    }

    fn step(&self, phase: Phase, verdict: &'static str, error: Option<&'static str>, us: u64) -> Step {
        Step { policy: self.link.name.clone(), phase: phase.as_str(), verdict, error, us }
    }

    fn log_failure(&self, phase: Phase, error: &CallError, exchange: &Exchange) {
        if !self.lines.allows(&self.link.name) {
            return;
        }
        tracing::warn!(
            target: "policy",
            policy = %self.link.name,
            phase = phase.as_str(),
            error = error.as_str(),
            id = exchange.id,
            "{error}"
        );
    }
}
