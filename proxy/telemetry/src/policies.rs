//! The metrics of all policies: which there are, and what is shown of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::definition::{DROPPED, Definition, Kind};
use crate::exposition::{Exposition, Labels, Type};
use crate::metric::{Metric, Shared};
use crate::room::Room;

/// More than a policy's author keeps apart.
const MAX_METRICS: usize = 100;

/// The metrics that policies define, all policies of the process. Cloning gives another handle to the same.
///
/// A metric is shown as `tidegate_policy_<name>`, a counter's name with `_total` at its end, with the label
/// `policy` before the policy's own. Several policies may define a metric of the same name, with labels of their
/// own, but only with one type: so Prometheus wants it, and the second to ask for another is refused.
///
/// Nothing is kept that nobody holds. A metric is there as long as a [`Metric`] of it is, or the [`OnePolicy`]
/// that defined it. So counts survive a reload, for which the new version is loaded before the last is let
/// go, and a policy that was taken away is gone from the exposition too.
#[derive(Debug, Clone, Default)]
pub struct PolicyMetrics(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    rooms: BTreeMap<Box<str>, Weak<Room>>,
    /// By the name that is shown; of each policy's the last counts.
    families: BTreeMap<String, Vec<Defined>>,
}

#[derive(Debug)]
struct Defined {
    metric: Weak<Shared>,
    help: String,
}

impl PolicyMetrics {
    /// The metrics of one policy, to be asked for once for each version that is loaded. All versions of the same
    /// name share counts, as far as they define the same, and the limit of 1,000 series.
    pub fn of(&self, policy: &str) -> OnePolicy {
        let rooms = &mut self.lock().rooms;
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = rooms.get(policy).and_then(Weak::upgrade).unwrap_or_else(|| {
            let room = Arc::new(Room::new(policy));
            rooms.insert(policy.into(), Arc::downgrade(&room));
            room
        });
        OnePolicy { all: self.clone(), room, defined: Arc::default() }
    }

    /// Appends all metrics: families by name, the policies of
    /// each by name, series by the values of their labels. At most 10,000 lines for each policy, and those of
    /// its metrics without labels.
    pub fn write(&self, out: &mut Exposition) {
        let families = self.shown();
        let (before, after) = families.split_at(families.partition_point(|family| *family.name < *DROPPED));
        before.iter().for_each(|family| family.write(out));
        write_dropped(&families, out);
        after.iter().for_each(|family| family.write(out));
    }

    /// What is to be shown, so that nobody waits while it is written.
    fn shown(&self) -> Vec<Family> {
        let mut known = self.lock();
        known.forget_gone();
        known.families.iter().filter_map(|(name, defined)| Family::new(name, defined)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics of one version of a policy. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub struct OnePolicy {
    all: PolicyMetrics,
    room: Arc<Room>,
    /// What this version defined, by the name that is shown.
    defined: Arc<Mutex<BTreeMap<String, Metric>>>,
}

impl OnePolicy {
    /// Defines a metric, or finds the one this version defined before: every instance may ask.
    ///
    /// If another version of the policy defined the same (but for `help`), the counts go on. If it defined
    /// something else under the name, this one starts anew and is shown from now on; should this version be
    /// let go first, the other one's, which counted on, is shown again.
    ///
    /// `name` and `labels` consist of ASCII letters, digits and `_`, do not begin with a digit or `__`, and have at
    /// most 100 bytes; there are at most 10 labels, none of them `policy` or `le`, and at most 100 metrics. `help`
    /// has at most 1,000 bytes. The error is a sentence for the policy's author.
    ///
    /// Takes locks, held for no longer than such a look-up takes; not made for every request.
    pub fn define(&self, name: &str, help: &str, kind: Kind, labels: &[String]) -> Result<Metric, String> {
        let definition = Definition::new(name, help, kind, labels)?;
        let mut defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = defined.len();
        match defined.entry(definition.name.clone()) {
            Entry::Occupied(before) if before.get().0.definition == definition => Ok(before.get().clone()),
            Entry::Occupied(_) => Err(format!(
                "{} is defined already, with another type, other labels or buckets",
                definition.name
            )),
            Entry::Vacant(_) if so_far >= MAX_METRICS => {
                Err(format!("{} would be one more than {MAX_METRICS} metrics", definition.name))
            }
            Entry::Vacant(place) => {
                let metric = self.all.lock().define(definition, help, &self.room)?;
                Ok(place.insert(Metric(metric)).clone())
            }
        }
    }
}

impl Known {
    fn define(
        &mut self,
        definition: Definition,
        help: &str,
        room: &Arc<Room>,
    ) -> Result<Arc<Shared>, String> {
        self.forget_gone();
        let family = self.families.entry(definition.name.clone()).or_default();
        let mut same = None;
        for metric in family.iter().filter_map(|defined| defined.metric.upgrade()) {
            if !Arc::ptr_eq(&metric.room, room) {
                check_type(&definition, &metric)?;
            } else if metric.definition == definition {
                same = Some(metric);
            }
        }
        let metric = same.unwrap_or_else(|| Arc::new(Shared::new(definition, room.clone())));
        family.retain(|defined| !defined.metric.ptr_eq(&Arc::downgrade(&metric)));
        family.push(Defined { metric: Arc::downgrade(&metric), help: help.to_owned() });
        Ok(metric)
    }

    /// Drops what nobody holds any more.
    fn forget_gone(&mut self) {
        self.families.retain(|_, family| {
            family.retain(|defined| defined.metric.strong_count() > 0);
            !family.is_empty()
        });
    }
}

fn check_type(definition: &Definition, of_other: &Shared) -> Result<(), String> {
    let (wanted, there) = (definition.shown_type(), of_other.definition.shown_type());
    if wanted == there {
        return Ok(());
    }
    let (name, other) = (&definition.name, &of_other.room.policy);
    Err(format!("{name} cannot be a {wanted}: the policy {other:?} has a {there} of that name"))
}

/// What is shown under one name.
struct Family {
    name: String,
    help: String,
    /// By the policy's name.
    metrics: Vec<Arc<Shared>>,
}

impl Family {
    /// The last definition of each policy; the first policy's help is that of all. None if all are gone.
    fn new(name: &str, defined: &[Defined]) -> Option<Self> {
        let mut newest = BTreeMap::new();
        for Defined { metric, help } in defined {
            if let Some(metric) = metric.upgrade() {
                newest.insert(metric.room.policy.clone(), (metric, help));
            }
        }
        let help = newest.values().next().map(|(_, help)| (*help).clone())?;
        let metrics = newest.into_values().map(|(metric, _)| metric).collect();
        Some(Self { name: name.to_owned(), help, metrics })
    }

    fn write(&self, out: &mut Exposition) {
        let Some(first) = self.metrics.first() else { return };
        out.family(&self.name, &self.help, first.definition.shown_type());
        self.metrics.iter().for_each(|metric| metric.write(out));
    }
}

/// For each policy that has metrics.
fn write_dropped(families: &[Family], out: &mut Exposition) {
    let metrics = families.iter().flat_map(|family| &family.metrics);
    let rooms: BTreeMap<_, _> = metrics.map(|metric| (&metric.room.policy, &metric.room)).collect();
    if rooms.is_empty() {
        return;
    }
    let help = "What a policy counted for new labels while it had too many series already.";
    out.family(DROPPED, help, Type::Counter);
    for (policy, room) in rooms {
        out.sample(DROPPED, &Labels::default().and("policy", policy), room.dropped());
    }
}
