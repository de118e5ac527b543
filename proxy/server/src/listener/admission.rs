//! How many connections there may be, in all and from one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_config::Limits;

/// The connections of all workers. A lock, taken when a connection opens and closes, not per request.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One admitted connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    /// `None` for a trusted proxy, which speaks for many clients.
    client: Option<IpAddr>,
}

impl Admission {
    /// `None` if the connection is over `limits.connections` or `limits.connections-per-client`.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr, limits: &Limits, trusted: bool) -> Option<Admitted> {
        let client = (!trusted).then(|| peer.to_canonical());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= limits.connections {
            return None;
        }
        if let Some(client) = client {
            let count = counts.by_client.entry(client).or_default();
            if *count >= limits.connections_per_client {
                return None;
            }
            *count += 1;
        }
        counts.all += 1;
        Some(Admitted { admission: self.clone(), client })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(client) = self.client
            && let Some(count) = counts.by_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_at_its_limit_is_refused_and_admitted_again_when_one_closes() {
        let admission = Arc::new(Admission::default());
        let mut limits = tidegate_config::parse("[listener.a]\naddress = \"127.0.0.1:0\"", "t.toml".as_ref())
            .expect("a valid configuration")
            .limits;
        limits.connections_per_client = 1;
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let first = admission.admit(one, &limits, false);
        assert!(first.is_some());
        assert!(admission.admit(one, &limits, false).is_none());
        assert!(admission.admit(one, &limits, true).is_some(), "a trusted proxy is not counted");
        assert!(admission.admit(other, &limits, false).is_some());
        drop(first);
        assert!(admission.admit(one, &limits, false).is_some());
    }
}
