//! How rules are read, and which of them applies, through the double of the host.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::policy::read_config;
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

/// Rules whose action is to be found.
fn build(list: &[Conditions]) -> Result<Rules<()>, Error> {
    Rules::new(list.iter().map(|conditions| Rule { conditions: conditions.clone(), action: () }).collect())
}

fn rules(list: &[Conditions]) -> Rules<()> {
    build(list).expect("valid conditions")
}

fn first(rules: &Rules<()>, request: &Request) -> Option<usize> {
    rules.first(request).map(|(index, ())| index)
}

fn get(path: &str) -> Request {
    Request::new("GET", path)
}

#[test]
fn the_first_rule_in_order_applies() {
    let rules = rules(&[paths(&["/a/b"]), paths(&["/a/**", "/c"]), Conditions::default()]);
    assert_eq!(first(&rules, &get("/a/b")), Some(0));
    assert_eq!(first(&rules, &get("/a/x")), Some(1));
    assert_eq!(first(&rules, &get("/a")), Some(1));
    assert_eq!(first(&rules, &get("/c")), Some(1));
    assert_eq!(first(&rules, &get("/d")), Some(2), "a rule without conditions always applies");
    let request = get("/a/b");
    let all: Vec<usize> = rules.matching(&request).map(|(index, ())| index).collect();
    assert_eq!(all, [0, 1, 2]);
}

/// Host and path lead to rules without a look at the others; which apply is what a look at each would say.
#[test]
fn what_applies_does_not_depend_on_how_it_is_found() {
    let conditions = |hosts: &[&str], paths: &[&str]| Conditions {
        hosts: texts(hosts),
        paths: texts(paths),
        ..Default::default()
    };
    let hosts: [&[&str]; 5] =
        [&[], &["a.example"], &["*.example"], &["a.example", "*.example", "a.example"], &["b.a.example"]];
    let paths: [&[&str]; 4] = [&[], &["/a/**"], &["/b", "/a/x"], &["/**"]];
    let list: Vec<_> = (0..40_usize).map(|n| conditions(hosts[n * 7 % 5], paths[n * 11 % 4])).collect();
    let all = rules(&list);
    for host in ["a.example", "b.a.example", "example", "other", "A.EXAMPLE:80"] {
        for path in ["/", "/a/x", "/b", "/a"] {
            let request = get(path).with_host(host);
            let found: Vec<usize> = all.matching(&request).map(|(index, ())| index).collect();
            let alone =
                |conditions: &Conditions| first(&rules(std::slice::from_ref(conditions)), &request).is_some();
            let each: Vec<usize> = (0..list.len()).filter(|index| alone(&list[*index])).collect();
            assert_eq!(found, each, "{host} {path}");
        }
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let posts = Conditions { methods: texts(&["POST", "PUT"]), ..paths(&["/api/**"]) };
    let bots = Conditions { user_agents: texts(&["bot"]), ..paths(&["/api/**"]) };
    let rules = rules(&[posts, bots, paths(&["/other"]), paths(&["/api/**"])]);
    assert_eq!(first(&rules, &Request::new("POST", "/api/x")), Some(0));
    assert_eq!(first(&rules, &get("/api/x").with_header("user-agent", "GoodBot/1.0")), Some(1));
    assert_eq!(first(&rules, &get("/api/x")), Some(3), "rules past the first path that fits are asked too");
    assert_eq!(first(&rules, &Request::new("POST", "/x")), None);
    assert_eq!(first(&rules, &Request::new("post", "/api/x")), Some(3), "methods regard case");
}

#[test]
fn hosts_are_exact_or_below_and_regard_neither_case_nor_port() {
    let rules = rules(&[hosts(&["Example.org"]), hosts(&["*.example.org"]), hosts(&["[2001:DB8::1]"])]);
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
        assert_eq!(first(&rules, &get("/").with_host(host)), rule, "{host}");
    }
}

#[test]
fn a_header_matches_as_a_whole_or_by_being_there() {
    let rules = rules(&[header("accept", "text/*"), header("x-tier", "gold"), header("x-beta", "*")]);
    assert_eq!(first(&rules, &get("/").with_header("accept", "text/html, image/png")), Some(0));
    assert_eq!(first(&rules, &get("/").with_header("accept", "image/png, text/html")), None);
    assert_eq!(first(&rules, &get("/").with_header("accept", "text")), None);
    let twice = get("/").with_header("X-Tier", "silver").with_header("X-Tier", "gold");
    assert_eq!(first(&rules, &twice), Some(1), "any value counts");
    assert_eq!(first(&rules, &get("/").with_header("x-tier", "golden")), None);
    assert_eq!(first(&rules, &get("/").with_header("x-beta", "")), Some(2));
}

#[test]
fn a_user_agent_contains_a_part_in_any_case() {
    let rules = rules(&[user_agents(&["EvilBot", "curl/"])]);
    let agent = |text: &str| get("/").with_header("user-agent", text);
    assert_eq!(first(&rules, &agent("Mozilla/5.0 (compatible; evilbot)")), Some(0));
    assert_eq!(first(&rules, &agent("Mozilla/5.0")), None);
    assert_eq!(first(&rules, &get("/")), None);
}

fn named(name: &str, pattern: &str) -> BTreeMap<String, String> {
    [(name.to_owned(), pattern.to_owned())].into()
}

#[test]
fn a_parameter_of_the_query_matches_by_any_value_and_decoded() {
    let query = |name, pattern| Conditions { query: named(name, pattern), ..Default::default() };
    let rules = rules(&[query("version", "2*"), query("debug", "*")]);
    for (target, rule) in [
        ("/?version=2.1", Some(0)),
        ("/?version=1&version=2", Some(0)),
        ("/?%76ersion=%32", Some(0)),
        ("/?version=1", None),
        ("/?debug", Some(1)),
        ("/?Debug=1", None),
        ("/", None),
    ] {
        assert_eq!(first(&rules, &get(target)), rule, "{target}");
    }
}

#[test]
fn cookies_scheme_and_client_are_conditions_too() {
    let beta = Conditions { cookies: named("beta", "1"), ..Default::default() };
    let inside = Conditions { clients: texts(&["10.0.0.0/8", "::1"]), ..Default::default() };
    let plain = Conditions { schemes: texts(&["http"]), ..Default::default() };
    let any = Conditions { schemes: texts(&["http", "https"]), ..Default::default() };
    let rules = rules(&[beta, inside, plain, any]);
    assert_eq!(first(&rules, &get("/").with_header("cookie", "a=b; beta=1")), Some(0));
    assert_eq!(first(&rules, &get("/").with_header("cookie", "beta=11").with_client("10.1.2.3")), Some(1));
    assert_eq!(first(&rules, &get("/").with_client("192.0.2.1")), Some(2));
    let tls = get("/").with_client("192.0.2.1").with_tls(Some("a.test"));
    assert_eq!(first(&rules, &tls), Some(3));
}

#[test]
fn a_mistake_names_its_key() {
    let method = Conditions { methods: texts(&["GET", "P UT"]), ..Default::default() };
    for (rules, message) in [
        (vec![hosts(&["example.org", "*"])], "rules[0].hosts[1]: `*` is neither"),
        (vec![hosts(&["a:80"])], "rules[0].hosts[0]: `a:80`: a host stands without port"),
        (vec![hosts(&["[::1]:80"])], "rules[0].hosts[0]: `[::1]:80`: a host stands without port"),
        (vec![paths(&["/a"]), paths(&["/b", "c"])], "rules[1].paths[1]: `c` matches nothing"),
        (vec![Conditions::default(), method], "rules[1].methods[1]: `P UT` is not a method"),
        (vec![header("a b", "*")], "rules[0].headers.a b: `a b` is not a field name"),
        (
            vec![Conditions { cookies: named("a;b", "*"), ..Default::default() }],
            "rules[0].cookies.a;b: `a;b` is not a cookie name",
        ),
        (
            vec![Conditions { schemes: texts(&["https", "ftp"]), ..Default::default() }],
            "rules[0].schemes[1]: `ftp` is neither `http` nor `https`",
        ),
        (
            vec![Conditions { clients: texts(&["10.0.0.0/8", "x"]), ..Default::default() }],
            "rules[0].clients[1]: ",
        ),
    ] {
        let error = build(&rules).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

/// Where a request goes.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Route {
    /// A name.
    to: String,
    /// A weight.
    #[serde(default, rename = "per-cent", alias = "percent")]
    per_cent: u8,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config<Action> {
    rules: Vec<Rule<Action>>,
}

fn read<Action: for<'de> Deserialize<'de>>(rules: Value) -> Result<Vec<Rule<Action>>, String> {
    let config = read_config::<Config<Action>>(&json!({ "rules": rules }).to_string());
    config.map(|config| config.rules).map_err(|error| error.to_string())
}

#[test]
fn conditions_and_action_share_a_table_in_any_order() {
    let rule = json!({
        "percent": 7, "paths": ["/a"], "hosts": ["b"], "to": "c", "methods": ["D"],
        "user-agents": ["e"], "headers": { "f": "g" }, "schemes": ["https"], "query": { "i": "j" },
        "cookies": { "k": "l" }, "clients": ["::1"],
    });
    let rules = read::<Route>(json!([rule, { "to": "h" }])).expect("valid");
    let conditions = Conditions {
        hosts: texts(&["b"]),
        paths: texts(&["/a"]),
        methods: texts(&["D"]),
        headers: named("f", "g"),
        user_agents: texts(&["e"]),
        schemes: texts(&["https"]),
        query: named("i", "j"),
        cookies: named("k", "l"),
        clients: texts(&["::1"]),
    };
    assert_eq!(rules[0].conditions, conditions);
    assert_eq!(rules[0].action, Route { to: "c".to_owned(), per_cent: 7 });
    assert_eq!(rules[1].conditions, Conditions::default());
    assert_eq!(rules[1].action, Route { to: "h".to_owned(), per_cent: 0 });
}

#[test]
fn what_does_not_fit_is_refused_at_its_key() {
    let valid = json!({ "to": "a" });
    let all = "`hosts`, `paths`, `methods`, `headers`, `user-agents`, `schemes`, `query`, `cookies`, \
               `clients`, `to`, `per-cent`, `percent`";
    for (rule, message) in [
        (json!({}), "rules[1]: missing field `to`".to_owned()),
        (
            json!({ "to": "a", "frob": 1 }),
            format!("rules[1].frob: unknown field `frob`, expected one of {all}"),
        ),
        (json!({ "to": 7 }), "rules[1].to: invalid type: integer `7`, expected a string".to_owned()),
        (
            json!({ "to": "a", "paths": ["/a", 7] }),
            "rules[1].paths[1]: invalid type: integer `7`, expected a string".to_owned(),
        ),
        (
            json!({ "to": "a", "headers": { "x": [] } }),
            "rules[1].headers.x: invalid type: sequence, expected a string".to_owned(),
        ),
        (
            json!({ "hosts": "a", "to": "a" }),
            "rules[1].hosts: invalid type: string \"a\", expected a sequence".to_owned(),
        ),
        (json!("a"), "rules[1]: invalid type: string \"a\", expected struct Rule".to_owned()),
    ] {
        assert_eq!(read::<Route>(json!([valid, rule])).unwrap_err(), message);
    }
}

#[test]
fn an_action_may_be_one_of_several() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "do", deny_unknown_fields, rename_all = "kebab-case")]
    enum Action {
        Send { to: String },
        Refuse,
    }

    let rules = json!([{ "do": "send", "paths": ["/a"], "to": "b" }, { "do": "refuse" }]);
    let rules = read::<Action>(rules).expect("valid");
    assert_eq!(rules[0].conditions, paths(&["/a"]));
    assert_eq!(rules[0].action, Action::Send { to: "b".to_owned() });
    assert_eq!(rules[1].action, Action::Refuse);
    let error = read::<Action>(json!([{ "do": "send", "to": "b", "frob": 1 }])).unwrap_err();
    assert_eq!(error, "rules[0]: unknown field `frob`, expected `to`");
}

#[test]
fn an_action_is_prepared_and_refused_at_its_rule() {
    let written =
        || read::<Route>(json!([{ "to": "a" }, { "to": "" }, { "to": "b", "paths": ["c"] }])).unwrap();
    let rules = Rules::build("rules", written().drain(..1).collect(), |route| Ok(route.to)).unwrap();
    assert_eq!(rules[0], "a");
    let refuse = |route: Route| if route.to.is_empty() { Err(Error::at("to", "empty")) } else { Ok(route) };
    assert_eq!(Rules::build("list", written(), refuse).unwrap_err().to_string(), "list[1].to: empty");
    let error = Rules::build("list", written(), Ok).unwrap_err().to_string();
    assert!(error.starts_with("list[2].paths[0]: `c`"), "{error}");
}

#[test]
fn the_schema_describes_conditions_and_action() {
    let schema = schemars::schema_for!(Config<Route>).to_value();
    assert_eq!(schema["properties"]["rules"]["items"]["$ref"], "#/$defs/RouteRule");
    let rule = &schema["$defs"]["RouteRule"];
    let description = "All conditions must hold; one that is left out always holds. Where a request goes.";
    assert_eq!(rule["description"], description);
    assert_eq!((&rule["required"], &rule["additionalProperties"]), (&json!(["to"]), &json!(false)));
    let properties = rule["properties"].as_object().expect("a table");
    let keys: Vec<&str> = properties.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "hosts",
            "paths",
            "methods",
            "headers",
            "user-agents",
            "schemes",
            "query",
            "cookies",
            "clients",
            "to",
            "per-cent"
        ]
    );
    for (key, property) in properties {
        assert!(property["description"].is_string(), "{key} has no comment");
    }
}

#[test]
fn what_would_hold_for_everything_or_for_nothing_is_refused() {
    for (rule, reason) in [
        (json!({ "to": "a", "paths": [] }), "`paths` is empty"),
        (json!({ "to": "a", "hosts": [] }), "`hosts` is empty"),
        (json!({ "to": "a", "user-agents": [""] }), "has an empty text"),
        (json!({ "to": "a", "headers": {} }), "`headers` is empty"),
        (json!({ "to": "a", "methods": ["get"] }), "did you mean `GET`?"),
        (json!({ "to": "a", "paths": ["/a/*/../b"] }), "`..` after a wildcard"),
        (json!({ "to": "a", "paths": ["/a?x=1"] }), "without the query"),
    ] {
        let error = match read::<Route>(json!([rule.clone()])) {
            Err(error) => error.to_string(),
            Ok(rules) => Rules::build("rules", rules, Ok).expect_err("it is refused").to_string(),
        };
        assert!(error.contains(reason) && error.contains("rules[0]"), "{rule}: {error}");
    }
}
