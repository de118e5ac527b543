//! When a certificate is renewed, and when a failure is tried again.

use std::time::Duration;

use crate::failure::Fault;
use crate::record::{Plan, Record, Window};
use crate::{At, Stored};

/// What is to be done for a name now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until then.
    Wait(At),
    /// Ask the authority when it wants the certificate to be renewed.
    Ask,
    /// Obtain a certificate, if an authority may be asked.
    Obtain,
}

/// What is to be done; makes a plan for a certificate that has none. `chance` is between 0 and 1.
pub(crate) fn step(certificate: Option<&Stored>, record: &mut Record, now: At, chance: f64) -> Step {
    let Some(certificate) = certificate else { return Step::Obtain };
    let known = record.plan.as_ref().is_some_and(|plan| plan.certificate == certificate.id());
    if !known {
        record.plan = Some(Plan {
            certificate: certificate.id().to_owned(),
            at: by_lifetime(certificate, chance).max(not_before(certificate, obtained(record, certificate))),
            window: None,
            explanation: None,
            ask_at: now,
        });
        record.replaces_failed = false;
    }
    match &record.plan {
        Some(plan) if plan.at > now && plan.ask_at > now => Step::Wait(plan.at.min(plan.ask_at)),
        Some(plan) if plan.at > now => Step::Ask,
        _ => Step::Obtain,
    }
}

fn lifetime(certificate: &Stored) -> Duration {
    certificate.not_after().since(certificate.not_before())
}

/// When a third of the lifetime is left, or a little later: certificates that were obtained together need not be renewed
/// together.
fn by_lifetime(certificate: &Stored, chance: f64) -> At {
    let lifetime = lifetime(certificate);
    certificate.not_after().minus(lifetime / 3).plus((lifetime / 30).mul_f64(chance))
}

/// A point in the window the authority suggests (RFC 9773 §4.2), but never later than when a sixth of the lifetime is left:
/// a suggestion must not end in an outage.
pub(crate) fn in_window(certificate: &Stored, window: Window, obtained: Option<At>, chance: f64) -> At {
    let point = window.start.plus(window.end.since(window.start).mul_f64(chance));
    let point = point.min(certificate.not_after().minus(lifetime(certificate) / 6));
    point.max(not_before(certificate, obtained))
}

fn obtained(record: &Record, certificate: &Stored) -> Option<At> {
    let issued = record.issued.as_ref().filter(|issued| issued.certificate == certificate.id());
    issued.map(|issued| issued.at)
}

/// No certificate is renewed sooner after it was obtained: whoever gives certificates that are to be renewed at once would be
/// asked without end.
fn not_before(certificate: &Stored, obtained: Option<At>) -> At {
    const LEAST: Duration = Duration::from_secs(3600);
    obtained.map_or(At(0), |at| at.plus((lifetime(certificate) / 10).min(LEAST)))
}

/// How long until the authority is asked again about a renewal, of what it said itself (RFC 9773 §4.3.2).
pub(crate) fn ask_again(said: Duration) -> Duration {
    said.clamp(Duration::from_secs(60), Duration::from_secs(24 * 3600))
}

/// How long a name waits after its `count`-th failure in a row with an authority. Four are in the first hour:
/// Let's Encrypt allows five failed validations of a name in an hour.
pub(crate) fn back_off(count: u32, fault: Fault, chance: f64) -> Duration {
    const NAME: [u64; 6] = [60, 300, 900, 3600, 3 * 3600, 6 * 3600];
    const LIMIT: [u64; 3] = [600, 3600, 6 * 3600];
    // The authority itself has a pause beside it.
    const OTHER: [u64; 6] = [10, 30, 60, 300, 900, 3600];
    let steps: &[u64] = match fault {
        Fault::Name => &NAME,
        Fault::RateLimit => &LIMIT,
        Fault::Authority | Fault::Account | Fault::Own => &OTHER,
    };
    let step = (count.max(1) as usize - 1).min(steps.len() - 1);
    spread(Duration::from_secs(steps[step]), chance)
}

/// Up to a fifth more: not all at once.
pub(crate) fn spread(duration: Duration, chance: f64) -> Duration {
    duration + (duration / 5).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const DAY: u64 = 24 * 3600;

    /// Of 90 days, from the first of January 2026 on.
    fn certificate() -> (Stored, At) {
        let mut params = CertificateParams::new(["a.test".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let stored = Stored::parse(pem.into_bytes()).expect("it can be read");
        let begin = stored.not_before();
        assert_eq!(stored.not_after().since(begin).as_secs(), 90 * DAY);
        (stored, begin)
    }

    #[test]
    fn without_a_word_of_the_authority_a_third_of_the_lifetime_is_left() {
        let (certificate, begin) = certificate();
        for (chance, day) in [(0.0, 60), (1.0, 63)] {
            let mut record = Record::default();
            assert_eq!(step(Some(&certificate), &mut record, begin, chance), Step::Ask);
            assert_eq!(record.plan.as_ref().map(|plan| plan.at), Some(At(begin.0 + day * DAY)));
        }
    }

    #[test]
    fn a_plan_is_waited_for_and_then_carried_out() {
        let (certificate, begin) = certificate();
        let mut record = Record { replaces_failed: true, ..Record::default() };
        let day = |day: u64| At(begin.0 + day * DAY);
        let next = |record: &mut Record, now| step(Some(&certificate), record, now, 0.0);
        assert_eq!(next(&mut record, begin), Step::Ask);
        assert!(!record.replaces_failed, "that was about another certificate");
        record.plan.as_mut().expect("a plan").ask_at = day(1);
        assert_eq!(next(&mut record, begin), Step::Wait(day(1)));
        record.plan.as_mut().expect("a plan").ask_at = day(80);
        assert_eq!(next(&mut record, day(10)), Step::Wait(day(60)));
        assert_eq!(next(&mut record, day(60)), Step::Obtain);
        assert_eq!(step(None, &mut record, begin, 0.0), Step::Obtain);
    }

    #[test]
    fn a_window_is_followed_as_far_as_it_is_safe() {
        let (certificate, begin) = certificate();
        let window = |start, end| Window { start: At(begin.0 + start * DAY), end: At(begin.0 + end * DAY) };
        for (suggested, chance, day) in [
            (window(40, 50), 0.0, 40),
            (window(40, 50), 0.5, 45),
            (window(40, 50), 1.0, 50),
            (window(80, 200), 1.0, 75),
            (window(50, 40), 1.0, 50),
        ] {
            let at = in_window(&certificate, suggested, None, chance);
            assert_eq!(at, At(begin.0 + day * DAY), "{suggested:?}");
        }
        let now = At(begin.0 + 30 * DAY);
        let again = in_window(&certificate, window(0, 1), Some(now), 0.0);
        assert_eq!(again, now.plus(Duration::from_secs(3600)), "not without end");
    }

    #[test]
    fn a_name_that_fails_is_asked_for_less_and_less() {
        let hours = |count| back_off(count, Fault::Name, 1.0).as_secs_f64() / 3600.0;
        let first: f64 = (1..=3).map(|count| back_off(count, Fault::Name, 0.0).as_secs_f64()).sum();
        assert!(first < 3600.0 && first + back_off(4, Fault::Name, 0.0).as_secs_f64() > 3600.0);
        assert!(hours(100) < 7.5 && hours(7) == hours(6));
        assert!(back_off(0, Fault::Authority, 0.0) <= back_off(1, Fault::Authority, 1.0));
        assert!(back_off(1, Fault::RateLimit, 0.0) > back_off(1, Fault::Name, 1.0));
    }
}
