//! `wit/vectors/`, which the host runs as well: the double does what it does.

#[path = "../../../wit/vectors/form.rs"]
mod form;

use self::form::{
    AddressSet, Addresses, HostPattern, Hosts, PatternList, Patterns, RefusedList, RefusedSet, Values,
};
use super::matching::PatternKind;
use super::{activation, matching, path};
use crate::Message;
use crate::http::{EditError, host_of, is_owned_by_proxy, is_token};
use crate::rules::{Conditions, Rule, Rules};
use crate::testing::{Request, Response};

#[test]
fn every_spelling_of_a_path_has_one_form() {
    for (written, normal) in form::paths() {
        assert_eq!(path::normalize(&written), normal, "{written}");
        assert_eq!(path::normalize(&normal), normal, "a second pass changes nothing");
    }
    for (glob, spelled) in form::globs() {
        assert_eq!(path::spell_glob(&glob), spelled, "{glob}");
    }
}

#[test]
fn hosts_are_read_alike() {
    let Hosts { hosts, patterns, refused } = form::hosts();
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
    let Patterns { lists, refused } = form::patterns();
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

#[test]
fn addresses_are_found_alike() {
    let Addresses { sets, refused } = form::addresses();
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
    for (function, entries) in form::activation() {
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
    for (what, texts) in form::edits() {
        for (text, expected) in texts {
            let request = Request::new("GET", "/");
            let edited = match what.as_str() {
                "field-name" => {
                    assert_eq!(is_token(&text), expected != "invalid", "{text:?}");
                    assert_eq!(is_owned_by_proxy(&text), expected == "forbidden", "{text:?}");
                    let replied = request.0.respond_bytes(200, &[(text.clone(), b"1".to_vec())], b"");
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
                    let replied = request.0.respond_bytes(status, &[], b"");
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
    for (values, undone) in form::codings() {
        let with_values = |request: Request| {
            values.iter().fold(request, |request, value| request.with_header("content-encoding", value))
        };
        let request = with_values(Request::new("POST", "/"));
        assert_eq!(request.decode_body(), undone.is_some(), "{values:?}");
        assert_eq!(request.decodes_body(), undone.is_some_and(|count| count > 0), "{values:?}");
    }
}

#[test]
fn parameters_and_cookies_are_found_alike() {
    let Values { query: queries, cookie: cookies } = form::values();
    for (written, expected) in queries {
        let request = Request::new("GET", &format!("/?{written}"));
        for (name, values) in expected {
            assert_eq!(request.query_param(&name), values.first().cloned(), "{name} in {written}");
            assert_eq!(request.query_params(&name), values, "{name} in {written}");
        }
    }
    for (fields, expected) in cookies {
        let request = fields
            .iter()
            .fold(Request::new("GET", "/"), |request, value| request.with_header("cookie", value));
        for (name, value) in expected {
            assert_eq!(request.cookie(&name), value, "{name} in {fields:?}");
        }
    }
}
