//! `wit/vectors/` against the host. The double in `plugin-sdk` runs the same, so a policy meets in its tests what it
//! meets here.

#[path = "../../../wit/vectors/form.rs"]
mod form;

use http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use tidegate_message::{Coding, authority, cookie, path, query};

use self::form::{
    AddressSet, Addresses, HostPattern, Hosts, PatternList, Patterns, RefusedList, RefusedSet, Values,
};
use crate::activation::{Activation, Match, Narrowing};
use crate::bodies::Side;
use crate::edit::{Editor, Journal};
use crate::exchange::tests::exchange;
use crate::matching::{IpSet, Kind, Patterns as Matcher};
use crate::observe::{Change, Refused};
use crate::phase::Phase;
use crate::refusal::EditError;

#[test]
fn every_spelling_of_a_path_has_one_form() {
    for (written, normal) in form::paths() {
        assert_eq!(path::normalize(&written).as_ref().unwrap_or(&written), &normal, "{written}");
        assert_eq!(
            path::normalize(&normal).as_ref().unwrap_or(&normal),
            &normal,
            "a second pass changes nothing"
        );
    }
    for (glob, spelled) in form::globs() {
        assert_eq!(path::spell_glob(&glob).ok(), spelled, "{glob}");
    }
}

#[test]
fn hosts_are_read_alike() {
    let Hosts { hosts, patterns, refused } = form::hosts();
    let only =
        |pattern: &str| Activation::new(&Match { hosts: vec![pattern.to_owned()], ..Match::default() });
    for (authority, host) in hosts {
        assert_eq!(authority::host(&authority), host, "{authority}");
    }
    for HostPattern { pattern, matches, others } in patterns {
        let activation = only(&pattern).expect("a host");
        for (authorities, expected) in [(matches, true), (others, false)] {
            for authority in authorities {
                let applies = activation.applies(&exchange("GET", &authority, "/"));
                assert_eq!(applies, expected, "{pattern} {authority}");
            }
        }
    }
    for pattern in refused {
        assert!(only(&pattern).is_err(), "{pattern}");
    }
}

fn kind(name: &str) -> Kind {
    match name {
        "exact" => Kind::Exact,
        "prefix" => Kind::Prefix,
        "suffix" => Kind::Suffix,
        "contains" => Kind::Contains,
        "glob" => Kind::Glob,
        "regex" => Kind::Regex,
        other => panic!("{other} is no kind of pattern"),
    }
}

#[test]
fn patterns_match_alike() {
    let Patterns { lists, refused } = form::patterns();
    for PatternList { kind: name, ignore_case, patterns, texts } in lists {
        let matcher = Matcher::new(kind(&name), &patterns, ignore_case).expect("valid patterns");
        for (text, index) in texts {
            assert_eq!(matcher.first(&text), index, "{name} {patterns:?} {text:?}");
        }
    }
    for RefusedList { kind: name, patterns, entry } in refused {
        let error = Matcher::new(kind(&name), &patterns, false).expect_err("invalid");
        assert!(error.starts_with(&format!("[{entry}]: ")), "{error}");
    }
}

#[test]
fn addresses_are_found_alike() {
    let Addresses { sets, refused } = form::addresses();
    for AddressSet { entries, inside, outside } in sets {
        let set = IpSet::new(&entries).expect("addresses and blocks");
        for (addresses, expected) in [(inside, true), (outside, false)] {
            for address in addresses {
                let has = set.has(address.parse().expect("an address"));
                assert_eq!(has, expected, "{entries:?} {address}");
            }
        }
    }
    for RefusedSet { entries, error } in refused {
        assert_eq!(IpSet::new(&entries).expect_err("invalid"), error);
    }
}

#[test]
fn activation_refuses_alike() {
    for (function, entries) in form::activation() {
        let only = match function.as_str() {
            "only-paths" => Narrowing::only_paths,
            "only-hosts" => Narrowing::only_hosts,
            "only-methods" => Narrowing::only_methods,
            "only-with-headers" => Narrowing::only_with_headers,
            other => panic!("{other} is no such function"),
        };
        for (entry, error) in entries {
            assert_eq!(only(&mut Narrowing::default(), &[entry]).err(), error, "{function}");
        }
    }
}

#[test]
fn edits_are_judged_alike() {
    for (what, texts) in form::edits() {
        for (text, expected) in texts {
            let mut editor = Editor {
                exchange: &mut exchange("GET", "a", "/"),
                journal: &mut Journal::default(),
                phase: Phase::Request,
                plugin: 1,
                routes: None,
            };
            let mut apply = |change: Result<Change<'_>, Refused>| {
                change.map_err(|refused| refused.error)?.apply(&mut editor).map(|_| ())
            };
            let edited = match what.as_str() {
                "field-name" => apply(Change::set_header(Side::Request, &text, b"1".to_vec())),
                "field-value" => apply(Change::set_header(Side::Request, "x", text.clone().into_bytes())),
                "target" => apply(Change::set_target(text.clone())),
                "method" => editor.set_method(&text),
                "authority" => editor.set_authority(text.clone()),
                "attribute" => editor.set_attribute(text.clone(), "1".to_owned()),
                "status" => {
                    let status = text.parse().expect("a number");
                    editor.respond(Side::Request, status, Vec::new(), Vec::new())
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
        let fields =
            values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_str(value).expect("valid")));
        let headers: HeaderMap = fields.collect();
        assert_eq!(Coding::of(&headers).map(|codings| codings.len()), undone, "{values:?}");
    }
}

#[test]
fn parameters_and_cookies_are_found_alike() {
    let Values { query: queries, cookie: cookies } = form::values();
    for (written, expected) in queries {
        for (name, values) in expected {
            let found: Vec<_> = query::params(Some(&written), &name).collect();
            assert_eq!(found, values, "{name} in {written}");
        }
    }
    for (fields, expected) in cookies {
        for (name, value) in expected {
            let found = cookie::find(fields.iter().map(String::as_bytes), &name);
            assert_eq!(found, value.as_deref(), "{name} in {fields:?}");
        }
    }
}
