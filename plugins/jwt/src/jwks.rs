//! `jwks`: the issuer's own set of keys, fetched from it and kept in the store for all instances.
//!
//! Keys that were fetched serve on while the issuer is down or answers nonsense. A token of a key that is not among them
//! has them fetched anew, at most once in a while, whatever clients send.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde_json::Value;
use tidegate_plugin_sdk::callout::{CalloutError, Outgoing};
use tidegate_plugin_sdk::crypto::{Hash, digest};
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::store::{self, StoreError};
use tidegate_plugin_sdk::units;

use crate::json;
use crate::jwk::{self, Jwk};
use crate::jws::Jws;
use crate::refusal::Refusal;

/// Where the issuer publishes its keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Source {
    /// An upstream of `tidegate.toml`, also in `grants.callout`.
    upstream: String,
    /// The path of the set: the one in `jwks_uri` of the issuer's metadata.
    #[serde(default = "well_known")]
    path: String,
    /// The host to ask for. Without it, the server's own name.
    host: Option<String>,
    /// How old the keys may grow before they are fetched anew. With a `timer` this happens beside the traffic, at the
    /// timer's pace; without one, a request waits for it.
    #[serde(default = "ten_minutes")]
    refresh: units::Duration,
    /// How long after one attempt the next may be made, over all instances, when a token names an unknown key.
    #[serde(default = "half_a_minute")]
    cool_down: units::Duration,
    /// How long keys serve while no newer ones can be had.
    #[serde(default = "a_week")]
    keep: units::Duration,
    /// How long to wait for the issuer; `limits.callout-timeout` caps it.
    #[serde(default = "one_second")]
    timeout: units::Duration,
}

fn well_known() -> String {
    "/.well-known/jwks.json".to_owned()
}

fn ten_minutes() -> units::Duration {
    units::Duration::from_secs(10 * 60)
}

fn half_a_minute() -> units::Duration {
    units::Duration::from_secs(30)
}

fn a_week() -> units::Duration {
    units::Duration::from_secs(7 * 24 * 60 * 60)
}

fn one_second() -> units::Duration {
    units::Duration::from_secs(1)
}

/// Sets with certificates in them are large; what is kept of them is not.
const MAX_SET_BYTES: usize = 128 << 10;
/// As many as may be tried for a token that names none.
const MAX_KEYS: usize = 32;
/// How often an instance looks for keys that another one fetched.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts while there is no key at all.
const FIRST: Duration = Duration::from_secs(1);

/// The state of the last attempt, in the store, for as long as it keeps others from the next.
const UNDER_WAY: &[u8] = b"under way";
const DONE: &[u8] = b"done";
const FAILED: &[u8] = b"failed";

/// What this instance knows of the keys.
#[derive(Debug)]
pub(crate) struct Jwks {
    source: Source,
    /// Names of values in the store, good for this source alone.
    keys_name: String,
    attempt_name: String,
    known: RefCell<Option<Known>>,
    /// When the store was looked into.
    looked: Cell<Option<Duration>>,
    /// When newer keys than those that serve were wished for.
    wished: Cell<Option<Duration>>,
    /// When this instance last asked the issuer.
    tried: Cell<Option<Duration>>,
}

#[derive(Debug)]
struct Known {
    /// When they were asked for, since the Unix epoch.
    fetched: Duration,
    keys: Vec<Jwk>,
}

/// What the keys say of a signature.
enum Found {
    Right,
    Wrong,
    /// None of them is the one that the token names.
    NoKey,
}

/// What became of the wish to fetch.
enum Attempt {
    Fetched,
    Failed,
    /// Somebody is at it.
    UnderWay,
    /// It was done too lately; whether it then failed.
    TooSoon {
        failed: bool,
    },
}

impl Jwks {
    pub(crate) fn new(source: Source) -> Result<Self, Error> {
        if !source.path.starts_with('/') {
            return Err(Error::at("path", format!("`{}` does not begin with `/`", source.path)));
        }
        for (key, duration) in [
            ("refresh", source.refresh),
            ("cool-down", source.cool_down),
            ("keep", source.keep),
            ("timeout", source.timeout),
        ] {
            if duration.get().is_zero() {
                return Err(Error::at(key, "has to be longer than nothing; `1s` is short"));
            }
        }
        if source.keep < source.refresh {
            return Err(Error::at(
                "keep",
                "is shorter than `refresh`: the keys would be gone before new ones are fetched",
            ));
        }
        let host = source.host.as_deref().unwrap_or_default();
        let mark = digest(Hash::Sha256, format!("{} {} {host}", source.upstream, source.path));
        let mark: String = mark.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let jwks = Self {
            source,
            keys_name: format!("jwks/{mark}"),
            attempt_name: format!("jwks-attempt/{mark}"),
            known: RefCell::default(),
            looked: Cell::default(),
            wished: Cell::default(),
            tried: Cell::default(),
        };
        jwks.check_grants()?;
        Ok(jwks)
    }

    /// What is missing is better said now than at the first request.
    fn check_grants(&self) -> Result<(), Error> {
        if store::get(&self.keys_name) == Err(StoreError::NotGranted) {
            return Err("keeps the keys in the store: write `grants = { store = true }`".into());
        }
        // Nothing is sent while a policy configures itself; what is not granted is said all the same.
        let upstream = &self.source.upstream;
        if matches!(self.request().send(), Err(CalloutError::NotGranted)) {
            let reason = format!("is not granted: write `grants = {{ callout = [\"{upstream}\"] }}`");
            return Err(Error::at("upstream", reason));
        }
        Ok(())
    }

    /// Whether one of the keys signed it; fetches them if they are old or the key is not among them.
    pub(crate) fn verify(&self, jws: &Jws<'_>) -> Result<(), Refusal> {
        let now = environment::wall_clock();
        if self.looked.get().is_none_or(|looked| is_over(looked, LOOK, now)) {
            self.look(now);
        }
        // While somebody else is at it, the old ones are good.
        if self.is_due(now) && self.wished.get().is_none_or(|wished| is_over(wished, LOOK, now)) {
            self.wished.set(Some(now));
            self.fetch(now);
        }
        match self.find(jws, now) {
            Found::Right => return Ok(()),
            Found::Wrong => return Err(WRONG),
            Found::NoKey => {}
        }
        let attempt = self.fetch(now);
        if !matches!(attempt, Attempt::Fetched) {
            // Whoever was faster may have had it.
            self.look(now);
        }
        match (self.find(jws, now), attempt) {
            (Found::Right, _) => Ok(()),
            (Found::Wrong, _) => Err(WRONG),
            (Found::NoKey, Attempt::Fetched | Attempt::TooSoon { failed: false }) if self.is_known(now) => {
                Err(Refusal::Token("no key that is known has signed the token"))
            }
            // It may well be a good one.
            (Found::NoKey, Attempt::Failed | Attempt::TooSoon { failed: true }) if self.is_known(now) => {
                Err(Refusal::Unavailable {
                    retry_after_seconds: self.source.cool_down.get().as_secs().max(1),
                })
            }
            (Found::NoKey, _) => Err(Refusal::Unavailable { retry_after_seconds: FIRST.as_secs() }),
        }
    }

    /// Of the timer: fetches, unless that was done a moment ago.
    pub(crate) fn refresh(&self) -> Result<(), String> {
        let now = environment::wall_clock();
        self.look(now);
        // Of what clients set off, nothing but a success holds it up.
        if matches!(self.claim(now), Err(Attempt::TooSoon { failed: false })) {
            return Ok(());
        }
        match self.carry_out() {
            Attempt::Failed => Err("there are no new keys".to_owned()),
            _ => Ok(()),
        }
    }

    fn find(&self, jws: &Jws<'_>, now: Duration) -> Found {
        let known = self.known.borrow();
        let keys =
            known.as_ref().filter(|known| self.serves(known, now)).map_or(&[][..], |known| &known.keys);
        let token = jws.key_id.as_deref();
        let mut fitting = keys.iter().filter(|key| key.may_be(token));
        if fitting.any(|key| key.verify(jws.algorithm, jws.signed, &jws.signature)) {
            return Found::Right;
        }
        // A token or a key without a name says nothing of whether there is a newer key.
        let is_named = token.is_some() && keys.iter().any(|key| key.id.as_deref() == token);
        if is_named { Found::Wrong } else { Found::NoKey }
    }

    #[cfg(test)]
    pub(crate) fn attempt_name(&self) -> &str {
        &self.attempt_name
    }

    fn is_known(&self, now: Duration) -> bool {
        self.known.borrow().as_ref().is_some_and(|known| self.serves(known, now))
    }

    fn serves(&self, known: &Known, now: Duration) -> bool {
        now.saturating_sub(known.fetched) <= self.source.keep.get()
    }

    fn is_due(&self, now: Duration) -> bool {
        let known = self.known.borrow();
        known.as_ref().is_none_or(|known| is_over(known.fetched, self.source.refresh.get(), now))
    }

    /// Takes what another instance fetched.
    fn look(&self, now: Duration) {
        self.looked.set(Some(now));
        // While the store cannot be reached, what is known here counts.
        let Ok(Some(value)) = store::get(&self.keys_name) else { return };
        let Some((fetched, set)) = str::from_utf8(&value).ok().and_then(|value| value.split_once('\n'))
        else {
            return;
        };
        let Ok(fetched) = fetched.parse().map(Duration::from_millis) else { return };
        if self.known.borrow().as_ref().is_some_and(|known| known.fetched == fetched) {
            return;
        }
        if let Ok(keys) = read(set.as_bytes()) {
            self.known.replace(Some(Known { fetched, keys }));
        }
    }

    fn fetch(&self, now: Duration) -> Attempt {
        match self.claim(now) {
            Ok(()) => self.carry_out(),
            Err(other) => other,
        }
    }

    /// The next attempt is this instance's; otherwise what is known of the last one.
    fn claim(&self, now: Duration) -> Result<(), Attempt> {
        // It ends at the latest when its time is over; who has given up by then keeps nobody from the next.
        let longest = self.source.timeout.get() + LOOK;
        match store::compare_and_set(&self.attempt_name, None, UNDER_WAY, Some(longest)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(match store::get(&self.attempt_name) {
                Ok(Some(state)) if state == DONE => Attempt::TooSoon { failed: false },
                Ok(Some(state)) if state == FAILED => Attempt::TooSoon { failed: true },
                _ => Attempt::UnderWay,
            }),
            // Without the store each instance goes by itself.
            Err(_) => match self.tried.get() {
                Some(tried) if !is_over(tried, self.pause(now), now) => {
                    let failed = self.known.borrow().as_ref().is_none_or(|known| known.fetched < tried);
                    Err(Attempt::TooSoon { failed })
                }
                _ => Ok(()),
            },
        }
    }

    fn carry_out(&self) -> Attempt {
        let asked = environment::wall_clock();
        self.tried.set(Some(asked));
        let fetched = self.ask();
        let (attempt, state) = match fetched {
            Ok(keys) => {
                self.keep(keys, asked);
                (Attempt::Fetched, DONE)
            }
            Err(reason) => {
                log::warn!("no new keys from `{}`: {reason}", self.source.upstream);
                (Attempt::Failed, FAILED)
            }
        };
        let _ = store::set(&self.attempt_name, state, Some(self.pause(environment::wall_clock())));
        attempt
    }

    fn keep(&self, keys: Vec<Jwk>, asked: Duration) {
        // The timer may have asked later and been answered sooner: an answer that took long has the older keys.
        self.look(environment::wall_clock());
        let is_newer = |known: &Known| asked < known.fetched && known.fetched <= environment::wall_clock();
        if self.known.borrow().as_ref().is_some_and(is_newer) {
            return;
        }
        let set: Vec<String> = keys.iter().map(Jwk::to_member).collect();
        let value = format!("{}\n{{\"keys\":[{}]}}", asked.as_millis(), set.join(","));
        if let Err(error) = store::set(&self.keys_name, value, Some(self.source.keep.get())) {
            log::warn!("the keys are kept by this instance alone: {error}");
            // Nobody is to go back to older ones.
            let _ = store::remove(&self.keys_name);
        }
        // To the millisecond, as it is written there.
        let fetched = Duration::from_millis(u64::try_from(asked.as_millis()).unwrap_or(u64::MAX));
        self.known.replace(Some(Known { fetched, keys }));
    }

    fn pause(&self, now: Duration) -> Duration {
        if self.is_known(now) { self.source.cool_down.get() } else { FIRST }
    }

    fn request(&self) -> Outgoing {
        let request = Outgoing::new(&self.source.upstream, "GET", &self.source.path)
            .header("accept", "application/jwk-set+json, application/json")
            .timeout(self.source.timeout.get());
        match &self.source.host {
            Some(host) => request.host(host),
            None => request,
        }
    }

    fn ask(&self) -> Result<Vec<Jwk>, String> {
        let response = self.request().send().map_err(|error| error.to_string())?;
        if response.status() != 200 {
            return Err(format!("the status is {}", response.status()));
        }
        let keys = read(&response.body())?;
        log::info!("{} keys from `{}`", keys.len(), self.source.upstream);
        Ok(keys)
    }
}

const WRONG: Refusal = Refusal::Token("the signature of the token is not valid");

/// Whether so much time has passed since; also if the clock was put back.
fn is_over(since: Duration, span: Duration, now: Duration) -> bool {
    now < since || now - since >= span
}

/// The keys of a set that can be used; an error if there are none, as an issuer has some.
fn read(set: &[u8]) -> Result<Vec<Jwk>, String> {
    if set.len() > MAX_SET_BYTES {
        return Err(format!("the set has more than {MAX_SET_BYTES} bytes"));
    }
    let set = json::object(set).ok_or("the answer is no JSON object, or a name stands twice in it")?;
    let members = jwk::members(&set).ok_or("the answer is no set of keys")?;
    let mut keys = Vec::new();
    for (index, member) in members.enumerate() {
        match Jwk::new(member) {
            // Whoever can read the set could sign with it.
            Ok(key) if key.is_symmetric => {
                log::warn!("key {index} of the set is left out: it is an HMAC key")
            }
            Ok(_) if keys.len() == MAX_KEYS => {
                log::warn!("the set has more than {MAX_KEYS} keys; the rest is left out");
                break;
            }
            Ok(key) => keys.push(key),
            Err(reason) => log::debug!("key {index} of the set is left out: {reason}"),
        }
    }
    if keys.is_empty() { Err("the set has no key that can be used".to_owned()) } else { Ok(keys) }
}

impl Jwk {
    /// As it is kept in the store.
    fn to_member(&self) -> String {
        match &self.id {
            Some(id) => self.text.replacen('{', &format!("{{\"kid\":{},", Value::from(id.as_str())), 1),
            None => self.text.clone(),
        }
    }
}
