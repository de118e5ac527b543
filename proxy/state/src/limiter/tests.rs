//! Limits in this process, by a clock that stands still.

use std::num::NonZeroU32;

use governor::clock::FakeRelativeClock;
use governor::{Quota as OtherQuota, RateLimiter};

use super::*;
use crate::State;
use crate::clock::StoppedClock;

const SECOND: Duration = Duration::from_secs(1);

fn spec(limit: u64, period: Duration, burst: u64) -> Spec {
    Spec { limit, period, burst, scope: Scope::Local }
}

fn take(limiter: &Limiter, key: &str, cost: u64) -> Decision {
    match limiter.take(key, cost) {
        Answer::Now(decision) => decision,
        Answer::Later(_) => panic!("a limit in this process answers at once"),
    }
}

fn passed(limiter: &Limiter, key: &str, tries: usize) -> usize {
    (0..tries).filter(|_| take(limiter, key, 1).allowed).count()
}

#[test]
fn one_and_the_burst_pass_at_once_and_then_one_at_a_time() {
    // limit in a second, burst, then pairs of milliseconds passed and how many of a hundred pass.
    type Steps = &'static [(u64, usize)];
    let cases: [(u64, u64, Steps); 6] = [
        (10, 0, &[(0, 1), (99, 0), (1, 1), (100, 1), (1_000, 1)]),
        (10, 4, &[(0, 5), (100, 1), (50, 0), (50, 1), (350, 3), (1_000, 5)]),
        (1, 1, &[(0, 2), (999, 0), (1, 1), (10_000, 2)]),
        (1_000, 19, &[(0, 20), (5, 5), (1, 1)]),
        (3, 2, &[(0, 3), (333, 0), (1, 1)]),
        (0, 5, &[(0, 0), (10_000, 0)]),
    ];
    for (limit, burst, steps) in cases {
        let clock = StoppedClock::default();
        let limiter = State::memory_at(&clock).limiter("api", "all", spec(limit, SECOND, burst));
        for (index, (millis, expected)) in steps.iter().enumerate() {
            clock.advance(Duration::from_millis(*millis));
            assert_eq!(passed(&limiter, "key", 100), *expected, "{limit}/s, {burst} more, step {index}");
        }
    }
}

#[test]
fn a_decision_says_what_remains_and_when_more_will_pass() {
    let clock = StoppedClock::default();
    let limiter = State::memory_at(&clock).limiter("api", "all", spec(10, SECOND, 4));
    let millis = Duration::from_millis;
    let decision = |allowed, remaining, reset_after, retry_after| Decision {
        allowed,
        limit: 10,
        remaining,
        reset_after,
        retry_after,
        local: false,
    };
    assert_eq!(take(&limiter, "key", 0), decision(true, 5, Duration::ZERO, Duration::ZERO));
    assert_eq!(take(&limiter, "key", 3), decision(true, 2, millis(300), Duration::ZERO));
    assert_eq!(take(&limiter, "key", 4), decision(false, 2, millis(300), millis(200)), "counts nothing");
    clock.advance(millis(200));
    assert_eq!(take(&limiter, "key", 4), decision(true, 0, millis(500), Duration::ZERO));
    assert_eq!(take(&limiter, "key", 0), decision(true, 0, millis(500), Duration::ZERO), "only asks");
    assert_eq!(take(&limiter, "key", 6), decision(false, 0, millis(500), Duration::MAX), "never passes");
    clock.advance(millis(550));
    assert_eq!(take(&limiter, "key", 5), decision(true, 0, millis(500), Duration::ZERO));
}

#[test]
fn another_implementation_decides_the_same() {
    let capacity = NonZeroU32::new(7).expect("not zero");
    let interval = Duration::from_millis(10);
    let (clock, other_clock) = (StoppedClock::default(), FakeRelativeClock::default());
    let limiter = State::memory_at(&clock).limiter("api", "all", spec(100, SECOND, 6));
    let other_quota = OtherQuota::with_period(interval).expect("not zero").allow_burst(capacity);
    let other = RateLimiter::direct_with_clock(other_quota, other_clock.clone());
    // Any numbers that are always the same (Knuth's MMIX generator).
    let mut random = 1_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut counts = [0, 0];
    for round in 0..20_000 {
        let pause = Duration::from_micros(draw(50_000));
        clock.advance(pause);
        other_clock.advance(pause);
        let cost = 1 + draw(8);
        let n = NonZeroU32::new(u32::try_from(cost).expect("small")).expect("not zero");
        let expected = matches!(other.check_n(n), Ok(Ok(())));
        assert_eq!(take(&limiter, "key", cost).allowed, expected, "round {round}, cost {cost}");
        counts[usize::from(expected)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 2_000), "both happen: {counts:?}");
}

#[test]
fn counts_belong_to_plugin_name_and_numbers() {
    let state = State::memory_at(&StoppedClock::default());
    let limiter = |plugin, name, limit| state.limiter(plugin, name, spec(limit, SECOND, 2));
    assert_eq!(passed(&limiter("api", "all", 1), "key", 2), 2);
    assert_eq!(passed(&limiter("api", "all", 1), "key", 2), 1, "the same, as after a reload");
    for (plugin, name, limit, key) in [
        ("other", "all", 1, "key"),
        ("api", "other", 1, "key"),
        ("api", "all", 2, "key"),
        ("api", "all", 1, "k"),
    ] {
        assert_eq!(passed(&limiter(plugin, name, limit), key, 4), 3, "{plugin} {name} {limit} {key}");
    }
}

#[test]
fn a_plugin_with_many_keys_does_not_make_another_forget() {
    let clock = StoppedClock::default();
    let state = State::memory_at(&clock);
    let [one, other] = ["one", "other"].map(|plugin| state.limiter(plugin, "all", spec(1, SECOND, 0)));
    assert!(take(&one, "key", 1).allowed);
    assert!(take(&other, "key", 1).allowed);
    for client in 0..200_000 {
        clock.advance(Duration::from_nanos(1));
        take(&other, &client.to_string(), 1);
    }
    assert!(!take(&one, "key", 1).allowed);
    assert!(take(&other, "key", 1).allowed, "it was pushed out by its own plugin");
}

#[test]
fn no_numbers_are_too_large() {
    let large = [0, 1, 2, u64::MAX / 2, u64::MAX];
    let periods = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1 << 40), Duration::MAX];
    let state = State::memory();
    for (limit, burst) in large.into_iter().flat_map(|limit| large.map(|burst| (limit, burst))) {
        for (index, period) in periods.into_iter().enumerate() {
            let limiter = state.limiter("api", "all", spec(limit, period, burst));
            let first = take(&limiter, &index.to_string(), 1);
            assert_eq!(first.allowed, limit > 0, "{limit} in {period:?}, {burst} more");
            for cost in large {
                take(&limiter, "key", cost);
            }
        }
    }
}

#[test]
fn without_a_shared_store_every_scope_is_counted_here() {
    let state = State::memory_at(&StoppedClock::default());
    for (index, scope) in [Scope::Local, Scope::SHARED, Scope::Approximate].into_iter().enumerate() {
        let limiter = state.limiter("api", &index.to_string(), Spec { scope, ..spec(1, SECOND, 0) });
        let decisions = [take(&limiter, "key", 1), take(&limiter, "key", 1)];
        assert_eq!(
            decisions.map(|decision| (decision.allowed, decision.local)),
            [(true, false), (false, false)]
        );
    }
}
