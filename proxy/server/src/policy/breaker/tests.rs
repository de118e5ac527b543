//! When a breaker opens and closes, and when it has a version put back.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Policy {
    breaker: Breaker,
    bad: mpsc::Receiver<u64>,
    now: Duration,
}

impl Policy {
    fn new(on_error: OnError) -> Self {
        Self::after(on_error, Shares::default())
    }

    fn after(on_error: OnError, baseline: Shares) -> Self {
        let (sender, bad) = mpsc::channel(4);
        Self { breaker: Breaker::new(on_error, 7, baseline, sender), bad, now: Duration::ZERO }
    }

    fn works(&self, times: u32) {
        (0..times).for_each(|_| self.breaker.succeeded_at(Phase::Request, self.now));
    }

    /// Fails for this many clients, one after the other.
    fn traps(&self, times: u8, clients: u8) {
        self.fails(&CallError::Trap(String::new()), Phase::Request, times, clients);
    }

    fn fails(&self, error: &CallError, phase: Phase, times: u8, clients: u8) {
        for n in 0..times {
            let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, n % clients));
            self.breaker.failed_at(phase, error, client, self.now);
        }
    }

    fn is_open(&self) -> bool {
        self.breaker.is_open_at(self.now)
    }

    fn refuses(&self) -> bool {
        self.breaker.refuses_at(Phase::Request, self.now)
    }
}

#[test]
fn it_opens_when_almost_all_of_enough_calls_from_several_clients_fail() {
    for (worked, failed, clients, opens) in [
        (0, 19, 3, false),
        (0, 20, 3, true),
        (0, 200, 2, false),
        (2, 37, 3, false),
        (2, 38, 3, true),
        (200, 10, 3, false),
    ] {
        let policy = Policy::new(OnError::Deny);
        policy.traps(1, 1);
        policy.works(worked);
        policy.traps(failed - 1, clients);
        assert_eq!(policy.is_open(), opens, "{worked} worked, {failed} failed for {clients}");
    }
}

#[test]
fn an_ipv6_network_is_one_client() {
    let policy = Policy::new(OnError::Deny);
    for n in 0..100_u128 {
        let client = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + n));
        policy.breaker.failed_at(Phase::Request, &CallError::Cpu, client, policy.now);
    }
    assert!(!policy.is_open());
}

#[test]
fn what_depends_on_the_body_on_the_load_or_on_the_log_phase_does_not_open_it() {
    for (error, phase) in [
        (CallError::Memory, Phase::Request),
        (CallError::Instances, Phase::Request),
        (CallError::TooLarge, Phase::RequestChunk),
        (CallError::Cpu, Phase::RequestBody),
        (CallError::Time, Phase::ResponseChunk),
        (CallError::Trap(String::new()), Phase::Log),
    ] {
        let policy = Policy::new(OnError::Deny);
        policy.fails(&error, phase, 200, 50);
        assert!(!policy.is_open(), "{error} in {phase:?}");
    }
}

#[test]
fn failures_are_forgotten_after_the_window() {
    let mut policy = Policy::new(OnError::Deny);
    policy.traps(19, 3);
    policy.now += WINDOW;
    policy.traps(19, 3);
    assert!(!policy.is_open());
    policy.traps(1, 3);
    assert!(policy.is_open());
}

#[test]
fn in_quarantine_one_call_a_second_tries_and_the_first_that_works_ends_it() {
    let mut policy = Policy::new(OnError::Deny);
    policy.traps(20, 3);
    assert!(policy.refuses());
    policy.now += SECOND;
    assert!(!policy.refuses(), "the call that tries");
    assert!(policy.refuses(), "one at a time");
    policy.traps(1, 3);
    assert!(policy.is_open());
    policy.now += SECOND;
    assert!(!policy.refuses());
    policy.works(1);
    assert!(!policy.is_open() && !policy.refuses());
}

#[test]
fn quarantines_in_a_row_last_longer_up_to_a_bound() {
    let mut policy = Policy::new(OnError::Deny);
    for seconds in (30..=300).step_by(30).chain([300, 300]) {
        policy.traps(20, 3);
        policy.now += SECOND * seconds - Duration::from_millis(1);
        assert!(policy.is_open(), "before {seconds} s");
        policy.now += Duration::from_millis(1);
        assert!(!policy.is_open(), "after {seconds} s");
    }
    policy.traps(20, 3);
    policy.works(1);
    policy.now += LONGEST;
    policy.traps(20, 3);
    policy.now += QUARANTINE;
    assert!(!policy.is_open(), "it has behaved in between");
}

#[test]
fn a_request_that_fails_is_denied_whatever_becomes_of_its_response() {
    for (on_error, opens) in [(OnError::Deny, true), (OnError::Skip, false)] {
        let policy = Policy::new(on_error);
        for n in 0..40 {
            policy.traps(1, 1 + n % 3);
            policy.breaker.succeeded_at(Phase::Response, policy.now);
        }
        policy.fails(&CallError::NoReply, Phase::Request, 20, 20);
        assert_eq!(policy.is_open(), opens, "{on_error:?}");
    }
}

#[test]
fn a_policy_that_behaves_is_not_counted_after_its_trial() {
    let mut policy = Policy::new(OnError::Deny);
    policy.works(5);
    policy.now = TRIAL;
    policy.works(1);
    assert_eq!(policy.breaker.state.load(Relaxed), CALM);
    policy.traps(1, 1);
    assert_eq!(policy.breaker.state.load(Relaxed), COUNTING);
    policy.now += WINDOW;
    policy.works(1);
    assert_eq!(policy.breaker.state.load(Relaxed), CALM);
}

#[test]
fn a_version_on_trial_is_put_back_if_it_is_clearly_worse_than_the_one_before() {
    for (what, baseline, worked, failed, clients, put_back) in [
        ("a few crafted requests", 0.0, 500, 10, 1, false),
        ("many of one client", 0.0, 50, 100, 1, false),
        ("many of several", 0.0, 50, 100, 3, true),
        ("as many as before", 0.6, 50, 100, 3, false),
        ("nothing works", 0.0, 0, 20, 1, true),
        ("too few to tell", 0.0, 0, 19, 3, false),
    ] {
        let mut policy = Policy::after(OnError::Skip, Shares([baseline; 2]));
        policy.works(worked);
        policy.traps(failed, clients);
        assert_eq!(policy.bad.try_recv().is_ok(), put_back, "{what}");
        assert!(policy.bad.try_recv().is_err(), "{what}: told once");
        assert_eq!(policy.breaker.served_well(), !put_back && worked > failed.into(), "{what}");
    }
    let mut policy = Policy::new(OnError::Skip);
    policy.now = TRIAL;
    policy.traps(100, 3);
    assert!(policy.bad.try_recv().is_err(), "after the trial");
}
