//! Attends to one name: looks what is due and does it, if no other proxy is at it.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::Asked;
use crate::challenges::Challenges;
use crate::failure::{Failure, Fault};
use crate::order::{self, Wish};
use crate::plan::{self, Step};
use crate::record::{Failures, Issued, Record, Window};
use crate::settings::Settings;
use crate::storage::Lease;
use crate::{At, ChallengeKind, Stored};

/// Until it is looked again what another proxy has made of a name.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// After a failure of our own.
const OWN: Duration = Duration::from_secs(60);
/// To an authority that says nothing of renewals.
const ASK_LATER: Duration = Duration::from_secs(6 * 3600);

/// What all names have in common.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    /// In the order in which they are asked.
    pub(crate) authorities: Vec<Asked>,
    pub(crate) challenges: Arc<Challenges>,
}

/// What is known of a name afterwards.
pub(crate) struct Attended {
    pub(crate) certificate: Option<Stored>,
    pub(crate) record: Record,
    /// When to look again.
    pub(crate) next: At,
    /// A failure of our own.
    pub(crate) error: Option<String>,
}

impl Attended {
    fn new(certificate: Option<Stored>, record: Record, next: At) -> Self {
        Self { certificate, record, next, error: None }
    }
}

/// Whether there is a reason not to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urge {
    /// None: what is due is done.
    #[default]
    None,
    /// What failed is tried again now: something has changed.
    Retry,
    /// A certificate is wanted now, whether or not one is due.
    Renew,
}

/// Does what is due.
pub(crate) async fn attend(context: &Context, name: &str, urge: Urge) -> Attended {
    let storage = &context.settings.storage;
    let (certificate, mut record) = look(context, name);
    let now = At::now();
    if urge == Urge::None
        && let Some(next) = idle_until(context, certificate.as_ref(), &mut record, now)
    {
        return Attended::new(certificate, record, next);
    }
    let lease = match storage.lease(name) {
        Ok(Some(lease)) => lease,
        Ok(None) => return Attended::new(certificate, record, now.plus(ELSEWHERE)),
        Err(error) => {
            let error = Some(format!("the storage cannot be used: {error}"));
            return Attended { error, ..Attended::new(certificate, record, now.plus(OWN)) };
        }
    };
    match lease.hold(attend_alone(context, name, urge, &lease)).await {
        Ok(attended) => attended,
        Err(_) => Attended::new(certificate, record, now.plus(ELSEWHERE)),
    }
}

/// What the storage has. What is there but cannot be used is as good as nothing, and said so.
pub(crate) fn look(context: &Context, name: &str) -> (Option<Stored>, Record) {
    let storage = &context.settings.storage;
    // Should that fail, so does the lease, and nothing is done.
    let _ = storage.reconcile(name);
    let certificate = storage.certificate(name).unwrap_or_else(|error| {
        tracing::error!(target: "acme", name, "{error}");
        None
    });
    (certificate, storage.record(name))
}

/// Until when there is nothing to do; `None`: something is due.
fn idle_until(context: &Context, certificate: Option<&Stored>, record: &mut Record, now: At) -> Option<At> {
    match plan::step(certificate, record, now, rand::random()) {
        Step::Wait(until) => Some(until),
        Step::Ask => None,
        Step::Obtain => {
            let free = context.authorities.iter().map(|asked| free_at(asked, record, now));
            free.min().filter(|at| *at > now)
        }
    }
}

/// When this authority may be asked for this name.
fn free_at(asked: &Asked, record: &Record, now: At) -> At {
    let failed = record.failures.get(&asked.settings.directory).map(|failures| failures.again_at);
    failed.into_iter().chain(asked.paused_until(now)).max().unwrap_or(now)
}

/// Once no other proxy is at it.
async fn attend_alone(context: &Context, name: &str, urge: Urge, lease: &Lease) -> Attended {
    // Another proxy may just have been.
    let (mut certificate, mut record) = look(context, name);
    let now = At::now();
    if urge > Urge::None {
        record.failures.clear();
        context.authorities.iter().for_each(Asked::answered);
    }
    let step = plan::step(certificate.as_ref(), &mut record, now, rand::random());
    let mut error = None;
    match step {
        Step::Obtain => error = obtain(context, name, &mut certificate, &mut record, lease).await,
        _ if urge == Urge::Renew => error = obtain(context, name, &mut certificate, &mut record, lease).await,
        Step::Ask => {
            if let Some(known) = &certificate {
                ask(context, known, &mut record).await;
            }
        }
        Step::Wait(_) => {}
    }
    let now = At::now();
    let next = idle_until(context, certificate.as_ref(), &mut record, now).unwrap_or(now);
    if let Err(fault) = context.settings.storage.set_record(name, &record) {
        error = Some(format!("the storage cannot be used: {fault}"));
    }
    // Not at once what has just been tried in vain.
    let next = if error.is_some() { next.max(now.plus(OWN)) } else { next };
    Attended { error, ..Attended::new(certificate, record, next) }
}

/// Asks one authority after the other. The error is one of our own.
async fn obtain(
    context: &Context,
    name: &str,
    certificate: &mut Option<Stored>,
    record: &mut Record,
    lease: &Lease,
) -> Option<String> {
    let storage = &context.settings.storage;
    // An order is no use if its certificate cannot be kept: authorities count them.
    if let Err(error) = storage.set_record(name, record) {
        return Some(format!("the storage cannot be used: {error}"));
    }
    for asked in &context.authorities {
        let now = At::now();
        if free_at(asked, record, now) > now {
            continue;
        }
        let directory = &asked.settings.directory;
        match order_from(context, asked, name, certificate.as_ref(), record).await {
            Ok((pem, account, challenge)) => {
                asked.answered();
                let stored = match better(pem, name, certificate.as_ref()) {
                    Ok(stored) => stored,
                    Err(text) => {
                        failed(asked, record, name, &Failure::new(Fault::Authority, text));
                        continue;
                    }
                };
                if !lease.touch() {
                    return Some("another proxy has taken the name over".to_owned());
                }
                let issued = Issued {
                    certificate: stored.id().to_owned(),
                    directory: directory.clone(),
                    account,
                    at: At::now(),
                };
                *record = Record { issued: Some(issued), challenge: Some(challenge), ..Record::default() };
                let kept = storage.set_certificate(name, &stored);
                tracing::info!(
                    target: "acme",
                    name,
                    directory,
                    valid_for = %in_words(stored.not_after().since(At::now())),
                    "certificate obtained"
                );
                // It serves although it is not kept.
                *certificate = Some(stored);
                return kept.err().map(|error| format!("the certificate cannot be kept: {error}"));
            }
            Err(failure) => failed(asked, record, name, &failure),
        }
    }
    None
}

/// One challenge after the other, until the fault is none of theirs.
async fn order_from(
    context: &Context,
    asked: &Asked,
    name: &str,
    certificate: Option<&Stored>,
    record: &mut Record,
) -> Result<(Vec<u8>, String, ChallengeKind), Failure> {
    let settings = &context.settings;
    let (account, told) = asked.account(&settings.storage, settings.email.as_deref()).await?;
    let issued = record.issued.as_ref();
    // A note for an authority that tells of renewals, which only the account can make that has the certificate.
    let has_window = record.plan.as_ref().is_some_and(|plan| plan.window.is_some());
    let replaced = certificate.filter(|certificate| {
        has_window
            && issued.is_some_and(|issued| {
                issued.certificate == certificate.id()
                    && issued.directory == asked.settings.directory
                    && issued.account == account.id()
            })
    });
    let mut kinds = settings.challenges.clone();
    if name.starts_with("*.") {
        // All names below it are shown by the zone alone (RFC 8555 §8.4).
        kinds = vec![ChallengeKind::Dns01];
    }
    kinds.sort_by_key(|kind| Some(*kind) != record.challenge);
    let mut texts = Vec::new();
    let mut last = Failure::own("there is no challenge that could be answered");
    for challenge in kinds {
        let replaces = replaced.filter(|_| !record.replaces_failed).and_then(Stored::replaced);
        let has_replaces = replaces.is_some();
        let wish = Wish {
            name,
            challenge,
            key_type: settings.key_type,
            profile: asked.settings.profile.as_deref(),
            replaces,
            dns: settings.dns.as_ref(),
        };
        let result = order::obtain(&account, &told, wish, &context.challenges, &settings.storage).await;
        match result {
            Ok(pem) => return Ok((pem, account.id().to_owned(), challenge)),
            Err(failure) => {
                record.replaces_failed |= has_replaces;
                if failure.fault == Fault::Account {
                    asked.forget_account(&settings.storage);
                }
                if failure.fault != Fault::Name {
                    return Err(failure);
                }
                texts.push(failure.text.clone());
                last = failure;
            }
        }
    }
    if texts.len() > 1 {
        last.text = texts.join("; ");
    }
    Err(last)
}

/// Notes a failure, for this name and maybe for all.
fn failed(asked: &Asked, record: &mut Record, name: &str, failure: &Failure) {
    let (now, directory) = (At::now(), &asked.settings.directory);
    let count = record.failures.get(directory).map_or(0, |failures| failures.count) + 1;
    let own = now.plus(plan::back_off(count, failure.fault, rand::random()));
    let again_at = failure.not_before.map_or(own, |said| said.max(own));
    tracing::warn!(
        target: "acme",
        name,
        directory,
        "no certificate, trying again in {} s: {failure}",
        again_at.since(now).as_secs()
    );
    let failures = Failures { count, at: now, again_at, error: failure.text.clone() };
    record.failures.insert(directory.clone(), failures);
    asked.failed(failure, now);
}

fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..7200 => format!("{seconds} s"),
        seconds @ 7200..172_800 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / (24 * 3600)),
    }
}

/// What came is only taken if it is better than what is there.
fn better(pem: Vec<u8>, name: &str, before: Option<&Stored>) -> Result<Stored, String> {
    let refused = |why: String| format!("what the authority gave cannot be used: {why}");
    let stored = Stored::parse(pem).map_err(refused)?;
    if !stored.has_name(name) {
        return Err(refused(format!("it is not for {name}")));
    }
    let now = At::now();
    if stored.not_after() <= now {
        return Err(refused("it has expired".to_owned()));
    }
    if before.is_some_and(|before| before.not_after() > stored.not_after()) {
        return Err(refused("it ends before the present one".to_owned()));
    }
    Ok(stored)
}

/// Asks whoever signed a certificate when it is to be renewed (RFC 9773 §4).
async fn ask(context: &Context, certificate: &Stored, record: &mut Record) {
    let now = At::now();
    let issuer = record.issued.as_ref().filter(|issued| issued.certificate == certificate.id());
    let asked = issuer.and_then(|issued| {
        context.authorities.iter().find(|asked| asked.settings.directory == issued.directory)
    });
    let Some(plan) = &mut record.plan else { return };
    plan.ask_at = now.plus(plan::spread(ASK_LATER, rand::random()));
    let (Some(asked), Some(id)) = (asked, certificate.replaced()) else { return };
    if let Some(until) = asked.paused_until(now) {
        plan.ask_at = until;
        return;
    }
    let settings = &context.settings;
    let account = asked.account(&settings.storage, settings.email.as_deref()).await;
    let result = match account {
        Ok((account, told)) => match account.renewal_info(&id).await {
            Ok(said) => Ok(said),
            Err(instant_acme::Error::Unsupported(_)) => return,
            Err(error) => Err(Failure::of(error, told.take())),
        },
        Err(failure) => Err(failure),
    };
    match result {
        Ok((info, again)) => {
            let moment = |time: std::time::SystemTime| At::from(time);
            let window = Window {
                start: moment(info.suggested_window.start.into()),
                end: moment(info.suggested_window.end.into()),
            };
            if plan.window != Some(window) {
                let obtained = issuer.map(|issued| issued.at);
                plan.at = plan::in_window(certificate, window, obtained, rand::random());
                plan.window = Some(window);
            }
            plan.explanation = info.explanation_url;
            plan.ask_at = At::now().plus(plan::ask_again(again));
        }
        // The plan by the lifetime stands.
        Err(failure) => {
            tracing::debug!(target: "acme", "no word of the authority on a renewal: {failure}");
            asked.failed(&failure, now);
            plan.ask_at = failure.not_before.unwrap_or(now).max(now.plus(Duration::from_secs(3600)));
        }
    }
}
