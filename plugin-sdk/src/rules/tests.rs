//! Which rule applies, through the double of the host.

use super::*;
use crate::testing::Request;

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

fn paths(globs: &[&str]) -> Conditions {
    Conditions { paths: texts(globs), ..Default::default() }
}

fn hosts(hosts: &[&str]) -> Conditions {
    Conditions { hosts: texts(hosts), ..Default::default() }
}

fn header(name: &str, pattern: &str) -> Conditions {
    Conditions { headers: [(name.to_owned(), pattern.to_owned())].into(), ..Default::default() }
}

fn user_agents(parts: &[&str]) -> Conditions {
    Conditions { user_agents: texts(parts), ..Default::default() }
}

fn get(path: &str) -> Request {
    Request::new("GET", path)
}

#[test]
fn the_first_rule_in_order_applies() {
    let rules = Rules::new(&[paths(&["/a/b"]), paths(&["/a/**", "/c"]), Conditions::default()]).unwrap();
    assert_eq!(rules.first(&get("/a/b")), Some(0));
    assert_eq!(rules.first(&get("/a/x")), Some(1));
    assert_eq!(rules.first(&get("/a")), Some(1));
    assert_eq!(rules.first(&get("/c")), Some(1));
    assert_eq!(rules.first(&get("/d")), Some(2), "a rule without conditions always applies");
    assert_eq!(rules.matching(&get("/a/b")).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let posts = Conditions { methods: texts(&["POST", "PUT"]), ..paths(&["/api/**"]) };
    let bots = Conditions { user_agents: texts(&["bot"]), ..paths(&["/api/**"]) };
    let rules = Rules::new(&[posts, bots, paths(&["/other"]), paths(&["/api/**"])]).unwrap();
    assert_eq!(rules.first(&Request::new("POST", "/api/x")), Some(0));
    assert_eq!(rules.first(&get("/api/x").with_header("user-agent", "GoodBot/1.0")), Some(1));
    assert_eq!(rules.first(&get("/api/x")), Some(3), "rules past the first path that fits are asked too");
    assert_eq!(rules.first(&Request::new("POST", "/x")), None);
    assert_eq!(rules.first(&Request::new("post", "/api/x")), Some(3), "methods regard case");
}

#[test]
fn hosts_are_exact_or_below_and_regard_neither_case_nor_port() {
    let rules =
        Rules::new(&[hosts(&["Example.org"]), hosts(&["*.example.org"]), hosts(&["[2001:DB8::1]"])]).unwrap();
    for (host, rule) in [
        ("example.org", Some(0)),
        ("EXAMPLE.org:8443", Some(0)),
        ("example.org.", Some(0)),
        ("www.example.org", Some(1)),
        ("a.b.example.org:80", Some(1)),
        ("badexample.org", None),
        (".example.org", None),
        ("example.org.evil.net", None),
        ("[2001:db8::1]:443", Some(2)),
    ] {
        assert_eq!(rules.first(&get("/").with_host(host)), rule, "{host}");
    }
}

#[test]
fn a_header_matches_as_a_whole_or_by_being_there() {
    let rules =
        Rules::new(&[header("accept", "text/*"), header("x-tier", "gold"), header("x-beta", "*")]).unwrap();
    assert_eq!(rules.first(&get("/").with_header("accept", "text/html, image/png")), Some(0));
    assert_eq!(rules.first(&get("/").with_header("accept", "image/png, text/html")), None);
    assert_eq!(rules.first(&get("/").with_header("accept", "text")), None);
    let twice = get("/").with_header("X-Tier", "silver").with_header("X-Tier", "gold");
    assert_eq!(rules.first(&twice), Some(1), "any value counts");
    assert_eq!(rules.first(&get("/").with_header("x-tier", "golden")), None);
    assert_eq!(rules.first(&get("/").with_header("x-beta", "")), Some(2));
}

#[test]
fn a_user_agent_contains_a_part_in_any_case() {
    let rules = Rules::new(&[user_agents(&["EvilBot", "curl/"])]).unwrap();
    assert_eq!(
        rules.first(&get("/").with_header("user-agent", "Mozilla/5.0 (compatible; evilbot)")),
        Some(0)
    );
    assert_eq!(rules.first(&get("/").with_header("user-agent", "Mozilla/5.0")), None);
    assert_eq!(rules.first(&get("/")), None);
}

#[test]
fn a_mistake_names_its_key() {
    let method = Conditions { methods: texts(&["GET", "P UT"]), ..Default::default() };
    for (rules, message) in [
        (vec![hosts(&["example.org", "*"])], "rules[0].hosts[1]: `*` is neither"),
        (vec![hosts(&["a:80"])], "rules[0].hosts[0]: `a:80`: a host stands without port"),
        (vec![Conditions::default(), method], "rules[1].methods[1]: `P UT` is not a method"),
        (vec![header("a b", "*")], "rules[0].headers.a b: `a b` is not a field name"),
    ] {
        let error = Rules::new(&rules).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_header_pattern_holds_no_regex() {
    assert_eq!(value_regex("a.b*c?(d)"), r"(?s)^a\.b.*c.\(d\)$");
}
