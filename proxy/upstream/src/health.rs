//! What is known of one server: whether it may be used, and for how much of its share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidegate_io::clock::{Millis, in_millis};

/// Bits of [`Health::flags`].
const DOWN: u8 = 1;
const DRAINING: u8 = 2;

/// The share in per cent at which a slow start begins.
const FIRST_SHARE: u32 = 10;
pub(crate) const FULL_SHARE: u32 = 100;

/// One server of an upstream as all workers see it. It outlives generations.
///
/// Every value is a hint on its own and publishes nothing else, hence the relaxed order throughout: a
/// worker that reads an old one sends a request more or less to a server.
#[derive(Debug, Default)]
pub(crate) struct Health {
    flags: AtomicU8,
    /// When it came into use; ahead while it is ejected. 0 if it was there when the process began.
    since: AtomicU64,
    in_flight: AtomicU32,
    /// Checks in a row that contradict [`DOWN`].
    contrary_checks: AtomicU32,
    /// Requests in a row that failed. The row goes on after an ejection, so that the first failure leads
    /// to the next one.
    failures: AtomicU32,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// It was ejected, and nothing succeeded since.
    on_probation: AtomicBool,
    /// A health check has passed.
    was_well: AtomicBool,
}

/// When a server is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ejection {
    /// Failed requests in a row.
    pub(crate) failures: u32,
    /// The first ejection; the n-th in a row takes n times as long, up to `max_time`.
    pub(crate) time: Duration,
    pub(crate) max_time: Duration,
    /// Of the upstream's servers, out at the same time.
    pub(crate) max_percent: u32,
}

/// Whether a server may be used. The best first: when no server is up, the next best are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// In use. So is a server that was not checked yet.
    Up,
    /// Its requests failed; it is used again by itself after some time.
    Ejected,
    /// Its health checks failed.
    Down,
    /// No longer among the upstream's servers: finishes what it has.
    Draining,
}

/// A change of [`State`], for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    Up {
        checks: u32,
    },
    Down {
        checks: u32,
    },
    /// Its health is no longer checked.
    Unchecked,
    Ejected {
        time: Duration,
        failures: u32,
    },
    /// A request succeeded after the ejection was over.
    Returned,
    Draining,
    /// Among the upstream's servers again.
    Restored,
}

impl Health {
    /// A server that is there when the process begins. No other server has taken the traffic until now, so it
    /// takes its full share at once.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A server that joins others; its slow start begins.
    pub(crate) fn joining(now: Millis) -> Self {
        let health = Self::default();
        health.start(now);
        health
    }

    pub(crate) fn state(&self, now: Millis) -> State {
        let flags = self.flags.load(Relaxed);
        if flags & DRAINING != 0 {
            State::Draining
        } else if flags & DOWN != 0 {
            State::Down
        } else if self.is_ejected(now) {
            State::Ejected
        } else {
            State::Up
        }
    }

    /// How much of its weight a server takes, in per cent: grows over `slow_start` milliseconds.
    pub(crate) fn share(&self, now: Millis, slow_start: u64) -> u32 {
        let since = self.since.load(Relaxed);
        let age = now.since(Millis(since));
        if age >= slow_start || since == 0 {
            return FULL_SHARE;
        }
        // Below `FULL_SHARE`, since age < slow_start.
        FIRST_SHARE + (u64::from(FULL_SHARE - FIRST_SHARE) * age / slow_start) as u32
    }

    /// Requests sent and not yet answered to the end.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Whether the last request that ended failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures.load(Relaxed) > 0
    }

    /// Each start has its [`Self::request_ended`], however the request ends.
    pub(crate) fn request_started(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn request_ended(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub(crate) fn request_succeeded(&self, now: Millis) -> Option<Transition> {
        // On every request, so it writes nothing in the usual case.
        if self.failures.load(Relaxed) == 0 { None } else { self.recovered(now) }
    }

    #[cold]
    fn recovered(&self, now: Millis) -> Option<Transition> {
        // Sent before the ejection: it says nothing about the time after.
        if self.is_ejected(now) {
            return None;
        }
        self.failures.store(0, Relaxed);
        self.on_probation.swap(false, Relaxed).then_some(Transition::Returned)
    }

    /// Counts a connect error, a 502, 503 or 504 and returns how many came in a row. The
    /// [`Ejector`](crate::eject::Ejector) knows what follows.
    pub(crate) fn request_failed(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Takes the server out. The caller holds the lock of the [`Ejector`](crate::eject::Ejector).
    pub(crate) fn eject(&self, rule: &Ejection, failures: u32, now: Millis) -> Transition {
        let step = in_millis(rule.time).max(1);
        let longest = in_millis(rule.max_time);
        // Each `time` without ejection makes up for one.
        let good = now.since(Millis(self.since.load(Relaxed))) / step;
        let before = u64::from(self.ejections.load(Relaxed)).saturating_sub(good);
        // Not more than the longest time needs, or it would take longer to make up for them.
        let row = (before + 1).min(longest.div_ceil(step)).max(1);
        let time = Duration::from_millis(step.saturating_mul(row).min(longest));
        self.ejections.store(u32::try_from(row).unwrap_or(u32::MAX), Relaxed);
        self.on_probation.store(true, Relaxed);
        self.start(now + time);
        Transition::Ejected { time, failures }
    }

    /// A health check passed; after `rise` in a row the server is up again, with a slow start. That ends
    /// an ejection as well: the server is known to be another one than the one that failed.
    pub(crate) fn check_passed(&self, rise: u32, now: Millis) -> Option<Transition> {
        self.was_well.store(true, Relaxed);
        let checks = self.count_check(false, rise)?;
        self.begin_again(now);
        Some(Transition::Up { checks })
    }

    /// Whether any health check has passed so far.
    pub(crate) fn was_well(&self) -> bool {
        self.was_well.load(Relaxed)
    }

    /// Goes on with what another process found out: whether any check has passed, and whether the server is down.
    pub(crate) fn go_on(&self, was_well: bool, is_down: bool) {
        self.was_well.fetch_or(was_well, Relaxed);
        if is_down {
            self.flags.fetch_or(DOWN, Relaxed);
        }
    }

    /// A health check failed; after `fall` in a row the server is down.
    pub(crate) fn check_failed(&self, fall: u32) -> Option<Transition> {
        let checks = self.count_check(true, fall)?;
        self.flags.fetch_or(DOWN, Relaxed);
        Some(Transition::Down { checks })
    }

    /// The configuration no longer asks for checks: no check would find the server up again.
    pub(crate) fn unchecked(&self, now: Millis) -> Option<Transition> {
        self.contrary_checks.store(0, Relaxed);
        if self.flags.load(Relaxed) & DOWN == 0 {
            return None;
        }
        self.begin_again(now);
        Some(Transition::Unchecked)
    }

    /// The length of the row of checks against the present state, once it reaches `enough`. Checks come
    /// from one task, one after another.
    fn count_check(&self, down: bool, enough: u32) -> Option<u32> {
        let agrees = (self.flags.load(Relaxed) & DOWN != 0) == down;
        let row = if agrees { 0 } else { self.contrary_checks.load(Relaxed) + 1 };
        let turns = !agrees && row >= enough;
        self.contrary_checks.store(if turns { 0 } else { row }, Relaxed);
        turns.then_some(row)
    }

    fn begin_again(&self, now: Millis) {
        self.failures.store(0, Relaxed);
        self.on_probation.store(false, Relaxed);
        self.start(now);
        self.flags.fetch_and(!DOWN, Relaxed);
    }

    /// The server left the configuration or its name's addresses.
    pub(crate) fn drain(&self) -> Option<Transition> {
        let before = self.flags.fetch_or(DRAINING, Relaxed);
        (before & DRAINING == 0).then_some(Transition::Draining)
    }

    /// It is back before it was forgotten: with a slow start, and still ejected if it was.
    pub(crate) fn restore(&self, now: Millis) -> Option<Transition> {
        if self.flags.load(Relaxed) & DRAINING == 0 {
            return None;
        }
        self.since.fetch_max(now.0, Relaxed);
        self.flags.fetch_and(!DRAINING, Relaxed);
        Some(Transition::Restored)
    }

    fn is_ejected(&self, now: Millis) -> bool {
        self.since.load(Relaxed) > now.0
    }

    fn start(&self, at: Millis) {
        self.since.store(at.0.max(1), Relaxed);
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Ejected => "ejected",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { checks } => write!(f, "up after {checks} checks passed in a row"),
            Self::Down { checks } => write!(f, "down after {checks} checks failed in a row"),
            Self::Unchecked => f.write_str("up, since it is no longer checked"),
            Self::Ejected { time, failures } => {
                write!(f, "ejected for {time:?} after {failures} failures in a row")
            }
            Self::Returned => f.write_str("up, since it answers again after its ejection"),
            Self::Draining => f.write_str("draining, since it is no longer among the servers"),
            Self::Restored => f.write_str("among the servers again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Ejection = Ejection {
        failures: 5,
        time: Duration::from_secs(30),
        max_time: Duration::from_secs(75),
        max_percent: 50,
    };

    fn seconds(seconds: u64) -> Millis {
        Millis(seconds * 1000)
    }

    fn ejected_for(transition: Transition) -> u64 {
        let Transition::Ejected { time, .. } = transition else { panic!("{transition}") };
        time.as_secs()
    }

    #[test]
    fn checks_take_a_server_out_after_fall_and_back_after_rise_in_a_row() {
        let server = Health::new();
        assert_eq!(server.state(seconds(0)), State::Up, "before the first check");
        for passes in [false, false, true, false, false] {
            let change = if passes { server.check_passed(2, seconds(1)) } else { server.check_failed(3) };
            assert_eq!(change, None);
        }
        assert_eq!(server.check_failed(3), Some(Transition::Down { checks: 3 }));
        assert_eq!(server.check_failed(3), None, "it is down already");
        assert_eq!(server.state(seconds(2)), State::Down);
        assert_eq!(server.check_passed(2, seconds(3)), None);
        assert_eq!(server.check_passed(2, seconds(4)), Some(Transition::Up { checks: 2 }));
        assert_eq!(server.state(seconds(4)), State::Up);
    }

    #[test]
    fn a_server_that_is_down_and_no_longer_checked_is_up() {
        let server = Health::new();
        assert_eq!(server.unchecked(seconds(1)), None);
        server.check_failed(1);
        assert_eq!(server.unchecked(seconds(1)), Some(Transition::Unchecked));
        assert_eq!(server.state(seconds(1)), State::Up);
    }

    #[test]
    fn the_share_grows_from_a_tenth_after_joining_and_is_whole_from_the_start_of_the_process() {
        let share = |server: &Health, at| server.share(seconds(at), 30_000);
        assert_eq!(share(&Health::new(), 0), 100);
        let server = Health::joining(seconds(100));
        assert_eq!([100, 110, 120, 130, 500].map(|at| share(&server, at)), [10, 40, 70, 100, 100]);
        assert_eq!(server.share(seconds(100), 0), 100, "no slow start");
        server.check_failed(1);
        server.check_passed(1, seconds(500));
        assert_eq!(share(&server, 500), 10, "back from down");
        server.eject(&RULE, 5, seconds(600));
        assert_eq!([630, 645].map(|at| share(&server, at)), [10, 55], "back from an ejection");
    }

    #[test]
    fn ejections_in_a_row_grow_up_to_the_longest_and_time_without_makes_up_for_them() {
        let server = Health::new();
        assert_eq!(ejected_for(server.eject(&RULE, 5, seconds(0))), 30);
        assert_eq!(server.state(Millis(29_999)), State::Ejected);
        assert_eq!(server.state(seconds(30)), State::Up);
        assert_eq!(ejected_for(server.eject(&RULE, 6, seconds(31))), 60);
        assert_eq!(ejected_for(server.eject(&RULE, 7, seconds(91))), 75);
        assert_eq!(ejected_for(server.eject(&RULE, 8, seconds(166))), 75);
        // Back at 241 with three in a row; two times 30 s later one is left.
        assert_eq!(ejected_for(server.eject(&RULE, 5, seconds(301))), 60);
        assert_eq!(ejected_for(server.eject(&RULE, 5, seconds(5000))), 30);
    }

    #[test]
    fn only_a_success_after_the_ejection_counts() {
        let server = Health::new();
        assert_eq!(server.request_failed(), 1);
        assert_eq!(server.request_succeeded(seconds(0)), None);
        assert_eq!(server.request_failed(), 1, "a success ends the row");
        server.eject(&RULE, 1, seconds(1));
        assert_eq!(server.request_succeeded(seconds(2)), None);
        assert_eq!(server.request_failed(), 2, "sent before it was ejected");
        assert_eq!(server.request_succeeded(seconds(31)), Some(Transition::Returned));
        assert_eq!(server.request_failed(), 1);
    }

    #[test]
    fn a_server_that_is_restored_starts_slowly_and_stays_ejected() {
        let server = Health::new();
        assert_eq!(server.drain(), Some(Transition::Draining));
        assert_eq!(server.drain(), None);
        assert_eq!(server.state(seconds(1)), State::Draining);
        assert_eq!(server.restore(seconds(1)), Some(Transition::Restored));
        assert_eq!(server.restore(seconds(1)), None);
        assert_eq!((server.state(seconds(1)), server.share(seconds(1), 30_000)), (State::Up, 10));
        server.eject(&RULE, 5, seconds(2));
        server.drain();
        server.restore(seconds(3));
        assert_eq!(server.state(seconds(31)), State::Ejected);
        assert_eq!(server.state(seconds(32)), State::Up);
    }

    #[test]
    fn log_lines_say_what_happened() {
        let server = Health::new();
        assert_eq!(
            server.eject(&RULE, 5, seconds(0)).to_string(),
            "ejected for 30s after 5 failures in a row"
        );
        assert_eq!(Transition::Down { checks: 3 }.to_string(), "down after 3 checks failed in a row");
    }
}
