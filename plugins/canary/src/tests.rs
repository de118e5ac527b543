//! Who goes where.

use serde_json::{Value, json};

use super::*;

const SECRET: &str = "correct-horse-battery";

fn configured(config: Value) -> Canary {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<Canary>(config).err().expect("an invalid configuration")
}

/// Two destinations with these weights, and further keys.
fn canary(stable: u32, canary: u32, more: Value) -> Canary {
    let mut config = json!({ "destinations": [{ "to": "stable", "weight": stable }, { "to": "canary", "weight": canary }] });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    configured(config)
}

fn get() -> testing::Request {
    testing::Request::new("GET", "/")
}

#[track_caller]
fn sent(policy: &Canary, request: &testing::Request) -> String {
    assert_eq!(policy.on_request(request), Verdict::Next);
    assert_eq!(request.attribute("canary"), request.route());
    request.route().expect("a route")
}

/// The cookie that a response sets.
fn cookie(policy: &Canary, request: &testing::Request) -> Option<String> {
    let response = testing::Response::new(200);
    assert_eq!(policy.on_response(request, &response), Verdict::Next);
    response.header("set-cookie")
}

#[test]
fn shares_are_exact() {
    for weights in [&[95, 5][..], &[1, 1, 1], &[0, 3, 1], &[7, 0, 2, 1]] {
        let destinations: Vec<Value> = weights
            .iter()
            .enumerate()
            .map(|(index, weight)| json!({ "to": format!("d{index}"), "weight": weight }))
            .collect();
        let policy = configured(json!({ "destinations": destinations }));
        let sum: u32 = weights.iter().sum();
        // Numbers in even steps over all there are: a thousand for each unit of weight.
        let steps = u64::from(sum) * 1000;
        let mut counts = vec![0; weights.len()];
        for step in 0..steps {
            let number = ((u128::from(step) * 2 + 1) << 63) / u128::from(steps);
            counts[policy.weights.at(number as u64)] += 1;
        }
        let expected: Vec<u32> = weights.iter().map(|weight| weight * 1000).collect();
        assert_eq!(counts, expected, "{weights:?}");
    }
}

#[test]
fn the_ends_of_the_row_have_a_destination() {
    let policy = canary(95, 5, json!({}));
    assert_eq!((policy.weights.at(0), policy.weights.at(u64::MAX)), (1, 0));
    let policy = canary(0, 5, json!({}));
    assert_eq!((policy.weights.at(0), policy.weights.at(u64::MAX)), (1, 1));
}

#[test]
fn whoever_is_on_the_canary_stays_there_as_it_grows() {
    let [small, large] = [canary(95, 5, json!({})), canary(80, 20, json!({}))];
    for step in 0..1000_u64 {
        let number = step * (u64::MAX / 1000);
        assert!(small.weights.at(number) == 0 || large.weights.at(number) == 1);
    }
}

#[test]
fn chance_divides_requests_about_as_the_weights_say() {
    let policy = canary(80, 20, json!({}));
    let canaries = (0..2000).filter(|_| sent(&policy, &get()) == "canary").count();
    // 400 expected; nine standard deviations each way.
    assert!((240..=560).contains(&canaries), "{canaries}");
}

#[test]
fn a_cookie_keeps_a_client_where_it_was() {
    let policy = canary(1, 1, json!({ "sticky": { "by": "cookie", "max-age": 60 } }));
    for _ in 0..20 {
        let request = get();
        let first = sent(&policy, &request);
        let set = cookie(&policy, &request).expect("a cookie");
        assert_eq!(set, format!("canary={first}; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"));
        let again = get().with_header("cookie", format!("a=b; canary={first}"));
        assert_eq!(sent(&policy, &again), first);
        assert_eq!(cookie(&policy, &again), None, "it has one");
    }
    let request = get().with_tls(None);
    sent(&policy, &request);
    assert!(cookie(&policy, &request).unwrap().ends_with("; Secure"));
}

#[test]
fn a_cookie_of_what_is_no_choice_any_more_is_replaced() {
    let policy = canary(1, 0, json!({ "sticky": { "by": "cookie" } }));
    for value in ["canary", "gone", "", "stable; canary=canary"] {
        let request = get().with_header("cookie", format!("canary={value}"));
        assert_eq!(sent(&policy, &request), "stable", "{value}");
    }
}

#[test]
fn nobody_signs_a_cookie_without_the_secret() {
    testing::set_secret("cookie", SECRET);
    let always = canary(0, 1, json!({ "sticky": { "by": "cookie" } }));
    let request = get();
    sent(&always, &request);
    let set = cookie(&always, &request).unwrap();
    let value = set.split(';').next().unwrap().to_owned();
    let code = value.strip_prefix("canary=canary.").expect("a signed name");
    // With these weights nobody is sent to the canary but by the cookie.
    let policy = canary(1_000_000, 1, json!({ "sticky": { "by": "cookie" } }));
    assert_eq!(sent(&policy, &get().with_header("cookie", &value)), "canary");
    for forged in [
        "canary=canary".to_owned(),
        "canary=canary.".into(),
        format!("canary=stable.{code}"),
        format!("canary=canary.{}", &code[1..]),
        format!("canary=canary.{code}0"),
    ] {
        assert_eq!(sent(&policy, &get().with_header("cookie", &forged)), "stable", "{forged}");
    }
}

#[test]
fn a_hash_is_the_same_each_time_and_differs_between_clients() {
    for (sticky, with) in [
        (
            json!({ "by": "header", "name": "x-user" }),
            (|request, n| testing::Request::with_header(request, "x-user", format!("u{n}")))
                as fn(testing::Request, u8) -> testing::Request,
        ),
        (json!({ "by": "session", "name": "sid" }), |request, n| {
            request.with_header("cookie", format!("sid=s{n}"))
        }),
        (json!({ "by": "client" }), |request, n| request.with_client(&format!("10.0.0.{n}"))),
        (json!({ "by": "client" }), |request, n| request.with_client(&format!("2001:db8:0:{n:x}::1"))),
    ] {
        let policy = canary(1, 1, json!({ "sticky": sticky }));
        let all: Vec<String> = (0..100).map(|n| sent(&policy, &with(get(), n))).collect();
        let again: Vec<String> = (0..100).map(|n| sent(&policy, &with(get(), n))).collect();
        assert_eq!(all, again, "{sticky}");
        let canaries = all.iter().filter(|to| *to == "canary").count();
        assert!((25..=75).contains(&canaries), "{sticky}: {canaries}");
        let request = with(get(), 1);
        sent(&policy, &request);
        assert_eq!(cookie(&policy, &request), None);
    }
    let policy = canary(1, 1, json!({ "sticky": { "by": "client" } }));
    let of = |address: &str| sent(&policy, &get().with_client(address));
    for n in 1..50 {
        assert_eq!(of(&format!("2001:db8::{n:x}")), of("2001:db8::ffff"), "one network, one client");
    }
}

#[test]
fn testers_choose_for_themselves() {
    let policy = canary(1, 0, json!({ "force": { "header": "x-canary", "cookie": "go" } }));
    let request = get().with_header("x-canary", "canary");
    assert_eq!(sent(&policy, &request), "canary");
    assert_eq!(request.header_count("x-canary"), 0, "it stays here");
    assert_eq!(sent(&policy, &get().with_header("cookie", "go=canary")), "canary");
    for request in [
        get().with_header("x-canary", "other"),
        get().with_header("x-canary", "stable").with_header("x-canary", "canary"),
        get().with_header("cookie", "go="),
    ] {
        assert_eq!(sent(&policy, &request), "stable");
    }
    let response = testing::Response::new(502);
    let request = get().with_header("x-canary", "canary");
    sent(&policy, &request);
    assert_eq!(policy.on_response(&request, &response), Verdict::Next);
    assert_eq!(response.retry(), None, "a tester wants to see it");
}

#[test]
fn what_another_policy_sent_elsewhere_says_nothing_of_the_canary() {
    let policy = canary(0, 1, json!({ "fallback": { "retry": "safe" } }));
    for (elsewhere, goes) in [(false, true), (true, false)] {
        let request = get();
        assert_eq!(sent(&policy, &request), "canary");
        if elsewhere {
            request.route_to("other").expect("a destination");
        }
        let response = testing::Response::new(503);
        assert_eq!(policy.on_response(&request, &response), Verdict::Next);
        assert_eq!(response.retry().is_some(), goes);
    }
}

#[test]
fn a_forced_choice_may_need_a_secret() {
    testing::set_secret("force", SECRET);
    let policy = canary(1, 0, json!({ "force": { "header": "x-canary" } }));
    assert_eq!(sent(&policy, &get().with_header("x-canary", format!("canary:{SECRET}"))), "canary");
    for value in ["canary", "canary:", &format!("canary:{SECRET}x"), &format!("other:{SECRET}"), SECRET] {
        let request = get().with_header("x-canary", value);
        assert_eq!(sent(&policy, &request), "stable", "{value}");
        assert_eq!(request.header_count("x-canary"), 0);
    }
}

#[test]
fn a_canary_that_fails_is_asked_no_further() {
    for (retry, method, goes) in [
        ("safe", "GET", true),
        ("safe", "HEAD", true),
        ("safe", "POST", false),
        ("all", "POST", true),
        ("none", "GET", false),
    ] {
        let policy = canary(0, 1, json!({ "fallback": { "retry": retry }, "sticky": { "by": "cookie" } }));
        let request = testing::Request::new(method, "/");
        assert_eq!(sent(&policy, &request), "canary");
        let response = testing::Response::new(503).with_failure("connect-failed");
        assert_eq!(policy.on_response(&request, &response), Verdict::Next);
        assert_eq!(response.retry().as_deref(), Some("stable").filter(|_| goes), "{retry} {method}");
        if goes {
            assert_eq!(request.attribute("canary-failed").as_deref(), Some("canary"));
            assert_eq!(request.attribute("canary").as_deref(), Some("stable"));
            // The response to that, whatever it is, is the client's.
            let response = testing::Response::new(503);
            assert_eq!(policy.on_response(&request, &response), Verdict::Next);
            assert_eq!((response.retry(), response.header("set-cookie")), (None, None));
        }
    }
}

#[test]
fn other_failures_are_the_clients() {
    let policy = canary(0, 1, json!({ "fallback": { "statuses": [500, "502-503"] } }));
    for (status, goes) in [(500, true), (501, false), (503, true), (504, false), (404, false), (200, false)] {
        let request = get();
        sent(&policy, &request);
        let response = testing::Response::new(status);
        assert_eq!(policy.on_response(&request, &response), Verdict::Next);
        assert_eq!(response.retry().is_some(), goes, "{status}");
    }
    let request = get();
    sent(&policy, &request);
    let response = testing::Response::new(503).without_retry();
    assert_eq!(policy.on_response(&request, &response), Verdict::Next, "the client gets the failure");
    let stable = canary(1, 0, json!({}));
    let request = get();
    sent(&stable, &request);
    let response = testing::Response::new(503);
    assert_eq!(stable.on_response(&request, &response), Verdict::Next);
    assert_eq!(response.retry(), None, "there is nowhere to go");
}

#[test]
fn too_many_failures_leave_it_alone_for_a_while() {
    let policy = canary(
        0,
        1,
        json!({ "fallback": { "failures": 3, "period": 10, "pause": 60 }, "force": { "header": "x-to" } }),
    );
    let fail = || {
        let request = get();
        let to = sent(&policy, &request);
        policy.on_response(&request, &testing::Response::new(503));
        to
    };
    assert_eq!([fail(), fail()], ["canary", "canary"]);
    testing::advance(Duration::from_secs(11));
    assert_eq!([fail(), fail(), fail()], ["canary", "canary", "canary"], "the first two are forgotten");
    assert_eq!(sent(&policy, &get()), "stable");
    assert_eq!(sent(&policy, &get().with_header("x-to", "canary")), "canary", "a tester goes all the same");
    testing::advance(Duration::from_secs(59));
    assert_eq!(sent(&policy, &get()), "stable");
    testing::advance(Duration::from_secs(2));
    assert_eq!(sent(&policy, &get()), "canary");
}

#[test]
fn without_a_store_each_instance_counts_by_itself() {
    let circuit = Circuit::new(2, Duration::from_secs(10), Duration::from_secs(60), 2);
    assert!(!circuit.count_own(1));
    testing::advance(Duration::from_secs(10));
    assert!(!circuit.count_own(1));
    assert!(circuit.count_own(1) && circuit.is_open_here(1));
    assert!(!circuit.count_own(1), "it is open already");
    testing::advance(Duration::from_secs(60));
    assert!(!circuit.is_open_here(1));
}

#[test]
fn a_canary_that_does_not_exist_takes_nothing_down() {
    let policy = canary(0, 1, json!({}));
    let request = get().with_routes(&["stable"]);
    assert_eq!(sent(&policy, &request), "stable");
    assert!(testing::take_log()[0].1.starts_with("destinations[1]: no upstream"));
    let request = get().with_routes(&["canary-2"]);
    assert_eq!(policy.on_request(&request), Verdict::Fail);
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let with = |more: Value| {
        let mut config = json!({ "destinations": [{ "to": "a", "weight": 1 }, { "to": "b", "weight": 1 }] });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    for (config, message) in [
        (json!({}), "missing field `destinations`"),
        (json!({ "destinations": [{ "to": "a", "weight": 1 }] }), "destinations: has 1 entries"),
        (
            with(json!({ "destinations": [{ "to": "a", "weight": 1 }, { "to": "a", "weight": 1 }] })),
            "destinations[1].to: `a` stands",
        ),
        (
            with(json!({ "destinations": [{ "to": "a", "weight": 1 }, { "to": "", "weight": 1 }] })),
            "destinations[1].to: names no",
        ),
        (
            with(json!({ "destinations": [{ "to": "a", "weight": 0 }, { "to": "b", "weight": 0 }] })),
            "destinations: all weights",
        ),
        (
            with(json!({ "destinations": [{ "to": "a", "weight": -1 }, { "to": "b", "weight": 0 }] })),
            "destinations[0].weight: invalid",
        ),
        (
            with(json!({ "destinations": [{ "to": "a", "weight": 9_999_999 }, { "to": "b", "weight": 0 }] })),
            "destinations[0].weight: 9999999",
        ),
        (with(json!({ "sticky": { "by": "ip" } })), "sticky.by: unknown variant"),
        (with(json!({ "sticky": { "by": "header" } })), "sticky.name: is missing"),
        (with(json!({ "sticky": { "by": "client", "name": "a" } })), "sticky.name: an address has none"),
        (with(json!({ "sticky": { "by": "cookie", "name": "a b" } })), "sticky.name: `a b` is no name"),
        (
            with(json!({ "sticky": { "by": "session", "name": "a", "max-age": 1 } })),
            "sticky.max-age: belongs to",
        ),
        (with(json!({ "force": {} })), "force: neither `header` nor `cookie`"),
        (with(json!({ "force": { "header": "host" } })), "force.header: `host` is no name"),
        (with(json!({ "fallback": { "statuses": ["5xx"] } })), "fallback.statuses[0]: `5xx` is not a range"),
        (with(json!({ "fallback": { "period": 0 } })), "fallback.period: is at least"),
        (with(json!({ "fallback": { "retry": "yes" } })), "fallback.retry: unknown variant"),
        (with(json!({ "fallbacks": {} })), "fallbacks: unknown field"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
    testing::set_secret("force", "short");
    assert!(
        refused(with(json!({ "force": { "header": "x" } }))).starts_with("the secret `force` is shorter")
    );
    assert!(refused(with(json!({}))).starts_with("force: there is a secret for it"));
}
