//! What proxies have in common that share `[state]`: accounts, certificates, answers to authorities and leases are there as well.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tidegate_acme::Common;
use tidegate_state::{Answer, State, Store, StoreError};
use tokio::runtime::Handle;

/// For an answer, however long the store itself takes to give up.
const LONGEST: Duration = Duration::from_secs(5);
/// No plugin has this name: it is none of a file.
const NAME: &str = "tidegate/acme";

/// `None` where the state is in the memory of this process. `runtime` is not one of a thread that asks.
pub(crate) fn in_state(state: &State, runtime: &Handle) -> Option<Arc<dyn Common>> {
    let store = state.is_remote().then(|| state.store(NAME))?;
    Some(Arc::new(InState { store, runtime: runtime.clone() }))
}

struct InState {
    store: Store,
    runtime: Handle,
}

impl InState {
    fn wait<T: Send + 'static>(&self, answer: Answer<Result<T, StoreError>>) -> io::Result<T> {
        let result = match answer {
            Answer::Now(result) => result,
            Answer::Later(result) => {
                let (done, wait) = sync_channel(1);
                self.runtime.spawn(async move { drop(done.send(result.await)) });
                wait.recv_timeout(LONGEST).map_err(io::Error::other)?
            }
        };
        result.map_err(io::Error::other)
    }
}

impl Common for InState {
    fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.wait(self.store.get(key))
    }

    fn set(&self, key: &str, value: &[u8], lifetime: Option<Duration>) -> io::Result<()> {
        self.wait(self.store.set(key, value, lifetime))
    }

    fn replace(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> io::Result<bool> {
        self.wait(self.store.compare_and_set(key, expected, value, lifetime))
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.wait(self.store.remove(key))
    }
}
