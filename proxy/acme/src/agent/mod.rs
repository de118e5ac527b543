//! The thread that looks after certificates, and what others see of it.

mod demanded;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use self::demanded::{Undecided, is_permitted};
use crate::attend::{Attended, Context, Urge, attend};
use crate::authority::Asked;
use crate::challenges::Challenges;
use crate::demand::{Demand, OnDemand, Reply};
use crate::record::Record;
use crate::settings::Settings;
use crate::status::{AuthorityStatus, FailureStatus, NameState, NameStatus, Status};
use crate::storage::Version;
use crate::tickets::{self, TicketSecrets};
use crate::{At, Storage, Stored};

/// Names that are attended to at a time.
const AT_ONCE: usize = 8;
/// How often it is looked what is due, and what other proxies have put into the storage.
const TICK: Duration = Duration::from_secs(1);
/// A folder that changed less than this ago may change again without its clock telling.
const COARSE: Duration = Duration::from_secs(3);
/// How often proxies that meet elsewhere look there.
const RECONCILE: Duration = Duration::from_secs(5);
/// How long the end waits for what is being written.
const FAREWELL: Duration = Duration::from_secs(1);

/// Certificates by name.
pub type Certificates = Arc<HashMap<String, Arc<Stored>>>;

/// Looks after certificates on a thread of its own, which ends with this.
pub struct Acme {
    wanted: watch::Sender<Wanted>,
    renewals: mpsc::Sender<String>,
    shared: Arc<Shared>,
    /// Until the first names are there.
    start: Option<Start>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread begins with.
struct Start {
    wanted: watch::Receiver<Wanted>,
    renewals: mpsc::Receiver<String>,
    demands: mpsc::Receiver<Demand>,
}

/// What is looked after.
#[derive(Clone, Default)]
struct Wanted {
    /// `None`: nothing.
    settings: Option<Settings>,
    names: Arc<BTreeSet<String>>,
    /// Counts the changes of the settings.
    changes: u64,
}

/// What others see.
struct Shared {
    seen: Mutex<Seen>,
    challenges: Arc<Challenges>,
    on_demand: Arc<OnDemand>,
    tickets: Arc<TicketSecrets>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Seen {
    /// Counts the changes of `certificates`.
    version: u64,
    certificates: Certificates,
    names: BTreeMap<String, NameStatus>,
    context: Option<Arc<Context>>,
}

/// What others may ask, from any thread.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
    renewals: mpsc::Sender<String>,
}

impl Acme {
    /// Starts nothing yet. `wake` is called when there are other certificates; it must not wait.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (wanted, for_thread) = watch::channel(Wanted::default());
        let (renewals, queue) = mpsc::channel(64);
        let (on_demand, demands) = OnDemand::new();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            challenges: Arc::default(),
            on_demand: Arc::new(on_demand),
            tickets: Arc::default(),
            wake: Box::new(wake),
        });
        let start = Some(Start { wanted: for_thread, renewals: queue, demands });
        Self { wanted, renewals, shared, start, thread: None }
    }

    /// Looks after these names from now on, and after no others. `has_changed`: the settings are others than the last ones,
    /// and may help where these did not.
    ///
    /// # Errors
    ///
    /// The system starts no thread.
    pub fn look_after(
        &mut self,
        settings: Option<Settings>,
        names: BTreeSet<String>,
        has_changed: bool,
    ) -> std::io::Result<()> {
        let is_used =
            !names.is_empty() || settings.as_ref().is_some_and(|settings| settings.demanded.is_some());
        self.shared.challenges.use_storage(settings.as_ref().map(|settings| settings.storage.clone()));
        let changes = self.wanted.borrow().changes + u64::from(has_changed);
        self.wanted.send_replace(Wanted { settings, names: Arc::new(names), changes });
        if is_used && let Some(start) = self.start.take() {
            let shared = self.shared.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let run = move || runtime.block_on(Agent::new(shared).run(start));
            self.thread = Some(std::thread::Builder::new().name("acme".to_owned()).spawn(run)?);
        }
        Ok(())
    }

    /// The certificates of these names as far as there are any: those that are known, and of names that are new what is in
    /// the storage.
    pub fn certificates(&self, storage: &Storage, names: &BTreeSet<String>) -> Certificates {
        let known = {
            let seen = self.shared.seen();
            let is_same = seen.context.as_ref().is_some_and(|context| context.settings.storage == *storage);
            if is_same { seen.certificates.clone() } else { Certificates::default() }
        };
        if names.iter().all(|name| known.contains_key(name)) {
            return known;
        }
        let mut all = HashMap::clone(&known);
        for name in names.iter().filter(|name| !known.contains_key(*name)) {
            // What cannot be read is said by the thread.
            if let Ok(Some(stored)) = storage.certificate(name) {
                all.insert(name.clone(), Arc::new(stored));
            }
        }
        Arc::new(all)
    }

    /// Changes when certificates do.
    pub fn version(&self) -> u64 {
        self.shared.seen().version
    }

    /// The answers to authorities.
    pub fn challenges(&self) -> Arc<Challenges> {
        self.shared.challenges.clone()
    }

    /// The certificates of names that clients ask for.
    pub fn on_demand(&self) -> Arc<OnDemand> {
        self.shared.on_demand.clone()
    }

    /// What session tickets are sealed with, where that is shared.
    pub fn tickets(&self) -> Arc<TicketSecrets> {
        self.shared.tickets.clone()
    }

    /// For other threads.
    pub fn watcher(&self) -> Watcher {
        Watcher { shared: self.shared.clone(), renewals: self.renewals.clone() }
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        // Ends the thread.
        drop(std::mem::replace(&mut self.wanted, watch::Sender::new(Wanted::default())));
        let Some(thread) = self.thread.take() else { return };
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Watcher {
    /// How it stands.
    pub fn status(&self) -> Status {
        let seen = self.shared.seen();
        let now = At::now();
        let authorities = seen.context.iter().flat_map(|context| &context.authorities).map(|asked| {
            let pause = asked.pause();
            AuthorityStatus {
                directory: asked.settings.directory.clone(),
                paused_until: pause.until.filter(|until| *until > now),
                error: pause.error,
            }
        });
        let names = seen.names.values().cloned().map(|mut name| {
            if name.not_after.is_some_and(|end| end <= now) {
                name.state = NameState::Expired;
            }
            name
        });
        Status { authorities: authorities.collect(), names: names.collect() }
    }

    /// Has a certificate obtained now, whatever is planned and whatever failed before; whether the name is looked after.
    pub fn renew(&self, name: &str) -> bool {
        let is_known = self.shared.seen().names.contains_key(name);
        // A full queue is being worked on.
        is_known && self.renewals.try_send(name.to_owned()).is_ok()
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own.
struct Agent {
    shared: Arc<Shared>,
    context: Option<Arc<Context>>,
    /// Of the settings.
    changes: u64,
    entries: BTreeMap<String, Entry>,
    /// Names that are attended to, each with the settings it is attended to by.
    tasks: JoinSet<(Arc<Context>, Result<Attended, Undecided>)>,
    running: HashMap<Id, String>,
    /// Clients that wait for a certificate, by name.
    waiting: HashMap<String, Vec<Reply>>,
    /// Names that are not allowed, and when that was said.
    refused: HashMap<String, Instant>,
    /// Who decides which names are allowed could not be asked the last time.
    is_undecided: bool,
    /// When it was said that there are too many names.
    warned: Option<Instant>,
    /// When the certificates in the storage were looked at, and when they had changed before.
    looked: Option<(SystemTime, SystemTime)>,
    /// There are certificates that nobody was told of.
    changed: bool,
    /// When the secrets of tickets were looked at.
    tickets_at: Option<Instant>,
    /// When it was looked at what proxies have in common, how many changes there had been, and whether that cannot be
    /// found out.
    reconciled_at: Option<Instant>,
    reconciled: Option<u64>,
    is_apart: bool,
}

/// What became of a name that was attended to, by which settings.
type Done = Result<(Id, (Arc<Context>, Result<Attended, Undecided>)), JoinError>;

/// A name.
#[derive(Default)]
struct Entry {
    /// A client asked for it.
    is_demanded: bool,
    certificate: Option<Arc<Stored>>,
    /// Which one in the storage that is.
    version: Option<Version>,
    record: Record,
    /// When to attend to it; `None`: now.
    next: Option<At>,
    busy: bool,
    urge: Urge,
    error: Option<String>,
}

impl Agent {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            context: None,
            changes: 0,
            entries: BTreeMap::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            waiting: HashMap::new(),
            refused: HashMap::new(),
            is_undecided: false,
            warned: None,
            looked: None,
            changed: false,
            tickets_at: None,
            reconciled_at: None,
            reconciled: None,
            is_apart: false,
        }
    }

    async fn run(mut self, start: Start) {
        let Start { mut wanted, mut renewals, mut demands } = start;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = wanted.borrow_and_update().clone();
        self.adopt(first);
        loop {
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        // Tasks end here, and give back what they hold.
                        return;
                    }
                    let next = wanted.borrow_and_update().clone();
                    self.adopt(next);
                }
                Some(name) = renewals.recv() => {
                    if let Some(entry) = self.entries.get_mut(&name) {
                        (entry.urge, entry.next) = (Urge::Renew, None);
                    }
                }
                Some(demand) = demands.recv() => self.demanded(demand),
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.finished(done),
                _ = ticks.tick() => self.look(),
            }
            self.begin_what_is_due();
            if std::mem::take(&mut self.changed) {
                self.publish();
            }
        }
    }

    /// Looks after other names, or the same by other settings.
    fn adopt(&mut self, wanted: Wanted) {
        let Wanted { settings, names, changes } = wanted;
        let has_changed = std::mem::replace(&mut self.changes, changes) != changes;
        let before = self.context.take();
        self.context = settings.map(|settings| {
            let authorities = settings.authorities.iter().cloned().map(Asked::new).collect();
            Arc::new(Context { authorities, challenges: self.shared.challenges.clone(), settings })
        });
        let storage =
            |context: &Option<Arc<Context>>| context.as_ref().map(|context| context.settings.storage.clone());
        if storage(&before) != storage(&self.context) {
            self.entries.clear();
            if let Some(context) = &self.context {
                context.settings.storage.tidy();
            }
        }
        let demanded = self.context.as_ref().and_then(|context| context.settings.demanded.as_ref());
        self.entries.retain(|name, entry| names.contains(name) || (entry.is_demanded && demanded.is_some()));
        for name in names.iter() {
            self.entries.entry(name.clone()).or_default().is_demanded = false;
        }
        if let (Some(context), Some(demanded)) = (&self.context, demanded) {
            for name in context.settings.storage.demanded().into_iter().take(demanded.limit) {
                let new = || Entry { is_demanded: true, ..Entry::default() };
                self.entries.entry(name).or_insert_with(new);
            }
        }
        self.refused.clear();
        let entries = &self.entries;
        self.waiting.retain(|name, _| entries.contains_key(name));
        self.shared.on_demand.retain(|name| entries.get(name).is_some_and(|entry| entry.is_demanded));
        for entry in self.entries.values_mut() {
            entry.next = None;
            // Other settings may do what these could not.
            if has_changed && !entry.record.failures.is_empty() {
                entry.urge = entry.urge.max(Urge::Retry);
            }
        }
        (self.looked, self.tickets_at) = (None, None);
        (self.reconciled_at, self.reconciled) = (None, None);
        self.look();
        {
            let mut seen = self.shared.seen();
            seen.context = self.context.clone();
            seen.names.clear();
        }
        for (name, entry) in &self.entries {
            self.show(name, entry);
        }
        self.changed = true;
    }

    /// Takes up what other proxies have put into the storage.
    fn look(&mut self) {
        self.look_at_tickets();
        self.reconcile();
        let Some(context) = &self.context else { return };
        let storage = &context.settings.storage;
        let changed = storage.certificates_changed();
        let now = SystemTime::now();
        let is_same = self.looked.is_some_and(|(looked, before)| {
            Some(before) == changed && looked.duration_since(before).is_ok_and(|age| age > COARSE)
        });
        if is_same {
            return;
        }
        self.looked = changed.map(|changed| (now, changed));
        let mut renewed = Vec::new();
        for (name, entry) in &mut self.entries {
            let version = storage.certificate_version(name);
            if version == entry.version {
                continue;
            }
            entry.version = version;
            let found = match storage.certificate(name) {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(target: "acme", name, "{error}");
                    None
                }
            };
            entry.record = storage.record(name);
            if found.as_ref() == entry.certificate.as_deref() {
                continue;
            }
            match found {
                Some(found) => entry.certificate = Some(Arc::new(found)),
                // What was there and is gone serves on, until there is another one.
                None if entry.certificate.is_some() => {}
                None => continue,
            }
            if !entry.busy {
                entry.next = None;
            }
            renewed.push(name.clone());
        }
        for name in renewed {
            self.show_certificate(&name);
        }
    }

    /// Has the certificates of proxies that meet elsewhere in the directory, and the other way round.
    fn reconcile(&mut self) {
        let Some(context) = &self.context else { return };
        if self.reconciled_at.is_some_and(|at| at.elapsed() < RECONCILE) {
            return;
        }
        self.reconciled_at = Some(Instant::now());
        let storage = &context.settings.storage;
        let result = storage.changes().and_then(|changes| {
            let Some(changes) = changes else { return Ok(None) };
            let some = self.reconciled.and_then(|count| changes.since(count));
            let names: Vec<&String> = match some {
                Some(names) => names.iter().filter(|name| self.entries.contains_key(*name)).collect(),
                None => self.entries.keys().collect(),
            };
            names.into_iter().try_for_each(|name| storage.reconcile(name))?;
            Ok(Some(changes.count))
        });
        match result {
            Ok(count) => (self.reconciled, self.is_apart) = (count, false),
            Err(error) => {
                if !std::mem::replace(&mut self.is_apart, true) {
                    tracing::error!(target: "acme", "what is in [state] cannot be used: {error}");
                }
                self.reconciled = None;
            }
        }
    }

    fn look_at_tickets(&mut self) {
        let Some(context) = &self.context else { return };
        if !context.settings.shares_tickets {
            self.shared.tickets.set(Arc::default());
            return;
        }
        if self.tickets_at.is_some_and(|at| at.elapsed() < tickets::LOOK) {
            return;
        }
        self.tickets_at = Some(Instant::now());
        match tickets::look(&context.settings.storage, At::now()) {
            Ok(secrets) => self.shared.tickets.set(secrets.into()),
            // Those that are known are good for hours.
            Err(error) => tracing::error!(target: "acme", "secrets of session tickets: {error}"),
        }
    }

    fn begin_what_is_due(&mut self) {
        let Some(context) = self.context.clone() else { return };
        let now = At::now();
        self.rest(now);
        let is_due = |entry: &Entry| !entry.busy && entry.next.is_none_or(|next| next <= now);
        let due = |is_demanded: bool| {
            let entries = self.entries.iter();
            let due = entries.filter(move |(_, entry)| entry.is_demanded == is_demanded && is_due(entry));
            due.map(|(name, _)| name.clone())
        };
        let room = AT_ONCE.saturating_sub(self.tasks.len());
        let mut names: Vec<String> = due(false).take(room).collect();
        names.extend(due(true).take(self.room_for_demanded().min(room - names.len())));
        for name in names {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            entry.busy = true;
            let urge = std::mem::take(&mut entry.urge);
            let permit = context.settings.demanded.as_ref().filter(|_| entry.is_demanded);
            let permit = permit.map(|demanded| demanded.permit.clone());
            let (context, attended) = (context.clone(), name.clone());
            let task = self.tasks.spawn(async move {
                let result = match is_permitted(permit, &attended).await {
                    Ok(()) => Ok(attend(&context, &attended, urge).await),
                    Err(undecided) => Err(undecided),
                };
                (context, result)
            });
            self.running.insert(task.id(), name.clone());
            if let Some(entry) = self.entries.get(&name) {
                self.show(&name, entry);
            }
        }
    }

    fn finished(&mut self, done: Done) {
        let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(name) = self.running.remove(&id) else { return };
        let Some(entry) = self.entries.get_mut(&name) else { return };
        entry.busy = false;
        match done {
            Ok((_, (context, Ok(attended)))) => {
                let is_current = self.context.as_ref().is_some_and(|current| Arc::ptr_eq(current, &context));
                let Attended { certificate, record, next, error } = attended;
                if let Some(error) = error.as_ref().filter(|error| entry.error.as_ref() != Some(*error)) {
                    tracing::error!(target: "acme", name = %name, "{error}");
                }
                // By other settings it is looked at again.
                entry.next = if is_current && entry.urge == Urge::None { Some(next) } else { None };
                (entry.record, entry.error) = (record, error);
                let storage = &context.settings.storage;
                if let Some(certificate) = certificate
                    && self.context.as_ref().is_some_and(|now| now.settings.storage == *storage)
                    && entry.certificate.as_deref() != Some(&certificate)
                {
                    entry.version = storage.certificate_version(&name);
                    entry.certificate = Some(Arc::new(certificate));
                    self.show_certificate(&name);
                }
                self.is_undecided = false;
                self.tell(&name);
            }
            Ok((_, (_, Err(undecided)))) => self.not_attended(&name, undecided),
            // A bug; the other names go on.
            Err(_) => entry.next = Some(At::now().plus(Duration::from_secs(3600))),
        }
        if let Some(entry) = self.entries.get(&name) {
            self.show(&name, entry);
        }
    }

    /// A name has another certificate.
    fn show_certificate(&mut self, name: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        self.show(name, entry);
        match (entry.is_demanded, &entry.certificate) {
            (true, Some(certificate)) => self.shared.on_demand.set(name, certificate.clone()),
            (true, None) => {}
            (false, _) => self.changed = true,
        }
    }

    /// Hands the certificates out.
    fn publish(&self) {
        let entries = self.entries.iter().filter(|(_, entry)| !entry.is_demanded);
        let certificates = entries
            .filter_map(|(name, entry)| Some((name.clone(), entry.certificate.clone()?)))
            .collect::<HashMap<_, _>>();
        {
            let mut seen = self.shared.seen();
            seen.certificates = Arc::new(certificates);
            seen.version += 1;
        }
        (self.shared.wake)();
    }

    fn show(&self, name: &str, entry: &Entry) {
        let certificate = entry.certificate.as_deref();
        let plan = entry.record.plan.as_ref();
        let plan = plan.filter(|plan| certificate.is_some_and(|known| known.id() == plan.certificate));
        let issued = entry.record.issued.as_ref();
        let issued =
            issued.filter(|issued| certificate.is_some_and(|known| known.id() == issued.certificate));
        let failures = entry.record.failures.iter().map(|(directory, failures)| FailureStatus {
            directory: directory.clone(),
            count: failures.count,
            at: failures.at,
            again_at: failures.again_at,
            error: failures.error.clone(),
        });
        let status = NameStatus {
            name: name.to_owned(),
            on_demand: entry.is_demanded,
            state: match certificate {
                None => NameState::Missing,
                Some(_) => NameState::Valid,
            },
            busy: entry.busy,
            not_after: certificate.map(Stored::not_after),
            issued_by: issued.map(|issued| issued.directory.clone()),
            renew_at: plan.map(|plan| plan.at),
            explanation: plan.and_then(|plan| plan.explanation.clone()),
            next: entry.next,
            error: entry.error.clone(),
            failures: failures.collect(),
        };
        self.shared.seen().names.insert(name.to_owned(), status);
    }
}
