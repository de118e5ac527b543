//! One place of the chain over time: what serves, what served before, what is refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_config::{BodyOverflow, OnError, Problem};
use tokio::sync::mpsc;

use super::files::problem;
use super::status::{State, Status};
use super::version::{Key, Lacks, Refused, Version};
use super::{Look, Scan};
use crate::policy::{Breaker, Link, Policy, Shares};

/// A file that cannot be loaded is taken for half-copied until it has not changed for this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of one place; `None` if its settings say `enabled = false`.
#[derive(Default)]
pub(super) struct Entry(Option<Place>);

#[derive(Default)]
pub(super) struct Place {
    serving: Option<Version>,
    /// The version before, to go back to.
    previous: Option<Version>,
    refusal: Option<Refusal>,
}

/// A version that does not serve.
struct Refusal {
    version: Box<Refused>,
    /// Since when it waits to be reported, as its files may be half-copied; `None` = it was reported.
    waiting_since: Option<Instant>,
}

impl Entry {
    pub(super) fn disable(&mut self) {
        self.0 = None;
    }

    pub(super) fn enable(&mut self) -> &mut Place {
        self.0.get_or_insert_default()
    }

    /// What stands in the chain: the version that serves, or what `on-error` makes of having none. A
    /// new file that may be half-copied is not there yet.
    pub(super) fn link(&self, name: &str) -> Option<Link> {
        let place = self.0.as_ref()?;
        if let Some(serving) = &place.serving {
            return Some(serving.link.clone());
        }
        let refused = place.refused()?;
        Some(Link {
            name: name.into(),
            on_error: refused.on_error,
            required: false,
            // Who cannot be called asks for no body.
            body_overflow: BodyOverflow::Deny,
            policy: Policy::Refused(refused.activation.clone()),
            breaker: Arc::new(Breaker::new(refused.on_error, 0, Shares::default(), mpsc::channel(1).0)),
        })
    }

    /// `None` for what may be half-copied: it is not there yet.
    pub(super) fn status(&self, name: &str) -> Option<Status> {
        let none = Place::default();
        let (place, refused, state) = match &self.0 {
            None => (&none, None, State::Disabled),
            Some(place) => match place.refused() {
                Some(refused) => (place, Some(refused), State::Refused),
                None if place.serving.is_some() => (place, None, State::Serving),
                None => return None,
            },
        };
        let serving = place.serving.as_ref();
        let plugin = serving.and_then(|serving| match &serving.link.policy {
            Policy::Serving(plugin) => Some(plugin),
            Policy::Refused(_) => None,
        });
        let error = refused.map(|refused| {
            let lines: Vec<String> = refused.problems.iter().map(Problem::to_string).collect();
            lines.join("\n")
        });
        Some(Status {
            name: name.to_owned(),
            generation: serving.map(|serving| serving.generation),
            state,
            error,
            last_good: refused.is_some() && serving.is_some(),
            phases: plugin
                .map(|plugin| plugin.phases().iter().map(|phase| phase.as_str()).collect())
                .unwrap_or_default(),
            description: plugin
                .map(|plugin| plugin.description().iter().cloned().collect())
                .unwrap_or_default(),
            breaker: serving.map(|serving| serving.link.breaker.clone()),
            denies: serving.is_some_and(|serving| serving.link.on_error == OnError::Deny),
            required: serving.is_some_and(|serving| serving.link.required),
        })
    }

    /// See [`super::Directory::roll_back`].
    pub(super) fn roll_back(&mut self, name: &str, number: u64) -> Option<Problem> {
        let place = self.0.as_mut()?;
        place.serving.as_ref().filter(|serving| serving.number == number)?;
        let previous = place.previous.take()?;
        let bad = place.serving.replace(previous)?;
        let message = "it kept failing right after it was loaded; the version before serves again";
        let what = problem(&PathBuf::from(format!("{name}.wasm")), message.to_owned());
        let version = Box::new(Refused {
            key: bad.key,
            lacks: Lacks::Version,
            problems: vec![what.clone()],
            on_error: bad.link.on_error,
            activation: Arc::default(),
        });
        place.refusal = Some(Refusal { version, waiting_since: None });
        Some(what)
    }
}

impl Place {
    pub(super) fn serves(&self, key: &Key) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.key == *key)
    }

    pub(super) fn refuses(&self, key: &Key) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.version.key == *key)
    }

    /// The files are those of the version that serves. What was refused is forgotten, but for a version that was put
    /// back: it stays refused.
    pub(super) fn stay(&mut self) {
        let serving = self.serving.as_ref().map(|serving| &serving.key);
        if self.refusal.as_ref().is_some_and(|refusal| Some(&refusal.version.key) != serving) {
            self.refusal = None;
        }
    }

    pub(super) fn serve(&mut self, version: Version) {
        self.previous = self.serving.replace(version);
        self.refusal = None;
    }

    pub(super) fn refuse(&mut self, version: Box<Refused>) {
        if version.lacks == Lacks::Code {
            (self.serving, self.previous) = (None, None);
        }
        if !self.refuses(&version.key) {
            self.refusal = Some(Refusal { version, waiting_since: Some(Instant::now()) });
        }
    }

    /// Reports a refusal, but not before the files have settled.
    pub(super) fn report(&mut self, look: Look, scan: &mut Scan) {
        let Some(refusal) = &mut self.refusal else { return };
        let age = refusal.waiting_since.map_or(PATIENCE, |since| since.elapsed());
        if look == Look::Patient && age < PATIENCE {
            let wait = PATIENCE - age;
            scan.again_after = Some(scan.again_after.map_or(wait, |other| other.min(wait)));
        } else {
            refusal.waiting_since = None;
            scan.problems.extend(refusal.version.problems.iter().cloned());
        }
    }

    /// The refusal of a policy that is there, once its files have settled.
    fn refused(&self) -> Option<&Refused> {
        let refusal = self.refusal.as_ref()?;
        let told = refusal.waiting_since.is_none() && refusal.version.lacks == Lacks::Version;
        told.then_some(&refusal.version)
    }
}
