//! The periodic work of policies: on one worker of the process, each after its own period.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tidegate_plugin_host::{Instances, Phase};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use crate::callouts;
use crate::worker::Worker;

/// What is to be done again and again.
#[derive(Clone)]
pub(crate) struct Timer {
    pub(crate) policy: Arc<str>,
    pub(crate) period: Duration,
    pub(crate) instances: Rc<Instances>,
}

/// The timers of one generation.
#[derive(Default)]
pub(crate) struct Timers(Vec<Running>);

struct Running {
    timer: Timer,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Timers {
    /// Those that are new begin, with a call at once; those that are not in the list end; the others go on.
    pub(crate) fn set(&mut self, worker: &Rc<Worker>, timers: Vec<Timer>) {
        let mut before = std::mem::take(&mut self.0);
        for timer in timers {
            let same = |running: &Running| {
                let plugin = running.timer.instances.plugin();
                plugin.ptr_eq(timer.instances.plugin()) && running.timer.period == timer.period
            };
            let running = match before.iter().position(same) {
                Some(at) => before.swap_remove(at),
                None => {
                    let task = spawn_local(run(worker.clone(), timer.clone())).abort_handle();
                    Running { timer, task }
                }
            };
            self.0.push(running);
        }
    }
}

/// Never two calls at a time: the period is between the end of one and the beginning of the next.
async fn run(worker: Rc<Worker>, timer: Timer) {
    // It goes on across reloads, and asks the upstreams that there are.
    let door = callouts::door(&worker, Weak::new());
    let counts = worker.counting.policy(&timer.policy);
    loop {
        let ticked = timer.instances.tick(&door).await;
        let fault = ticked.as_ref().err().map(|error| error.as_str());
        let verdict = if fault.is_some() { "fail" } else { "next" };
        counts.count(Phase::Timer.as_str(), verdict, fault, None);
        if let Err(error) = ticked {
            tracing::warn!(target: "policy", policy = %timer.policy, phase = "timer", error = error.as_str(), "{error}");
        }
        sleep(timer.period).await;
    }
}
