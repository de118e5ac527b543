//! Matchers, made with the crates the proxy uses.

use std::cell::RefCell;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

pub(crate) use crate::bindings::imports::tidegate::policy::matching::{Matcher, PatternKind};
use crate::double::body::Body;
use crate::double::http::{IpAddress, Request, Response};

/// Numbers are positions. A matcher belongs to the thread that made it, as a test does.
enum Built {
    Ips(Vec<IpNet>),
    Patterns(Vec<Regex>),
}

thread_local! {
    static MATCHERS: RefCell<Vec<Built>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn ip_set(entries: &[String]) -> Result<Matcher, String> {
    let parse = |(index, entry): (usize, &String)| match (entry.parse::<IpNet>(), entry.parse::<IpAddr>()) {
        (Ok(net), _) => Ok(net),
        (_, Ok(address)) => Ok(address.to_canonical().into()),
        _ => Err(format!("[{index}]: `{entry}` is neither an address nor a CIDR block")),
    };
    Ok(add(Built::Ips(entries.iter().enumerate().map(parse).collect::<Result<_, _>>()?)))
}

pub(crate) fn ip_set_has(set: Matcher, ip: IpAddress) -> bool {
    has(set, ip.into())
}

pub(crate) fn ip_set_has_client(set: Matcher, request: &Request) -> bool {
    has(set, request.client())
}

pub(crate) fn patterns(kind: PatternKind, patterns: &[String], ignore_case: bool) -> Result<Matcher, String> {
    let build = |(index, pattern): (usize, &String)| {
        RegexBuilder::new(&to_regex(kind, pattern))
            .case_insensitive(ignore_case)
            .build()
            .map_err(|error| format!("[{index}]: {error}"))
    };
    Ok(add(Built::Patterns(patterns.iter().enumerate().map(build).collect::<Result<_, _>>()?)))
}

pub(crate) fn match_text(patterns: Matcher, text: &str) -> Option<u32> {
    first_match(patterns, |pattern| pattern.is_match(text))
}

pub(crate) fn match_path(patterns: Matcher, request: &Request) -> Option<u32> {
    match_text(patterns, &request.normalized_path())
}

pub(crate) fn match_header(patterns: Matcher, request: &Request, name: &str) -> Option<u32> {
    match_values(patterns, &request.header_values(name))
}

pub(crate) fn match_response_header(patterns: Matcher, response: &Response, name: &str) -> Option<u32> {
    match_values(patterns, &response.header_values(name))
}

pub(crate) fn match_body(patterns: Matcher, body: &Body) -> Option<u32> {
    match_text(patterns, &String::from_utf8_lossy(&body.0.borrow().bytes))
}

fn match_values(patterns: Matcher, values: &[Vec<u8>]) -> Option<u32> {
    first_match(patterns, |pattern| {
        values.iter().any(|value| pattern.is_match(&String::from_utf8_lossy(value)))
    })
}

fn add(matcher: Built) -> Matcher {
    MATCHERS.with_borrow_mut(|matchers| {
        matchers.push(matcher);
        u32::try_from(matchers.len() - 1).expect("a test makes a handful")
    })
}

fn has(set: Matcher, address: IpAddr) -> bool {
    MATCHERS.with_borrow(|matchers| match matchers.get(set as usize) {
        Some(Built::Ips(nets)) => nets.iter().any(|net| net.contains(&address.to_canonical())),
        _ => panic!("{set} is no set of addresses made in this thread"),
    })
}

fn first_match(patterns: Matcher, matches: impl Fn(&Regex) -> bool) -> Option<u32> {
    MATCHERS.with_borrow(|matchers| {
        match matchers.get(patterns as usize) {
            Some(Built::Patterns(patterns)) => (0..).zip(patterns).find(|(_, pattern)| matches(pattern)),
            _ => panic!("{patterns} is no list of patterns made in this thread"),
        }
        .map(|(index, _)| index)
    })
}

fn to_regex(kind: PatternKind, pattern: &str) -> String {
    let literal = regex::escape(pattern);
    match kind {
        PatternKind::Exact => format!(r"\A{literal}\z"),
        PatternKind::Prefix => format!(r"\A{literal}"),
        PatternKind::Suffix => format!(r"{literal}\z"),
        PatternKind::Contains => literal,
        PatternKind::Glob => glob_to_regex(pattern),
        PatternKind::Regex => pattern.to_owned(),
    }
}

fn glob_to_regex(glob: &str) -> String {
    let (body, end) = match glob.strip_suffix("/**") {
        Some(body) => (body, r"(?:/(?s:.)*)?\z"),
        None => (glob, r"\z"),
    };
    let mut source = String::from(r"\A");
    let mut characters = body.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.next_if_eq(&'*').is_some() => source.push_str("(?s:.)*"),
            '*' => source.push_str("[^/]*"),
            '?' => source.push_str("[^/]"),
            plain => source.push_str(&regex::escape(plain.encode_utf8(&mut [0; 4]))),
        }
    }
    source + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    #[test]
    fn globs_know_segments() {
        for (glob, matching, other) in [
            ("/admin/**", &["/admin", "/admin/", "/admin/a/b"][..], &["/administrator", "/x/admin"][..]),
            ("/a/*", &["/a/b", "/a/"], &["/a", "/a/b/c"]),
            ("/a/**/z", &["/a/b/z", "/a/b/c/z"], &["/a/z/y"]),
            ("/a?c", &["/abc"], &["/a/c", "/ac"]),
            ("**.png", &["/a/b.png"], &["/a/bxpng"]),
            ("/[a]+", &["/[a]+"], &["/a"]),
        ] {
            let matcher = patterns(PatternKind::Glob, &texts(&[glob]), false).unwrap();
            for path in matching {
                assert_eq!(match_text(matcher, path), Some(0), "{glob} {path}");
            }
            for path in other {
                assert_eq!(match_text(matcher, path), None, "{glob} {path}");
            }
        }
    }

    #[test]
    fn the_first_pattern_counts_and_case_may_be_ignored() {
        let matcher = patterns(PatternKind::Contains, &texts(&["x", "B.d", "b"]), true).unwrap();
        assert_eq!(match_text(matcher, "ab.D"), Some(1));
        assert_eq!(match_text(matcher, "aBcD"), Some(2));
        let matcher = patterns(PatternKind::Regex, &texts(&["^a+$"]), false).unwrap();
        assert_eq!(match_text(matcher, "aa"), Some(0));
        assert_eq!(match_text(matcher, "baa"), None);
    }

    #[test]
    fn a_mistake_is_named_by_its_index() {
        let error = patterns(PatternKind::Regex, &texts(&["a", "("]), false).unwrap_err();
        assert!(error.starts_with("[1]: "), "{error}");
        let error = ip_set(&texts(&["10.0.0.0/8", "here"])).unwrap_err();
        assert_eq!(error, "[1]: `here` is neither an address nor a CIDR block");
    }

    #[test]
    fn addresses_and_networks_are_found() {
        let set = ip_set(&texts(&["10.0.0.0/8", "fd00::/8", "192.0.2.1"])).unwrap();
        for (address, inside) in [
            ("10.1.2.3", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("fd01::1", true),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(has(set, address.parse().unwrap()), inside, "{address}");
        }
    }
}
