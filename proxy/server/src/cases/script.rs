//! Answers the callouts of a policy as its case says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use tidegate_config::{CaseCallout, CaseCalloutError};
use tidegate_plugin_host::{Answered, Callout, CalloutError, Callouts, Sent};

use super::expect;
use super::run::fields;

/// What is left of the answers, and what was asked.
pub(super) struct Script(Mutex<Inner>);

struct Inner {
    left: Vec<CaseCallout>,
    count: usize,
    /// What none of the answers fitted, and answers that make no response.
    problems: Vec<String>,
}

impl Script {
    pub(super) fn new(answers: &[CaseCallout]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { left: answers.to_vec(), count: 0, problems: Vec::new() })))
    }

    pub(super) fn count(&self) -> usize {
        self.inner().count
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.inner().problems.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, callout: &Callout) -> Result<Answered, CalloutError> {
        let mut inner = self.inner();
        inner.count += 1;
        let target = callout.target.as_str();
        let fits = |answer: &CaseCallout| {
            answer.to.as_ref().is_none_or(|to| *to == callout.upstream)
                && answer.target.as_ref().is_none_or(|wanted| wanted == target)
        };
        let Some(at) = inner.left.iter().position(fits) else {
            let (method, to) = (&callout.method, &callout.upstream);
            inner.problems.push(format!("callouts: none is for {method} {target} to {to}"));
            return Err(CalloutError::Failed);
        };
        let answer = inner.left.remove(at);
        let differences = expect::of_callout(&answer.asked, callout);
        let about = format!("callouts: {} {target} to {}", callout.method, callout.upstream);
        inner.problems.extend(differences.into_iter().map(|difference| format!("{about}: {difference}")));
        match answer.error {
            Some(CaseCalloutError::Failed) => return Err(CalloutError::Failed),
            Some(CaseCalloutError::Timeout) => return Err(CalloutError::Timeout),
            Some(CaseCalloutError::TooLarge) => return Err(CalloutError::TooLarge),
            None => {}
        }
        let status = StatusCode::from_u16(answer.status.unwrap_or(200)).map_err(|error| error.to_string());
        match status.and_then(|status| Ok((status, fields(&answer.headers)?))) {
            Ok((status, headers)) => {
                Ok(Answered { status, headers, body: Bytes::from(answer.body), held: Box::new(()) })
            }
            Err(problem) => {
                inner.problems.push(format!("callouts: {problem}"));
                Err(CalloutError::Failed)
            }
        }
    }
}

impl Callouts for Script {
    fn send(&self, callout: Callout) -> Sent {
        let answer = self.answer(&callout);
        Box::pin(std::future::ready(answer))
    }
}
