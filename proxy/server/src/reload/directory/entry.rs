//! One place of the chain over time: what serves, what served before, what is refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_config::{BodyOverflow, OnError, Problem};
use tokio::sync::mpsc;

use super::codes::Hash;
use super::files::problem;
use super::status::{State, Status};
use super::version::{Inputs, Key, Lacks, Read, Refused, Version, secret_files};
use super::{Look, Scan};
use crate::policy::{Breaker, Link, Policy, Shares, Warm};

/// A file that cannot be loaded is taken for half-copied until it has not changed for this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Files that are not all there may be on their way for this long: until then what serves goes on. Longer than anyone's
/// `rm` and `cp`, and short enough to wait for when a policy is really removed.
const GRACE: Duration = Duration::from_secs(2);
/// The same for a file that some program has open and writes to.
const LONGEST_WRITING: Duration = Duration::from_secs(10);
/// How often it is looked at whether it still does.
const WRITER_LOOK: Duration = Duration::from_millis(200);

/// What is known of one place; `None` if its settings say `enabled = false`.
pub(super) struct Entry(Option<Place>);

#[derive(Default)]
pub(super) struct Place {
    serving: Option<Version>,
    /// The last version before that served well, or else the first there was: to go back to.
    good: Option<Version>,
    refusal: Option<Refusal>,
    /// A version that was put back: it stays refused until its own files change.
    put_back: Option<Box<Refused>>,
    /// As its settings named them when they were read last.
    secret_files: Vec<PathBuf>,
    /// How its files are on their way, and since when.
    unsettled: Option<(Unsettled, Instant)>,
}

/// How files are not all there.
#[derive(Clone, PartialEq, Eq)]
enum Unsettled {
    /// Some program is writing to them.
    Written,
    Gone,
    /// What there is of them.
    Partly(Key),
}

/// A version that does not serve.
struct Refusal {
    version: Box<Refused>,
    /// Since when it waits to be reported, as its files may be half-copied; `None` = it was reported.
    waiting_since: Option<Instant>,
}

/// What the files of a place ask for.
pub(super) enum Step {
    Disable,
    /// They may be on their way: look again after this.
    Wait(Duration),
    /// They are those of the version that serves.
    Stay,
    /// They are still those of a version that was refused.
    RefuseAgain,
    Refuse(Box<Refused>),
    Load(Box<Inputs>),
}

impl Default for Entry {
    fn default() -> Self {
        Self(Some(Place::default()))
    }
}

impl Entry {
    pub(super) fn disable(&mut self) {
        self.0 = None;
    }

    pub(super) fn enable(&mut self) -> &mut Place {
        self.0.get_or_insert_default()
    }

    /// What its files ask for, as they were read just now.
    pub(super) fn judge(
        &mut self,
        reading: Result<Read, Box<Refused>>,
        look: Look,
        is_written: bool,
    ) -> Step {
        let place = self.0.get_or_insert_default();
        place.secret_files = match &reading {
            Ok(Read::Inputs(inputs)) => secret_files(&inputs.settings),
            Ok(Read::Disabled) => Vec::new(),
            Err(refused) => refused.secret_files.clone(),
        };
        match place.unsettled(&reading, is_written) {
            None => place.unsettled = None,
            Some(unsettled) if look == Look::Patient => {
                if let Some(wait) = place.wait(unsettled) {
                    return Step::Wait(wait);
                }
            }
            Some(_) => {}
        }
        match reading {
            Ok(Read::Disabled) => Step::Disable,
            Err(refused) if place.refuses(&refused.key) => Step::RefuseAgain,
            Err(refused) => Step::Refuse(refused),
            Ok(Read::Inputs(inputs)) if place.serves(&inputs.key) => Step::Stay,
            Ok(Read::Inputs(inputs)) if place.has_put_back(&inputs.key) || place.refuses(&inputs.key) => {
                Step::RefuseAgain
            }
            Ok(Read::Inputs(inputs)) => Step::Load(inputs),
        }
    }

    /// Whether a place whose files are gone is gone. Files that are swapped are away for a moment, and what is required
    /// does not leave by mistake.
    pub(super) fn vanishes(&mut self, name: &str, look: Look, scan: &mut Scan) -> bool {
        let Some(place) = &mut self.0 else { return true };
        let Some(serving) = place.serving.as_ref().filter(|_| look == Look::Patient) else { return true };
        let required = serving.link.required;
        if let Some(wait) = place.wait(Unsettled::Gone) {
            scan.look_again_after(wait);
            return false;
        }
        if required {
            let message = "its files are gone, and it is required: it serves on until a reload is asked for";
            scan.problems.push(problem(&PathBuf::from(format!("{name}.wasm")), message.to_owned()));
        }
        !required
    }

    /// Files that the secrets of the last version read are in.
    pub(super) fn secret_files(&self) -> Vec<PathBuf> {
        self.0.as_ref().map(|place| place.secret_files.clone()).unwrap_or_default()
    }

    /// The code of the versions that are kept.
    pub(super) fn codes(&self) -> impl Iterator<Item = Hash> {
        let place = self.0.as_ref();
        let versions =
            [place.and_then(|place| place.serving.as_ref()), place.and_then(|place| place.good.as_ref())];
        versions.into_iter().flatten().filter_map(|version| version.key.code())
    }

    /// What stands in the chain: the version that serves, or what `on-error` makes of having none. A
    /// new file that may be half-copied is not there yet.
    pub(super) fn link(&self, name: &str) -> Option<Link> {
        let place = self.0.as_ref()?;
        if let Some(serving) = &place.serving {
            return Some(serving.link.clone());
        }
        // A shadow that is not there decides nothing either.
        let refused = place.refused().filter(|refused| !refused.is_shadow)?;
        Some(Link {
            name: name.into(),
            on_error: refused.on_error,
            required: refused.required,
            // Who cannot be called asks for no body.
            body_overflow: BodyOverflow::Deny,
            policy: Policy::Refused(refused.activation.clone()),
            breaker: Arc::new(Breaker::new(refused.on_error, 0, Shares::default(), mpsc::channel(1).0)),
            warm: Warm::default(),
            timer: None,
            shadow: None,
        })
    }

    /// `None` for what may be half-copied: it is not there yet.
    pub(super) fn status(&self, name: &str) -> Option<Status> {
        let none = Place::default();
        let (place, refused, state) = match &self.0 {
            None => (&none, None, State::Disabled),
            Some(place) => match place.reported().filter(|refused| refused.lacks != Lacks::Code) {
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
            compile_ms: plugin
                .map(|plugin| u64::try_from(plugin.compile_time().as_millis()).unwrap_or(u64::MAX)),
            memory: plugin.map(|plugin| plugin.memory()),
            breaker: serving.map(|serving| serving.link.breaker.clone()),
            shadow: None,
            beside: serving.and_then(|serving| serving.link.shadow.clone()),
            denies: serving.is_some_and(|serving| serving.link.on_error == OnError::Deny),
            required: serving.is_some_and(|serving| serving.link.required),
            in_chain: serving.is_some()
                || refused.is_some_and(|refused| refused.lacks == Lacks::Version && !refused.is_shadow),
        })
    }

    /// See [`super::Directory::roll_back`].
    pub(super) fn roll_back(&mut self, name: &str, number: u64) -> Option<Problem> {
        let place = self.0.as_mut()?;
        place.serving.as_ref().filter(|serving| serving.number == number)?;
        let good = place.good.take()?;
        let bad = place.serving.replace(good)?;
        let message = "it fails for a clearly larger share of its calls than the last version that served well, which serves again";
        let what = problem(&PathBuf::from(format!("{name}.wasm")), message.to_owned());
        let version = Box::new(Refused {
            key: bad.key,
            lacks: Lacks::Version,
            problems: vec![what.clone()],
            on_error: bad.link.on_error,
            required: bad.link.required,
            activation: Arc::default(),
            secret_files: Vec::new(),
            is_shadow: bad.link.shadow.is_some(),
        });
        place.put_back = Some(version.clone());
        place.refusal = Some(Refusal { version, waiting_since: None });
        Some(what)
    }
}

impl Place {
    fn serves(&self, key: &Key) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.key == *key)
    }

    fn refuses(&self, key: &Key) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.version.key == *key)
    }

    /// Whether these are the files of a version that was put back, which is the one that is refused then.
    fn has_put_back(&mut self, key: &Key) -> bool {
        let Some(version) = self.put_back.as_ref().filter(|version| version.key.has_files_of(key)) else {
            return false;
        };
        self.refusal = Some(Refusal { version: version.clone(), waiting_since: None });
        true
    }

    /// How files may be on their way.
    fn unsettled(&self, reading: &Result<Read, Box<Refused>>, is_written: bool) -> Option<Unsettled> {
        let partly = match reading {
            _ if is_written => return Some(Unsettled::Written),
            Ok(Read::Disabled) => None,
            Err(refused) => (refused.lacks == Lacks::Code).then_some(&refused.key),
            Ok(Read::Inputs(inputs)) => match &self.serving {
                Some(serving) => inputs.key.is_part_of(&serving.key),
                // New code, whose settings may come after it: it is not run without them.
                None => !inputs.key.has_settings(),
            }
            .then_some(&inputs.key),
        };
        partly.cloned().map(Unsettled::Partly)
    }

    /// How long to wait yet, if files have not been on their way like this for long enough.
    fn wait(&mut self, how: Unsettled) -> Option<Duration> {
        let (limit, longest) = match how {
            Unsettled::Written => (LONGEST_WRITING, WRITER_LOOK),
            Unsettled::Gone | Unsettled::Partly(_) => (GRACE, GRACE),
        };
        let since = match &self.unsettled {
            Some((before, since)) if *before == how => *since,
            _ => self.unsettled.insert((how, Instant::now())).1,
        };
        limit.checked_sub(since.elapsed()).filter(|wait| !wait.is_zero()).map(|wait| wait.min(longest))
    }

    /// The files are those of the version that serves. What was refused is forgotten.
    pub(super) fn stay(&mut self) {
        (self.refusal, self.put_back) = (None, None);
    }

    /// What the next version is compared with when it fails.
    pub(super) fn shares(&self) -> Shares {
        let serving = self.serving.as_ref().filter(|serving| serving.link.breaker.served_well());
        serving.or(self.good.as_ref()).map(|good| good.link.breaker.shares()).unwrap_or_default()
    }

    pub(super) fn serve(&mut self, version: Version) {
        let before = self.serving.replace(version);
        let before = before.filter(|version| {
            let breaker = &version.link.breaker;
            breaker.served_well() || (self.good.is_none() && !breaker.is_open())
        });
        self.good = before.or(self.good.take());
        self.stay();
    }

    pub(super) fn refuse(&mut self, version: Box<Refused>, look: Look) {
        let stays =
            self.serving.as_ref().is_some_and(|serving| serving.link.required) && look == Look::Patient;
        if version.lacks == Lacks::Code && !stays {
            (self.serving, self.good) = (None, None);
        }
        self.refusal = Some(Refusal { version, waiting_since: Some(Instant::now()) });
    }

    /// Reports a refusal, but not before the files have settled.
    pub(super) fn report(&mut self, look: Look, scan: &mut Scan) {
        let Some(refusal) = &mut self.refusal else { return };
        let age = refusal.waiting_since.map_or(PATIENCE, |since| since.elapsed());
        if look == Look::Patient && age < PATIENCE {
            scan.look_again_after(PATIENCE - age);
        } else {
            refusal.waiting_since = None;
            scan.problems.extend(refusal.version.problems.iter().cloned());
        }
    }

    /// What is refused, once its files have settled.
    fn reported(&self) -> Option<&Refused> {
        let refusal = self.refusal.as_ref()?;
        refusal.waiting_since.is_none().then_some(&*refusal.version)
    }

    /// The refusal of a policy that has a place in the chain.
    fn refused(&self) -> Option<&Refused> {
        self.reported().filter(|refused| refused.lacks == Lacks::Version)
    }
}
