//! Shares, tiers and keys of the choice among servers.

use super::*;
use crate::health::Ejection;

const NOW: Millis = Millis(100_000);

const SLOW_START: Duration = Duration::from_secs(30);

const OUT: Ejection = Ejection {
    failures: 1,
    time: Duration::from_secs(30),
    max_time: Duration::from_secs(300),
    max_percent: 100,
};

fn primaries(weights: &[u32]) -> Vec<Candidate> {
    let server = |(index, weight): (usize, &u32)| {
        Candidate::new(&format!("10.0.0.{index}:80"), *weight, false, Arc::new(Health::new()))
    };
    weights.iter().enumerate().map(server).collect()
}

fn balancer(servers: Vec<Candidate>, mode: Mode) -> Balancer {
    Balancer::new(Arc::new(Candidates::new(servers, mode)), SLOW_START, 0)
}

impl Balancer {
    fn health(&self, index: usize) -> &Health {
        &self.candidates.servers()[index].health
    }

    /// How often each server is chosen for one of `requests` keys, with none in flight.
    fn shares(&self, requests: usize) -> Vec<usize> {
        let mut shares = vec![0; self.candidates.servers().len()];
        for request in 0..requests {
            let index = self.choose(NOW, &request.to_be_bytes(), &[]).expect("there are servers");
            shares[index] += 1;
        }
        shares
    }

    /// As [`Self::shares`], with as many requests in flight as there are `places`; each ends when its
    /// place is needed.
    fn shares_under_load(&self, requests: usize, places: usize) -> Vec<usize> {
        let mut shares = vec![0; self.candidates.servers().len()];
        let mut busy: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
        for _ in 0..requests {
            if busy.len() == places {
                let done = busy.pop_front().expect("there are places");
                self.health(done).request_ended();
            }
            let index = self.choose(NOW, b"", &[]).expect("there are servers");
            self.health(index).request_started();
            busy.push_back(index);
            shares[index] += 1;
        }
        shares
    }
}

const MODES: [Mode; 4] = [Mode::RoundRobin, Mode::LeastRequests, Mode::RandomTwo, Mode::Hash];

/// Within `percent` of what is expected.
fn assert_close(shares: &[usize], expected: &[usize], percent: usize) {
    let close =
        shares.iter().zip(expected).all(|(share, want)| share.abs_diff(*want) * 100 <= want * percent);
    assert!(close, "{shares:?} instead of {expected:?}");
}

#[test]
fn without_servers_there_is_no_choice() {
    for mode in MODES {
        assert_eq!(balancer(Vec::new(), mode).choose(NOW, b"", &[]), None);
    }
}

#[test]
fn backups_step_in_then_the_least_bad() {
    for mode in MODES {
        let mut servers = primaries(&[1, 1, 1, 1]);
        servers[2].backup = true;
        servers[3].backup = true;
        let balancer = balancer(servers, mode);
        let chosen = || {
            // A server in its slow start gets a tenth of its share, and chance has a say in it.
            let shares = balancer.shares(1024);
            (0..4).filter(|index| shares[*index] > 0).collect::<Vec<_>>()
        };
        assert_eq!(chosen(), [0, 1]);
        balancer.health(0).check_failed(1);
        assert_eq!(chosen(), [1]);
        balancer.health(1).eject(&OUT, 1, NOW);
        assert_eq!(chosen(), [2, 3], "backups");
        balancer.health(2).eject(&OUT, 1, NOW);
        balancer.health(3).check_failed(1);
        assert_eq!(chosen(), [1], "an ejected primary before an ejected backup");
        balancer.health(1).drain();
        assert_eq!(chosen(), [2], "an ejected backup before a primary that is down");
        balancer.health(2).drain();
        assert_eq!(chosen(), [0], "a primary that is down before such a backup");
        balancer.health(0).drain();
        assert_eq!(chosen(), [3]);
        balancer.health(3).drain();
        assert_eq!(chosen(), [0, 1], "what is draining when nothing else is there");
    }
}

#[test]
fn a_retry_goes_to_servers_not_tried_and_to_all_when_there_are_no_others() {
    for mode in MODES {
        let mut servers = primaries(&[1, 1, 1]);
        servers[1].backup = true;
        let balancer = balancer(servers, mode);
        balancer.health(2).check_failed(1);
        assert_eq!(balancer.choose(NOW, b"key", &[]), Some(0));
        assert_eq!(balancer.choose(NOW, b"key", &[0]), Some(1));
        assert_eq!(balancer.choose(NOW, b"key", &[0, 1]), Some(2));
        assert_eq!(balancer.choose(NOW, b"key", &[0, 1, 2]), Some(0));
    }
}

#[test]
fn round_robin_spreads_turns_by_weight() {
    let balancer = balancer(primaries(&[5, 1, 1]), Mode::RoundRobin);
    let turns: Vec<_> = (0..7).filter_map(|_| balancer.choose(NOW, b"", &[])).collect();
    assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn workers_begin_with_different_servers() {
    for mode in [Mode::RoundRobin, Mode::LeastRequests] {
        let candidates = Arc::new(Candidates::new(primaries(&[1, 1, 1]), mode));
        let first = |worker| Balancer::new(candidates.clone(), SLOW_START, worker).choose(NOW, b"", &[]);
        assert_eq!([0, 1, 2, 3].map(first), [Some(0), Some(1), Some(2), Some(0)]);
    }
}

#[test]
fn shares_follow_the_weights_with_nothing_in_flight() {
    for (mode, percent) in [(Mode::RoundRobin, 0), (Mode::LeastRequests, 0), (Mode::Hash, 5)] {
        let shares = balancer(primaries(&[3, 1, 2]), mode).shares(6000);
        assert_close(&shares, &[3000, 1000, 2000], percent);
    }
    let shares = balancer(primaries(&[3, 1, 2]), Mode::RandomTwo).shares(60_000);
    assert_close(&shares, &[30_000, 10_000, 20_000], 5);
}

#[test]
fn a_server_that_fails_at_once_gets_its_share_at_most() {
    for mode in [Mode::LeastRequests, Mode::RandomTwo] {
        let balancer = balancer(primaries(&[1, 1, 1]), mode);
        // The first one never has a request in flight: it has refused it already.
        balancer.health(0).request_failed();
        let mut busy = std::collections::VecDeque::new();
        let mut failed = 0;
        for _ in 0..3000 {
            match balancer.choose(NOW, b"", &[]).expect("there are servers") {
                0 => failed += 1,
                good => {
                    balancer.health(good).request_started();
                    busy.push_back(good);
                    if busy.len() > 20 {
                        balancer.health(busy.pop_front().expect("it has many")).request_ended();
                    }
                }
            }
        }
        assert!((300..=1100).contains(&failed), "{mode:?}: {failed} of 3000");
    }
}

#[test]
fn least_requests_passes_over_a_server_that_hangs() {
    let balancer = balancer(primaries(&[1, 1, 1]), Mode::LeastRequests);
    for _ in 0..3 {
        balancer.health(1).request_started();
    }
    assert_eq!(balancer.shares(100), [50, 0, 50]);
    assert_close(&balancer.shares_under_load(6000, 2), &[3000, 0, 3000], 1);
}

#[test]
fn least_requests_keeps_to_the_weights_under_any_load() {
    for places in [1, 2, 5, 30] {
        let shares = balancer(primaries(&[3, 1, 2]), Mode::LeastRequests).shares_under_load(6000, places);
        assert_close(&shares, &[3000, 1000, 2000], 25);
    }
}

#[test]
fn random_two_prefers_the_less_loaded_of_two() {
    let balancer = balancer(primaries(&[1, 1, 1]), Mode::RandomTwo);
    balancer.health(1).request_started();
    let shares = balancer.shares(3000);
    assert_eq!(shares[1], 0, "there is always one with less: {shares:?}");
    assert_close(&shares, &[1500, 0, 1500], 10);
}

#[test]
fn a_server_that_joins_takes_a_growing_share() {
    for mode in MODES {
        let mut servers = primaries(&[1, 1]);
        // Half way: 10 % + 45 %.
        servers[1].health = Arc::new(Health::joining(Millis(NOW.0 - 15_000)));
        let balancer = balancer(servers, mode);
        let shares = balancer.shares(15_500);
        match mode {
            Mode::RoundRobin | Mode::LeastRequests => assert_eq!(shares, [10_000, 5500]),
            Mode::RandomTwo | Mode::Hash => assert_close(&shares, &[10_000, 5500], 5),
        }
    }
}

#[test]
fn keys_of_a_server_that_is_out_are_spread_over_all_others_and_come_back() {
    let balancer = balancer(primaries(&[1; 10]), Mode::Hash);
    let homes = || -> Vec<_> {
        (0..20_000_u32).filter_map(|key| balancer.choose(NOW, &key.to_be_bytes(), &[])).collect()
    };
    let before = homes();
    balancer.health(3).check_failed(1);
    let during = homes();
    let mut lent = [0; 10];
    for (before, during) in before.iter().zip(&during) {
        if *before == 3 {
            lent[*during] += 1;
        } else {
            assert_eq!(before, during, "the keys of the others stay");
        }
    }
    assert_eq!(lent[3], 0);
    assert!(lent.iter().enumerate().all(|(index, keys)| index == 3 || (160..290).contains(keys)), "{lent:?}");
    balancer.health(3).check_passed(1, Millis(1));
    assert_eq!(homes(), before);
}

#[test]
fn with_most_servers_out_keys_keep_to_the_rest_by_weight() {
    let balancer = balancer(primaries(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1]), Mode::Hash);
    for index in 0..10 {
        balancer.health(index).check_failed(1);
    }
    let shares = balancer.shares(9000);
    assert_close(&shares[10..], &[6000, 3000], 5);
    assert_eq!(balancer.shares(9000), shares);
    balancer.health(10).check_failed(1);
    assert_eq!(balancer.shares(100)[11], 100);
}

#[test]
fn of_very_many_servers_each_has_its_share() {
    let weights: Vec<u32> = (0..1000).map(|index| if index < 300 { 3 } else { 1 }).collect();
    for mode in [Mode::RoundRobin, Mode::LeastRequests, Mode::RandomTwo] {
        let balancer = balancer(primaries(&weights), mode);
        // A whole row of them is out, windows among it.
        let out = 500..700;
        for index in out.clone() {
            balancer.health(index).eject(&OUT, 1, NOW);
        }
        let total: u32 = weights.iter().enumerate().filter(|(at, _)| !out.contains(at)).map(|(_, w)| w).sum();
        let shares = balancer.shares(30 * total as usize);
        let row = |range: Range<usize>| shares[range].iter().sum::<usize>();
        assert_eq!(row(out.clone()), 0, "{mode:?}");
        assert_close(&[row(0..300), row(300..500), row(700..1000)], &[27_000, 6_000, 9_000], 3);
    }
}

#[test]
fn of_very_many_servers_one_that_is_loaded_is_passed_over() {
    let balancer = balancer(primaries(&[1; 1000]), Mode::LeastRequests);
    for index in 0..10 {
        (0..5).for_each(|_| balancer.health(index).request_started());
    }
    let shares = balancer.shares(10_000);
    assert_eq!(shares[..10], [0; 10]);
    // When only a backup or an ejected server is left it is found, wherever it stands.
    for index in 0..999 {
        balancer.health(index).eject(&OUT, 1, NOW);
    }
    assert_eq!(balancer.choose(NOW, b"", &[]), Some(999));
}
