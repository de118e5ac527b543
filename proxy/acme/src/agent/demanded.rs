//! Names that clients asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Agent, Entry};
use crate::At;
use crate::demand::{Demand, Denied, Reply};
use crate::settings::Permit;

/// Names that are attended to at a time, of those: whoever asks for many holds up no others.
const AT_ONCE: usize = 4;
/// Names without a certificate that clients wait for, and clients that wait for one of them.
const MOST_WAITED_FOR: usize = 64;
const MOST_WAITING: usize = 256;
/// How long a name that is not allowed is not asked about again, and how many of those are remembered.
const REFUSED_FOR: Duration = Duration::from_secs(60);
const MOST_REFUSED: usize = 1024;
/// How often it is looked whether somebody asked for a name whose certificate is to be renewed.
const UNUSED: Duration = Duration::from_secs(3600);
/// What is done within this time is waited for.
const SOON: Duration = Duration::from_secs(5);
/// How often it is said that there are too many names.
const WARN: Duration = Duration::from_secs(60);
/// After who decides could not be asked.
const UNDECIDED: Duration = Duration::from_secs(60);

/// Why a name is not attended to.
pub(super) enum Undecided {
    NotAllowed,
    /// Who decides gave no answer.
    Unknown(String),
}

/// Whether a name may be attended to; without somebody who decides, it may.
pub(super) async fn is_permitted(permit: Option<Arc<dyn Permit>>, name: &str) -> Result<(), Undecided> {
    let Some(permit) = permit else { return Ok(()) };
    match permit.allows(name).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Undecided::NotAllowed),
        Err(error) => Err(Undecided::Unknown(error)),
    }
}

/// Whether it is no use to wait: it failed, or the authorities are left alone.
fn is_vain(entry: &Entry) -> bool {
    let is_put_off = entry.next.is_some_and(|next| next > At::now().plus(SOON));
    is_put_off || entry.error.is_some() || !entry.record.failures.is_empty()
}

fn is_waited_for(waiting: &HashMap<String, Vec<Reply>>, name: &str) -> bool {
    waiting.get(name).is_some_and(|replies| replies.iter().any(|reply| !reply.is_closed()))
}

impl Agent {
    pub(super) fn room_for_demanded(&self) -> usize {
        let busy = self.entries.values().filter(|entry| entry.is_demanded && entry.busy).count();
        AT_ONCE.saturating_sub(busy)
    }

    /// A client asks for a name.
    pub(super) fn demanded(&mut self, demand: Demand) {
        let Demand { name, reply } = demand;
        let answer = match self.entries.get(&name) {
            Some(Entry { certificate: Some(certificate), .. }) => Some(Ok(certificate.clone())),
            // A listener has the name and shows what there is; or what was tried in vain is tried again later.
            Some(entry) if !entry.is_demanded || (!entry.busy && is_vain(entry)) => Some(Err(Denied::Failed)),
            Some(_) => None,
            None => self.admit(&name).err().map(Err),
        };
        let waiting = self.waiting.entry(name).or_default();
        waiting.retain(|reply| !reply.is_closed());
        match answer {
            // Who asked may have gone.
            Some(answer) => drop(reply.send(answer)),
            None if waiting.len() >= MOST_WAITING => drop(reply.send(Err(Denied::TooMany))),
            None => waiting.push(reply),
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
    }

    /// Looks after a new name.
    fn admit(&mut self, name: &str) -> Result<(), Denied> {
        let settings = self.context.as_ref().and_then(|context| context.settings.demanded.as_ref());
        let limit = settings.ok_or(Denied::Failed)?.limit;
        if self.refused.get(name).is_some_and(|at| at.elapsed() < REFUSED_FOR) {
            return Err(Denied::NotAllowed);
        }
        let demanded = || self.entries.values().filter(|entry| entry.is_demanded);
        let without = demanded().filter(|entry| entry.certificate.is_none()).count();
        let all = demanded().count();
        if all >= limit && self.warned.is_none_or(|at| at.elapsed() >= WARN) {
            self.warned = Some(Instant::now());
            tracing::warn!(target: "acme", name, "no certificate: as many names as acme.on-demand.limit have one");
        }
        if all >= limit || without >= MOST_WAITED_FOR {
            return Err(Denied::TooMany);
        }
        self.entries.insert(name.to_owned(), Entry { is_demanded: true, ..Entry::default() });
        Ok(())
    }

    /// Leaves names alone that are due and that nobody asks for.
    pub(super) fn rest(&mut self, now: At) {
        let is_due = |entry: &Entry| !entry.busy && entry.next.is_none_or(|next| next <= now);
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.is_demanded && is_due(entry));
        let mut forgotten = Vec::new();
        for (name, entry) in due {
            match &entry.certificate {
                // Nobody waits any more. What failed is in the storage, for when somebody comes again.
                None if !is_waited_for(&self.waiting, name) => forgotten.push((name.clone(), false)),
                None => {}
                Some(_) if self.shared.on_demand.was_used(name) => {}
                Some(certificate) if certificate.not_after() <= now => forgotten.push((name.clone(), true)),
                // Not the first time: then it is looked when it is to be renewed.
                Some(_) if entry.next.is_some() => entry.next = Some(now.plus(UNUSED)),
                Some(_) => {}
            }
        }
        for (name, has_certificate) in forgotten {
            if has_certificate {
                tracing::info!(target: "acme", name, "certificate expired that nobody asked for any more");
            }
            self.forget(&name, has_certificate);
        }
    }

    /// It is not to be attended to.
    pub(super) fn not_attended(&mut self, name: &str, undecided: Undecided) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        match undecided {
            Undecided::NotAllowed => {
                self.is_undecided = false;
                let had_certificate = entry.certificate.is_some();
                if had_certificate {
                    tracing::warn!(target: "acme", name, "the name is not allowed any more");
                }
                if self.refused.len() >= MOST_REFUSED {
                    self.refused.retain(|_, at| at.elapsed() < REFUSED_FOR);
                }
                if self.refused.len() < MOST_REFUSED {
                    self.refused.insert(name.to_owned(), Instant::now());
                }
                self.answer(name, Denied::NotAllowed);
                self.forget(name, had_certificate);
            }
            Undecided::Unknown(error) => {
                if !std::mem::replace(&mut self.is_undecided, true) {
                    tracing::error!(target: "acme", name, "nobody says whether it may have a certificate: {error}");
                }
                if entry.certificate.is_some() {
                    (entry.next, entry.error) = (Some(At::now().plus(UNDECIDED)), Some(error));
                } else {
                    self.forget(name, false);
                }
                self.answer(name, Denied::Failed);
            }
        }
    }

    /// Tells those who wait for a name what there is. Nothing is told while another proxy is at it.
    pub(super) fn tell(&mut self, name: &str) {
        let Some(entry) = self.entries.get(name).filter(|entry| entry.is_demanded) else { return };
        match &entry.certificate {
            Some(certificate) => {
                if let Some(context) = &self.context
                    && let Err(error) = context.settings.storage.set_demanded(name)
                {
                    tracing::error!(target: "acme", name, "it is not known after a restart: {error}");
                }
                for reply in self.waiting.remove(name).into_iter().flatten() {
                    let _ = reply.send(Ok(certificate.clone()));
                }
            }
            None if is_vain(entry) => self.answer(name, Denied::Failed),
            None => {}
        }
    }

    fn answer(&mut self, name: &str, denied: Denied) {
        for reply in self.waiting.remove(name).into_iter().flatten() {
            let _ = reply.send(Err(denied));
        }
    }

    fn forget(&mut self, name: &str, has_certificate: bool) {
        self.entries.remove(name);
        self.shared.on_demand.forget(name);
        self.shared.seen().names.remove(name);
        if let Some(context) = self.context.as_ref().filter(|_| has_certificate) {
            context.settings.storage.forget(name);
        }
    }
}
