//! Policies define and count, and the text is what Prometheus is to read.

use std::hint::black_box;
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::{Exposition, Format, Kind, Metric, NotCounted, OnePolicy, PolicyMetrics};

fn define(policy: &OnePolicy, name: &str, kind: Kind, labels: &[&str]) -> Result<Metric, String> {
    let labels: Vec<_> = labels.iter().map(|&label| label.to_owned()).collect();
    policy.define(name, "Some help.", kind, &labels)
}

fn counter(policy: &OnePolicy, name: &str, labels: &[&str]) -> Metric {
    define(policy, name, Kind::Counter, labels).expect("a counter")
}

fn gauge(policy: &OnePolicy, name: &str, labels: &[&str]) -> Metric {
    define(policy, name, Kind::Gauge, labels).expect("a gauge")
}

fn histogram(policy: &OnePolicy, name: &str, bounds: &[f64], labels: &[&str]) -> Metric {
    define(policy, name, Kind::Histogram(bounds.to_vec()), labels).expect("a histogram")
}

fn text(all: &PolicyMetrics) -> String {
    let mut out = Exposition::new(Format::Prometheus);
    all.write(&mut out);
    out.finish()
}

/// The value of a sample, by all that stands before it.
fn value<'a>(text: &'a str, sample: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
}

/// What is shown, without what is shown for every policy.
fn families(all: &PolicyMetrics) -> String {
    let dropped = |line: &&str| line.contains("tidegate_policy_metrics_dropped_total");
    text(all).lines().filter(|line| !dropped(line)).map(|line| format!("{line}\n")).collect()
}

const DROPPED: &str = r#"tidegate_policy_metrics_dropped_total{policy="10-access"}"#;

#[test]
fn nothing_is_shown_while_nothing_is_defined() {
    let all = PolicyMetrics::default();
    let _policy = all.of("10-access");
    assert_eq!(text(&all), "");
}

#[test]
fn counters_are_shown_with_their_labels_and_a_total() {
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let denied = counter(&policy, "denied", &["reason", "country"]);
    let seen = counter(&policy, "seen_total", &[]);
    denied.add(&["token", "CH"], 2).expect("counted");
    denied.add(&["address", ""], 1).expect("counted");
    denied.add(&["token", "CH"], u64::MAX - 2).expect("counted");
    assert_eq!(
        text(&all),
        r#"# HELP tidegate_policy_denied_total Some help.
# TYPE tidegate_policy_denied_total counter
tidegate_policy_denied_total{policy="10-access",reason="address",country=""} 1
tidegate_policy_denied_total{policy="10-access",reason="token",country="CH"} 18446744073709551615
# HELP tidegate_policy_metrics_dropped_total What a policy counted for new labels while it had too many series already.
# TYPE tidegate_policy_metrics_dropped_total counter
tidegate_policy_metrics_dropped_total{policy="10-access"} 0
# HELP tidegate_policy_seen_total Some help.
# TYPE tidegate_policy_seen_total counter
tidegate_policy_seen_total{policy="10-access"} 0
"#
    );
    drop(seen);
}

#[test]
fn gauges_show_any_float() {
    let all = PolicyMetrics::default();
    let policy = all.of("20-quota");
    let left = gauge(&policy, "left", &["of"]);
    let values = [0.1, -3.0, 1e300, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 123_456_789.0];
    for (number, value) in values.into_iter().enumerate() {
        left.set(&[&number.to_string()], 7.0).expect("set");
        left.set(&[&number.to_string()], value).expect("set");
    }
    assert_eq!(
        families(&all),
        r#"# HELP tidegate_policy_left Some help.
# TYPE tidegate_policy_left gauge
tidegate_policy_left{policy="20-quota",of="0"} 0.1
tidegate_policy_left{policy="20-quota",of="1"} -3
tidegate_policy_left{policy="20-quota",of="2"} 1e300
tidegate_policy_left{policy="20-quota",of="3"} 5e-324
tidegate_policy_left{policy="20-quota",of="4"} NaN
tidegate_policy_left{policy="20-quota",of="5"} +Inf
tidegate_policy_left{policy="20-quota",of="6"} -Inf
tidegate_policy_left{policy="20-quota",of="7"} 123456789
"#
    );
}

#[test]
fn a_value_on_a_bound_belongs_to_its_bucket() {
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let size = histogram(&policy, "size", &[-1.0, 0.5, 2.0], &["path"]);
    for value in [-1.0, -0.5, 0.5, 0.75, 2.0, 2.5, 1e6] {
        size.observe(&["/"], value).expect("counted");
    }
    assert_eq!(
        families(&all),
        r#"# HELP tidegate_policy_size Some help.
# TYPE tidegate_policy_size histogram
tidegate_policy_size_bucket{policy="10-access",path="/",le="-1"} 1
tidegate_policy_size_bucket{policy="10-access",path="/",le="0.5"} 3
tidegate_policy_size_bucket{policy="10-access",path="/",le="2"} 5
tidegate_policy_size_bucket{policy="10-access",path="/",le="+Inf"} 7
tidegate_policy_size_sum{policy="10-access",path="/"} 1000004.25
tidegate_policy_size_count{policy="10-access",path="/"} 7
"#
    );
}

#[test]
fn what_would_end_a_value_or_a_line_is_escaped() {
    let all = PolicyMetrics::default();
    let policy = all.of("a\"b\\c\nd");
    let seen = policy
        .define("seen", "A \"quoted\" \\ word\nand a line.", Kind::Counter, &["agent".to_owned()])
        .expect("a counter");
    seen.add(&["\"} 1\nforged{x=\"\\\\"], 1).expect("counted");
    assert_eq!(
        families(&all),
        r#"# HELP tidegate_policy_seen_total A "quoted" \\ word\nand a line.
# TYPE tidegate_policy_seen_total counter
tidegate_policy_seen_total{policy="a\"b\\c\nd",agent="\"} 1\nforged{x=\"\\\\"} 1
"#
    );
}

#[test]
fn policies_share_a_family_each_with_its_own_labels() {
    let all = PolicyMetrics::default();
    let (second, first) = (all.of("20-waf"), all.of("10-access"));
    counter(&second, "denied", &["rule"]).add(&["sqli"], 2).expect("counted");
    counter(&first, "denied", &[]).add(&[], 1).expect("counted");
    assert_eq!(
        families(&all),
        r#"# HELP tidegate_policy_denied_total Some help.
# TYPE tidegate_policy_denied_total counter
tidegate_policy_denied_total{policy="10-access"} 1
tidegate_policy_denied_total{policy="20-waf",rule="sqli"} 2
"#
    );
}

#[test]
fn a_family_has_one_type_whoever_defines_it() {
    let all = PolicyMetrics::default();
    let (first, second) = (all.of("10-access"), all.of("20-waf"));
    let load = gauge(&first, "load", &[]);
    let refused = define(&second, "load", Kind::Histogram(vec![1.0]), &[]).expect_err("another type");
    assert_eq!(
        refused,
        "tidegate_policy_load cannot be a histogram: the policy \"10-access\" has a gauge of that name"
    );
    drop((first, load));
    assert!(define(&second, "load", Kind::Histogram(vec![1.0]), &[]).is_ok(), "the other policy is gone");
}

#[test]
fn counts_go_on_after_a_reload_and_end_with_the_policy() {
    const SEEN: &str = r#"tidegate_policy_seen_total{policy="10-access",by="a"}"#;
    let all = PolicyMetrics::default();
    let old = all.of("10-access");
    counter(&old, "seen", &["by"]).add(&["a"], 3).expect("counted");

    let new = all.of("10-access");
    let seen = new.define("seen", "Told anew.", Kind::Counter, &["by".to_owned()]).expect("a counter");
    drop(old);
    seen.add(&["a"], 4).expect("counted");
    assert_eq!(value(&text(&all), SEEN), Some("7"));
    assert!(text(&all).contains("# HELP tidegate_policy_seen_total Told anew.\n"));

    drop(new);
    assert_eq!(value(&text(&all), SEEN), Some("7"), "an instance still holds the metric");
    drop(seen);
    assert_eq!(text(&all), "");
}

#[test]
fn a_changed_definition_starts_anew() {
    let all = PolicyMetrics::default();
    let old = all.of("10-access");
    let before = gauge(&old, "load", &["core"]);
    before.set(&["0"], 3.0).expect("set");

    let new = all.of("10-access");
    let after = gauge(&new, "load", &["core", "node"]);
    after.set(&["0", "1"], 4.0).expect("set");
    let shown = text(&all);
    assert_eq!(value(&shown, r#"tidegate_policy_load{policy="10-access",core="0",node="1"}"#), Some("4"));
    assert_eq!(value(&shown, r#"tidegate_policy_load{policy="10-access",core="0"}"#), None);

    let other_type = all.of("10-access");
    let newest = histogram(&other_type, "load", &[1.0], &[]);
    newest.observe(&[], 0.5).expect("counted");
    assert!(text(&all).contains("# TYPE tidegate_policy_load histogram\n"));
    assert_eq!(value(&text(&all), r#"tidegate_policy_load_count{policy="10-access"}"#), Some("1"));
}

#[test]
fn a_version_that_is_given_up_leaves_the_last_ones_metrics() {
    let all = PolicyMetrics::default();
    let serving = all.of("10-access");
    let seen = counter(&serving, "seen", &["by"]);
    seen.add(&["a"], 3).expect("counted");

    let broken = all.of("10-access");
    counter(&broken, "seen", &["agent"]);
    seen.add(&["a"], 1).expect("counted");
    assert!(!text(&all).contains("by=\"a\""), "the newest is shown");
    drop(broken);
    assert_eq!(value(&text(&all), r#"tidegate_policy_seen_total{policy="10-access",by="a"}"#), Some("4"));
}

#[test]
fn every_instance_of_a_version_finds_the_same_metric() {
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    counter(&policy, "seen", &[]).add(&[], 1).expect("counted");
    counter(&policy.clone(), "seen_total", &[]).add(&[], 1).expect("counted");
    assert_eq!(value(&text(&all), r#"tidegate_policy_seen_total{policy="10-access"}"#), Some("2"));
    let refused = define(&policy, "seen", Kind::Counter, &["by"]).expect_err("defined in two ways");
    assert_eq!(
        refused,
        "tidegate_policy_seen_total is defined already, with another type, other labels or buckets"
    );
}

#[test]
fn definitions_that_cannot_be_shown_are_refused() {
    let policy = PolicyMetrics::default().of("10-access");
    let (long, help) = ("a".repeat(101), "a".repeat(1001));
    let labels: Vec<_> = (0..11).map(|number| format!("label{number}")).collect();
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    let bounds: Vec<_> = (0..51).map(f64::from).collect();
    let buckets = |bounds: &[f64]| Kind::Histogram(bounds.to_vec());

    for name in
        ["", "1st", "a-b", "a b", "ä", "a:b", "__name", &long, "metrics_dropped", "metrics_dropped_total"]
    {
        assert!(define(&policy, name, Kind::Counter, &[]).is_err(), "{name}");
    }
    for name in ["a_total", "a_sum", "a_count", "a_bucket", "total", "count"] {
        assert!(define(&policy, name, Kind::Gauge, &[]).is_err(), "{name}");
        assert!(define(&policy, name, buckets(&[1.0]), &[]).is_err(), "{name}");
    }
    for labels in [&["policy"][..], &["le"], &["__a"], &["a", "b", "a"], &["a-b"], &[""], &[&*long], &labels]
    {
        assert!(define(&policy, "seen", Kind::Counter, labels).is_err(), "{labels:?}");
    }
    for bounds in [&[][..], &[1.0, 1.0], &[2.0, 1.0], &[f64::NAN], &[1.0, f64::INFINITY], &bounds] {
        assert!(define(&policy, "size", buckets(bounds), &[]).is_err(), "{bounds:?}");
    }
    assert!(policy.define("seen", &help, Kind::Counter, &[]).is_err());

    assert!(define(&policy, &long[1..], Kind::Counter, &labels[1..]).is_ok(), "as much as is possible");
    assert!(define(&policy, "size", buckets(&bounds[1..]), &[]).is_ok());
    assert!(policy.define("seen", &help[1..], Kind::Counter, &[]).is_ok());
}

#[test]
fn a_policy_has_at_most_100_metrics() {
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let names: Vec<_> = (0..101).map(|number| format!("metric{number}")).collect();
    names[..100].iter().for_each(|name| drop(gauge(&policy, name, &[])));
    assert!(define(&policy, &names[100], Kind::Gauge, &[]).is_err());
    assert!(define(&policy, &names[0], Kind::Gauge, &[]).is_ok(), "defined before");
    let new = all.of("10-access");
    assert!(define(&new, &names[100], Kind::Gauge, &[]).is_ok(), "each version has its own");
}

#[test]
fn calls_that_do_not_fit_the_definition_count_nothing() {
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let (seen, load) = (counter(&policy, "seen", &["by"]), gauge(&policy, "load", &[]));
    let size = histogram(&policy, "size", &[1.0], &[]);
    assert_eq!(seen.set(&["a"], 1.0), Err(NotCounted::WrongKind));
    assert_eq!(load.observe(&[], 1.0), Err(NotCounted::WrongKind));
    assert_eq!(size.add(&[], 1), Err(NotCounted::WrongKind));
    assert_eq!(seen.add(&[], 1), Err(NotCounted::WrongLabels));
    assert_eq!(seen.add(&["a", "b"], 1), Err(NotCounted::WrongLabels));
    assert_eq!(load.set(&["a"], 1.0), Err(NotCounted::WrongLabels));
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(size.observe(&[], value), Err(NotCounted::NotFinite));
    }
    let shown = text(&all);
    assert!(!shown.contains("seen_total{"), "a counter with labels that was never counted in has no series");
    assert_eq!(value(&shown, r#"tidegate_policy_size_count{policy="10-access"}"#), Some("0"));
    assert_eq!(value(&shown, DROPPED), Some("0"));
}

/// Counts with new labels until there is no room, and says how often there was.
fn fill(metric: &Metric, count: impl Fn(&Metric, &str) -> Result<(), NotCounted>) -> usize {
    (0..2000).map_while(|number| count(metric, &number.to_string()).ok()).count()
}

#[test]
fn series_beyond_the_limit_are_counted_as_dropped() {
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let (first, second) = (counter(&policy, "first", &["path"]), counter(&policy, "second", &["path"]));
    first.add(&["kept"], 1).expect("counted");
    assert_eq!(fill(&second, |metric, path| metric.add(&[path], 1)), 999);
    assert_eq!(first.add(&["new"], 1), Err(NotCounted::TooMany));
    first.add(&["kept"], 1).expect("a series that is there");
    counter(&policy, "plain", &[]).add(&[], 1).expect("no labels, no limit");
    assert!(
        counter(&all.of("20-waf"), "first", &["path"]).add(&["new"], 1).is_ok(),
        "each policy has its own"
    );
    let shown = text(&all);
    assert_eq!(value(&shown, DROPPED), Some("2"));
    assert_eq!(value(&shown, r#"tidegate_policy_first_total{policy="10-access",path="kept"}"#), Some("2"));
    assert!(!shown.contains("\"new\""));
}

#[test]
fn series_of_a_definition_that_is_gone_leave_their_room() {
    let all = PolicyMetrics::default();
    let old = all.of("10-access");
    let new = all.of("10-access");
    assert_eq!(fill(&counter(&old, "seen", &["path"]), |metric, path| metric.add(&[path], 1)), 1000);
    let seen = counter(&new, "seen", &["route"]);
    assert_eq!(seen.add(&["/"], 1), Err(NotCounted::TooMany), "versions share the limit");
    drop(old);
    assert_eq!(fill(&seen, |metric, route| metric.add(&[route], 1)), 1000);
}

#[test]
fn a_histogram_takes_the_room_of_its_lines() {
    let bounds: Vec<_> = (0..50).map(f64::from).collect();
    for (buckets, series) in [(1, 1000), (7, 1000), (8, 500), (50, 166)] {
        let all = PolicyMetrics::default();
        let size = histogram(&all.of("10-access"), "size", &bounds[..buckets], &["path"]);
        assert_eq!(fill(&size, |metric, path| metric.observe(&[path], 1.0)), series, "{buckets} buckets");
        assert!(families(&all).lines().count() <= 10_002);
    }
}

#[test]
fn values_are_cut_between_characters() {
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let seen = counter(&policy, "seen", &["path"]);
    let umlauts = format!("a{}", "ä".repeat(64));
    seen.add(&[&umlauts], 1).expect("counted");
    seen.add(&[&umlauts[..127]], 1).expect("counted");
    seen.add(&[&"x".repeat(128)], 1).expect("counted");
    seen.add(&[&"x".repeat(5000)], 1).expect("counted");
    let sample = |path: &str| format!(r#"tidegate_policy_seen_total{{policy="10-access",path="{path}"}}"#);
    let shown = text(&all);
    assert_eq!(value(&shown, &sample(&umlauts[..127])), Some("2"));
    assert_eq!(value(&shown, &sample(&"x".repeat(128))), Some("2"));
}

#[test]
fn values_are_told_apart_by_the_label_they_are_for() {
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let seen = counter(&policy, "seen", &["a", "b"]);
    for (values, times) in [(["xy", ""], 1), (["x", "y"], 2), (["", "xy"], 3)] {
        seen.add(&values, times).expect("counted");
    }
    let sample =
        |a: &str, b: &str| format!(r#"tidegate_policy_seen_total{{policy="10-access",a="{a}",b="{b}"}}"#);
    let shown = text(&all);
    assert_eq!(value(&shown, &sample("xy", "")), Some("1"));
    assert_eq!(value(&shown, &sample("x", "y")), Some("2"));
    assert_eq!(value(&shown, &sample("", "xy")), Some("3"));
}

#[test]
fn nothing_is_lost_when_eight_threads_count_at_once() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 20;
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let seen = counter(&policy, "seen", &["path"]);
    let size = histogram(&policy, "size", &[1.0], &[]);
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                // All threads add the same series at about the same time.
                for number in 0..ROUNDS * 100 {
                    seen.add(&[&(number % 100).to_string()], 1).expect("counted");
                    size.observe(&[], 0.5).expect("counted");
                }
            });
        }
    });
    let shown = text(&all);
    let each = (THREADS * ROUNDS).to_string();
    for path in 0..100 {
        let sample = format!(r#"tidegate_policy_seen_total{{policy="10-access",path="{path}"}}"#);
        assert_eq!(value(&shown, &sample), Some(&*each));
    }
    let (count, sum) = (THREADS * ROUNDS * 100, THREADS * ROUNDS * 50);
    assert_eq!(value(&shown, r#"tidegate_policy_size_count{policy="10-access"}"#), Some(&*count.to_string()));
    assert_eq!(value(&shown, r#"tidegate_policy_size_sum{policy="10-access"}"#), Some(&*sum.to_string()));
    assert_eq!(fill(&seen, |metric, path| metric.add(&[&format!("new {path}")], 1)), 900, "no room was lost");
}

#[test]
fn the_text_is_what_promtool_takes() {
    let all = PolicyMetrics::default();
    let (first, second) = (all.of("10-access"), all.of("a\"b\\c\nd"));
    for policy in [&first, &second] {
        counter(policy, "denied", &["reason"]).add(&["\"} 1\n\\\u{0}\r\u{7f}ä"], 1).expect("counted");
        counter(policy, "seen", &[]).add(&[], u64::MAX).expect("counted");
        counter(policy, "never_counted", &["reason"]);
        let load = gauge(policy, "load", &["core"]);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, -0.0] {
            load.set(&[&value.to_string()], value).expect("set");
        }
        histogram(policy, "size", &[-1.5, 0.0, 1e-9, 1e20], &["path"]).observe(&["/"], 0.1).expect("counted");
    }
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: there is no promtool (Debian's package prometheus)");
            return;
        }
        started => started.expect("promtool"),
    };
    // It says nothing before it has read all.
    promtool.stdin.take().expect("piped").write_all(text(&all).as_bytes()).expect("written");
    let said = promtool.wait_with_output().expect("promtool");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{words}\n{}", text(&all));
}

/// `cargo test -p tidegate-telemetry --profile quick -- --nocapture what_counting`
#[test]
fn what_counting_costs_is_printed() {
    const TIMES: u64 = 1_000_000;
    let all = PolicyMetrics::default();
    let policy = all.of("10-access");
    let names = ["method", "route", "status"];
    for labels in [0, 1, 3] {
        let name = format!("with_{labels}");
        let metric = counter(&policy, &name, &names[..labels]);
        let values = &["GET", "/api/v1/orders", "200"][..labels];
        let begin = Instant::now();
        for _ in 0..TIMES {
            metric.add(black_box(values), 1).expect("counted");
        }
        let nanos = begin.elapsed().as_nanos() as f64 / TIMES as f64;
        println!("add with {labels} labels: {nanos:.1} ns");
        assert!(text(&all).lines().any(|line| line.contains(&name) && line.ends_with(&format!(" {TIMES}"))));
    }
}
