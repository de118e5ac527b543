//! Asks the policies of a chain about requests that nobody sent, as the proxy would.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_config::OnError;
use tidegate_message::ResponseHead;
use tidegate_plugin_host::{Account, Instances, Phase, Slot, Verdict};
use tokio::time::Instant;

use crate::policy::{Link, Policy};
use crate::response;

/// A chain with instances of its own. Callouts fail.
pub(crate) struct Rehearsal(Vec<Place>);

struct Place {
    link: Link,
    /// `None`: no version of it could be loaded.
    instances: Option<Instances>,
}

/// How far a request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It is sent to the route of the exchange.
    Forward,
    /// A policy answers it: the reply is in the exchange.
    Reply,
    /// This policy made no decision, and its `on-error` is `deny`.
    Denied(Arc<str>),
}

impl Rehearsal {
    /// Shadows are left out: they decide nothing.
    pub(crate) fn new(links: &[Link]) -> Self {
        let place = |link: &Link| Place {
            link: link.clone(),
            instances: match &link.policy {
                Policy::Serving(plugin) => Some(Instances::new(plugin.clone())),
                Policy::Refused(_) => None,
            },
        };
        Self(links.iter().filter(|link| link.shadow.is_none()).map(place).collect())
    }

    /// The request phase; and the policies that saw the request, for the response phase.
    pub(crate) async fn on_request(&self, slot: &mut Slot) -> (End, Vec<usize>) {
        let mut seen = Vec::new();
        for (index, place) in self.0.iter().enumerate() {
            let Some(instances) = &place.instances else {
                let why = "no version of it could be loaded: on-error decides";
                note(slot, || Account::uncalled(&place.link.name, why));
                if place.denies() {
                    return (End::Denied(place.link.name.clone()), seen);
                }
                continue;
            };
            if !instances.plugin().activation().applies(slot) {
                note(slot, || Account::inapplicable(&place.link.name));
                continue;
            }
            seen.push(index);
            if !instances.plugin().has(Phase::Request) {
                continue;
            }
            match call(instances, Phase::Request, slot).await {
                Some(Verdict::Respond) => return (End::Reply, seen),
                Some(Verdict::Finish) => break,
                Some(Verdict::Next) => {}
                Some(Verdict::Fail) | None if place.denies() => {
                    return (End::Denied(place.link.name.clone()), seen);
                }
                Some(Verdict::Fail) | None => {}
            }
        }
        (End::Forward, seen)
    }

    /// The response phase, of a response that is in the exchange. What a policy puts in its place takes its place.
    pub(crate) async fn on_response(&self, slot: &mut Slot, seen: &[usize]) {
        let instances = |index: &usize| self.0[*index].instances.as_ref();
        let takes_part = |instances: &&Instances| instances.plugin().has(Phase::Response);
        for instances in seen.iter().rev().filter_map(instances).filter(takes_part) {
            match call(instances, Phase::Response, slot).await {
                Some(Verdict::Finish) => break,
                Some(Verdict::Respond) => {
                    if let Some((head, _)) = reply(slot) {
                        slot.replace_response(head);
                    }
                }
                Some(Verdict::Next | Verdict::Fail) | None => {}
            }
        }
    }
}

/// Takes what a policy answers.
pub(crate) fn reply(slot: &mut Slot) -> Option<(ResponseHead, Bytes)> {
    slot.reply.take().map(response::of_reply)
}

impl Place {
    fn denies(&self) -> bool {
        self.link.on_error == OnError::Deny
    }
}

fn note(slot: &mut Slot, account: impl FnOnce() -> Account) {
    if let Some(witness) = &mut slot.witness {
        witness.note(account());
    }
}

/// `None`: there is no verdict.
async fn call(instances: &Instances, phase: Phase, slot: &mut Slot) -> Option<Verdict> {
    let began = Instant::now();
    let called = instances.call(phase, slot, None, None).await;
    let took = began.elapsed();
    note(slot, || {
        let plugin = instances.plugin();
        let (verdict, error) = match &called {
            Ok(verdict) => (verdict.as_str(), None),
            Err(error) => ("no verdict", Some(format!("{}: {error}", error.as_str()))),
        };
        let account = Account::of_call(plugin.name(), phase, took, verdict, error);
        Account { pure: plugin.activation().is_pure(), ..account }
    });
    called.ok()
}
