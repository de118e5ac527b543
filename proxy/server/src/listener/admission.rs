//! How many connections there may be, in all and from one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_config::Limits;

const PER_CLIENT: &str = "limits.connections-per-client";

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
    /// # Errors
    /// The limit that the connection is over.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        limits: &Limits,
        trusted: bool,
    ) -> Result<Admitted, &'static str> {
        let client = (!trusted).then(|| peer.to_canonical());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= limits.connections {
            return Err("limits.connections");
        }
        if let Some(client) = client
            && !counts.add(client, limits)
        {
            return Err(PER_CLIENT);
        }
        counts.all += 1;
        Ok(Admitted { admission: self.clone(), client })
    }
}

impl Counts {
    /// False if `client` has as many connections as it may have.
    fn add(&mut self, client: IpAddr, limits: &Limits) -> bool {
        let count = self.by_client.entry(client).or_default();
        let admitted = *count < limits.connections_per_client;
        if admitted {
            *count += 1;
        }
        admitted
    }

    fn remove(&mut self, client: IpAddr) {
        if let Some(count) = self.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

impl Admitted {
    /// Counts the connection for `client` from now on: a proxy made it and says for whom.
    ///
    /// # Errors
    /// The limit that it is over; it is no longer counted at all.
    pub(crate) fn count_for(mut self, client: IpAddr, limits: &Limits) -> Result<Self, &'static str> {
        let client = client.to_canonical();
        let admission = self.admission.clone();
        let mut counts = admission.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.add(client, limits) {
            // Dropping `self` takes the lock.
            drop(counts);
            return Err(PER_CLIENT);
        }
        if let Some(before) = self.client.replace(client) {
            counts.remove(before);
        }
        Ok(self)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(client) = self.client {
            counts.remove(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_per_client() -> (Arc<Admission>, Limits) {
        let mut limits = tidegate_config::parse("[listener.a]\naddress = \"127.0.0.1:0\"", "t.toml".as_ref())
            .expect("a valid configuration")
            .limits;
        limits.connections_per_client = 1;
        (Arc::default(), limits)
    }

    #[test]
    fn a_client_at_its_limit_is_refused_and_admitted_again_when_one_closes() {
        let (admission, limits) = one_per_client();
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let first = admission.admit(one, &limits, false);
        assert!(first.is_ok());
        assert!(admission.admit(one, &limits, false).is_err());
        assert!(admission.admit(one, &limits, true).is_ok(), "a trusted proxy is not counted");
        assert!(admission.admit(other, &limits, false).is_ok());
        drop(first);
        assert!(admission.admit(one, &limits, false).is_ok());
    }

    #[test]
    fn a_proxied_connection_counts_for_its_client() {
        let (admission, limits) = one_per_client();
        let [proxy, client] = [[10, 0, 0, 1], [192, 0, 2, 1]].map(IpAddr::from);
        let proxied = || admission.admit(proxy, &limits, true)?.count_for(client, &limits);
        let first = proxied();
        assert!(first.is_ok());
        assert!(proxied().is_err());
        assert!(admission.admit(client, &limits, false).is_err(), "with and without a proxy in between");
        drop(first);
        assert!(admission.admit(client, &limits, false).is_ok());
        let counts = admission.counts.lock().expect("no panic");
        assert_eq!((counts.all, counts.by_client.len()), (0, 0));
    }
}
