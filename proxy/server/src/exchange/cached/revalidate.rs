//! Asks in the background whether what was served stale is still good.

use std::rc::Rc;
use std::sync::Arc;

use tidegate_cache::Time;
use tidegate_cache::decide::{Asked, Forward};
use tidegate_cache::store::{Joined, Object};
use tidegate_upstream::{Attempts, Hop};

use super::Stage;
use super::fetch::Fetch;
use crate::exchange::forward::Request;

/// Begins to ask, unless somebody does already, or too many are.
pub(super) fn begin(stage: &Stage<'_>, request: &Request<'_>, hop: &Hop, stale: &Arc<Object>) {
    let Some(permit) = stage.front.permit() else { return };
    let selection = stale.head().selection.clone();
    let Joined::Lead(lead) = stage.front.settings.store.join(stale.key(), &selection, Time::now()) else {
        return;
    };
    let (settings, upstream) = (stage.front.settings.clone(), Rc::clone(stage.upstream));
    let (head, caching) = (request.head.clone(), request.caching.cloned());
    let (hop, stale) = (hop.clone(), stale.clone());
    let tasks = stage.worker.tasks().clone();
    stage.worker.tasks().spawn(async move {
        let fetch = Fetch {
            cache: &settings,
            upstream: &upstream,
            tasks: &tasks,
            request: &head,
            asked: Asked::default(),
            hop: &hop,
            hash_key: None,
            caching: caching.as_ref(),
            deadline: None,
            why: Forward::Stale,
            in_background: true,
        };
        // What came of it is stored, or is not; whoever comes next finds out.
        drop(fetch.run(lead, Some(&stale), &mut Attempts::default()).await);
        drop(permit);
    });
}
