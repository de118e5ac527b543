//! `wit/vectors/`, which the host runs as well: the double does what it does.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::matching::PatternKind;
use super::{activation, matching, path};
use crate::Message;
use crate::http::{EditError, host_of, is_owned_by_proxy, is_token};
use crate::rules::{Conditions, Rule, Rules};
use crate::testing::{Request, Response};

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> T {
    serde_json::from_str(json).expect("the form this test knows")
}

#[test]
fn every_spelling_of_a_path_has_one_form() {
    let paths: Vec<(String, String)> = read(include_str!("../../../wit/vectors/paths.json"));
    for (written, normal) in paths {
        assert_eq!(path::normalize(&written), normal, "{written}");
        assert_eq!(path::normalize(&normal), normal, "a second pass changes nothing");
    }
}

#[derive(Deserialize)]
struct Hosts {
    hosts: Vec<(String, String)>,
    patterns: Vec<HostPattern>,
    refused: Vec<String>,
}

#[derive(Deserialize)]
struct HostPattern {
    pattern: String,
    matches: Vec<String>,
    others: Vec<String>,
}

#[test]
fn hosts_are_read_alike() {
    let Hosts { hosts, patterns, refused } = read(include_str!("../../../wit/vectors/hosts.json"));
    let rules = |pattern: &str| {
        let conditions = Conditions { hosts: vec![pattern.to_owned()], ..Default::default() };
        Rules::new(vec![Rule { conditions, action: () }])
    };
    for (authority, host) in hosts {
        assert_eq!(host_of(&authority), host, "{authority}");
    }
    for HostPattern { pattern, matches, others } in patterns {
        assert_eq!(activation::only_hosts(std::slice::from_ref(&pattern)), Ok(()), "{pattern}");
        let rules = rules(&pattern).expect("a host");
        for (authorities, expected) in [(matches, true), (others, false)] {
            for authority in authorities {
                let request = Request::new("GET", "/").with_host(&authority);
                assert_eq!(rules.first(&request).is_some(), expected, "{pattern} {authority}");
            }
        }
    }
    for pattern in refused {
        assert!(activation::only_hosts(std::slice::from_ref(&pattern)).is_err(), "{pattern}");
        assert!(rules(&pattern).is_err(), "{pattern}");
    }
}

#[derive(Deserialize)]
struct Patterns {
    lists: Vec<PatternList>,
    refused: Vec<RefusedList>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PatternList {
    kind: String,
    #[serde(default)]
    ignore_case: bool,
    patterns: Vec<String>,
    texts: BTreeMap<String, Option<u32>>,
}

#[derive(Deserialize)]
struct RefusedList {
    kind: String,
    patterns: Vec<String>,
    entry: usize,
}

fn kind(name: &str) -> PatternKind {
    match name {
        "exact" => PatternKind::Exact,
        "prefix" => PatternKind::Prefix,
        "suffix" => PatternKind::Suffix,
        "contains" => PatternKind::Contains,
        "glob" => PatternKind::Glob,
        "regex" => PatternKind::Regex,
        other => panic!("{other} is no kind of pattern"),
    }
}

#[test]
fn patterns_match_alike() {
    let Patterns { lists, refused } = read(include_str!("../../../wit/vectors/patterns.json"));
    for PatternList { kind: name, ignore_case, patterns, texts } in lists {
        let matcher = matching::patterns(kind(&name), &patterns, ignore_case).expect("valid patterns");
        for (text, index) in texts {
            assert_eq!(matching::match_text(matcher, &text), index, "{name} {patterns:?} {text:?}");
        }
    }
    for RefusedList { kind: name, patterns, entry } in refused {
        let error = matching::patterns(kind(&name), &patterns, false).expect_err("invalid");
        assert!(error.starts_with(&format!("[{entry}]: ")), "{error}");
    }
}

#[derive(Deserialize)]
struct Addresses {
    sets: Vec<AddressSet>,
    refused: Vec<RefusedSet>,
}

#[derive(Deserialize)]
struct AddressSet {
    entries: Vec<String>,
    inside: Vec<String>,
    outside: Vec<String>,
}

#[derive(Deserialize)]
struct RefusedSet {
    entries: Vec<String>,
    error: String,
}

#[test]
fn addresses_are_found_alike() {
    let Addresses { sets, refused } = read(include_str!("../../../wit/vectors/addresses.json"));
    for AddressSet { entries, inside, outside } in sets {
        let set = matching::ip_set(&entries).expect("addresses and blocks");
        for (addresses, expected) in [(inside, true), (outside, false)] {
            for address in addresses {
                let request = Request::new("GET", "/").with_client(&address);
                let has = matching::ip_set_has_client(set, &request.0);
                assert_eq!(has, expected, "{entries:?} {address}");
            }
        }
    }
    for RefusedSet { entries, error } in refused {
        assert_eq!(matching::ip_set(&entries), Err(error));
    }
}

#[test]
fn activation_refuses_alike() {
    let lists: BTreeMap<String, Vec<(String, Option<String>)>> =
        read(include_str!("../../../wit/vectors/activation.json"));
    for (function, entries) in lists {
        let only = match function.as_str() {
            "only-paths" => activation::only_paths,
            "only-hosts" => activation::only_hosts,
            "only-methods" => activation::only_methods,
            "only-with-headers" => activation::only_with_headers,
            other => panic!("{other} is no such function"),
        };
        for (entry, error) in entries {
            assert_eq!(only(&[entry]).err(), error, "{function}");
        }
    }
}

#[test]
fn edits_are_judged_alike() {
    let edits: BTreeMap<String, Vec<(String, String)>> =
        read(include_str!("../../../wit/vectors/edits.json"));
    for (what, texts) in edits {
        for (text, expected) in texts {
            let request = Request::new("GET", "/");
            let edited = match what.as_str() {
                "field-name" => {
                    assert_eq!(is_token(&text), expected != "invalid", "{text:?}");
                    assert_eq!(is_owned_by_proxy(&text), expected == "forbidden", "{text:?}");
                    let replied = request.0.respond(200, &[(text.clone(), b"1".to_vec())], b"");
                    let edited = request.set_header(&text, "1");
                    assert_eq!(replied.map_err(EditError::from), edited, "{text:?}");
                    assert_eq!(request.append_header(&text, "1"), edited, "{text:?}");
                    assert_eq!(request.remove_header(&text).map(drop), edited, "{text:?}");
                    edited
                }
                "field-value" => request.set_header("x", &text),
                "method" => request.set_method(&text),
                "authority" => request.set_authority(&text),
                "target" => request.set_target(&text),
                "attribute" => request.set_attribute(&text, "1"),
                "status" => {
                    let status = text.parse().expect("a number");
                    let edited = Response::new(200).set_status(status);
                    let replied = request.0.respond(status, &[], b"");
                    assert_eq!(replied.map_err(EditError::from), edited, "{text}");
                    edited
                }
                other => panic!("{other} is nothing to set"),
            };
            let outcome = match edited {
                Ok(()) => "accepted",
                Err(EditError::Invalid) => "invalid",
                Err(EditError::Forbidden) => "forbidden",
                Err(EditError::TooLarge) => "too-large",
            };
            assert_eq!(outcome, expected, "{what} {text:?}");
        }
    }
}

#[test]
fn codings_are_known_alike() {
    let codings: Vec<(Vec<String>, Option<usize>)> = read(include_str!("../../../wit/vectors/codings.json"));
    for (values, undone) in codings {
        let with_values = |request: Request| {
            values.iter().fold(request, |request, value| request.with_header("content-encoding", value))
        };
        let request = with_values(Request::new("POST", "/"));
        assert_eq!(request.decode_body(), undone.is_some(), "{values:?}");
        assert_eq!(request.decodes_body(), undone.is_some_and(|count| count > 0), "{values:?}");
    }
}
