//! Takes out a server whose requests fail, as long as enough others are left.

use std::sync::{Mutex, PoisonError};

use crate::balance::Candidate;
use crate::health::{Ejection, State, Transition};
use tidegate_io::Millis;

/// Decides on ejections in one upstream, one at a time: two workers must not both take the last but one.
/// Outlives generations.
#[derive(Debug, Default)]
pub(crate) struct Ejector(Mutex<()>);

impl Ejector {
    /// Counts a connect error, a 502, 503 or 504 of `servers[index]`, which is ejected after
    /// `rule.failures` in a row, unless
    ///
    /// - no other server would be up, be it a backup, or
    /// - `rule.max_percent` of the servers are ejected already, rounded down, but one may always be.
    pub(crate) fn request_failed(
        &self,
        rule: &Ejection,
        servers: &[Candidate],
        index: usize,
        now: Millis,
    ) -> Option<Transition> {
        let server = &servers[index].health;
        if server.state(now) != State::Up {
            return None;
        }
        let failures = server.request_failed();
        if failures < rule.failures {
            return None;
        }
        let _alone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [mut up, mut ejected, mut all] = [0, 0, 0];
        for candidate in servers {
            let state = candidate.health.state(now);
            up += usize::from(state == State::Up);
            ejected += usize::from(state == State::Ejected);
            all += usize::from(state != State::Draining);
        }
        let most = (all * rule.max_percent as usize / 100).max(1);
        // Another worker may have ejected it in the meantime.
        let allowed = server.state(now) == State::Up && up > 1 && ejected < most;
        allowed.then(|| server.eject(rule, failures, now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use std::time::Duration;

    use super::*;
    use crate::health::Health;

    const RULE: Ejection = Ejection {
        failures: 2,
        time: Duration::from_secs(30),
        max_time: Duration::from_secs(300),
        max_percent: 50,
    };

    fn servers(count: usize) -> Vec<Candidate> {
        let server = |index| Candidate::new(&format!("10.0.0.{index}:80"), 1, false, Arc::new(Health::new()));
        (0..count).map(server).collect()
    }

    /// How many of the servers are ejected when requests to all of them fail.
    fn ejected(servers: &[Candidate]) -> usize {
        let ejector = Ejector::default();
        for _ in 0..3 {
            for index in 0..servers.len() {
                ejector.request_failed(&RULE, servers, index, Millis(0));
            }
        }
        servers.iter().filter(|server| server.health.state(Millis(0)) == State::Ejected).count()
    }

    #[test]
    fn a_server_is_ejected_after_failures_in_a_row_and_again_after_the_first_one_that_follows() {
        let (ejector, servers) = (Ejector::default(), servers(2));
        let failed = |at| ejector.request_failed(&RULE, &servers, 0, Millis(at));
        assert_eq!(failed(0), None);
        assert_eq!(failed(0), Some(Transition::Ejected { time: RULE.time, failures: 2 }));
        assert_eq!(failed(1), None, "it is ejected already");
        assert_eq!(failed(30_000), Some(Transition::Ejected { time: 2 * RULE.time, failures: 3 }));
    }

    #[test]
    fn at_most_max_percent_are_ejected_but_one_of_two_and_never_the_last() {
        assert_eq!([1, 2, 3, 4, 5].map(|count| ejected(&servers(count))), [0, 1, 1, 2, 2]);
    }

    #[test]
    fn a_server_that_is_down_or_draining_is_not_one_that_is_left() {
        let servers = servers(3);
        servers[0].health.check_failed(1);
        servers[1].health.drain();
        assert_eq!(ejected(&servers), 0);
    }

    #[test]
    fn two_workers_do_not_eject_the_last_two() {
        let both = Ejection { max_percent: 100, failures: 1, ..RULE };
        for _ in 0..200 {
            let (ejector, servers) = (Ejector::default(), servers(2));
            thread::scope(|scope| {
                for index in [0, 1] {
                    let (ejector, servers) = (&ejector, &servers);
                    scope.spawn(move || ejector.request_failed(&both, servers, index, Millis(0)));
                }
            });
            let up = servers.iter().filter(|server| server.health.state(Millis(0)) == State::Up).count();
            assert_eq!(up, 1);
        }
    }
}
