//! Matchers, made with the crates the proxy uses.

use std::cell::RefCell;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

pub(crate) use crate::bindings::imports::tidegate::policy::matching::{Matcher, PatternKind};
use crate::double::body::Body;
use crate::double::http::{IpAddress, Request, Response};
use crate::double::path;

/// Numbers are positions. A matcher belongs to the thread that made it, as a test does.
enum Built {
    Ips(Vec<IpNet>),
    Patterns(Vec<Pattern>),
    Search(Vec<regex::bytes::Regex>),
}

struct Pattern {
    text: Regex,
    /// As it is compared with paths.
    path: Regex,
}

thread_local! {
    static MATCHERS: RefCell<Vec<Built>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn ip_set(entries: &[String]) -> Result<Matcher, String> {
    let parse = |(index, entry): (usize, &String)| {
        parse_net(entry).ok_or_else(|| format!("[{index}]: `{entry}` is neither an address nor a CIDR block"))
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
    let regex = |pattern: &str| {
        let built = RegexBuilder::new(&to_regex(kind, pattern)).case_insensitive(ignore_case).build();
        built.map_err(|error| error.to_string())
    };
    let build = |pattern: &str| Ok(Pattern { text: regex(pattern)?, path: regex(&spelled(kind, pattern)?)? });
    let at = |(index, pattern): (usize, &String)| {
        build(pattern).map_err(|what: String| format!("[{index}]: {what}"))
    };
    Ok(add(Built::Patterns(patterns.iter().enumerate().map(at).collect::<Result<_, _>>()?)))
}

fn spelled(kind: PatternKind, pattern: &str) -> Result<String, String> {
    Ok(match kind {
        PatternKind::Exact if pattern.starts_with('/') => path::normalize(pattern),
        PatternKind::Glob => path::spell_glob(pattern).ok_or_else(|| {
            format!(
                "`{pattern}`: `..` after a wildcard matches nothing, and paths are compared without the query"
            )
        })?,
        PatternKind::Regex => pattern.to_owned(),
        _ => path::spell(pattern),
    })
}

pub(crate) fn path_patterns(
    kind: PatternKind,
    patterns: &[String],
    ignore_case: bool,
) -> Result<Matcher, String> {
    let anchored = matches!(kind, PatternKind::Exact | PatternKind::Prefix | PatternKind::Glob);
    for (index, pattern) in patterns.iter().enumerate() {
        let is_wild = kind == PatternKind::Glob && pattern.starts_with('*');
        if anchored && !pattern.is_empty() && !pattern.starts_with('/') && !is_wild {
            return Err(format!(
                "[{index}]: `{pattern}` matches no path: paths begin with `/`, write `/{pattern}`"
            ));
        }
    }
    let spelled: Vec<String> = match kind {
        PatternKind::Regex => patterns.iter().map(|pattern| crate::matching::path_regex(pattern)).collect(),
        _ => patterns.to_vec(),
    };
    self::patterns(kind, &spelled, ignore_case)
}

pub(crate) fn body_patterns(
    kind: PatternKind,
    patterns: &[String],
    ignore_case: bool,
) -> Result<Matcher, String> {
    let build = |(index, pattern): (usize, &String)| {
        let source = match kind {
            PatternKind::Contains => regex::escape(pattern),
            PatternKind::Regex => pattern.clone(),
            _ => return Err(format!("[{index}]: in a body only `contains` and `regex` are looked for")),
        };
        let built = regex::bytes::RegexBuilder::new(&source).case_insensitive(ignore_case).build();
        let built = built.map_err(|error| format!("[{index}]: {error}"))?;
        match built.is_match(b"") {
            true => Err(format!("[{index}]: `{pattern}` matches where there is nothing")),
            false => Ok(built),
        }
    };
    Ok(add(Built::Search(patterns.iter().enumerate().map(build).collect::<Result<_, _>>()?)))
}

/// The match that begins first from `offset` on, and of those the one of the first pattern.
pub(crate) fn find_pattern(patterns: Matcher, bytes: &[u8], offset: usize) -> Option<(usize, usize, u32)> {
    MATCHERS.with_borrow(|matchers| match matchers.get(patterns as usize) {
        Some(Built::Search(patterns)) if offset <= bytes.len() => {
            let found = (0..).zip(patterns).filter_map(|(index, pattern)| {
                let found = pattern.find_at(bytes, offset)?;
                Some((found.start(), found.end(), index))
            });
            found.min_by_key(|(start, _, index)| (*start, *index))
        }
        Some(Built::Search(_)) => None,
        _ => panic!("{patterns} is no list of patterns for bodies made in this thread"),
    })
}

pub(crate) fn match_text(patterns: Matcher, text: &str) -> Option<u32> {
    first_match(patterns, |pattern| pattern.text.is_match(text))
}

pub(crate) fn match_path(patterns: Matcher, request: &Request) -> Option<u32> {
    let path = request.normalized_path();
    first_match(patterns, |pattern| pattern.path.is_match(&path))
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
        values.iter().any(|value| pattern.text.is_match(&String::from_utf8_lossy(value)))
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

fn first_match(patterns: Matcher, matches: impl Fn(&Pattern) -> bool) -> Option<u32> {
    MATCHERS.with_borrow(|matchers| match matchers.get(patterns as usize) {
        Some(Built::Patterns(patterns)) => {
            (0..).zip(patterns).find(|(_, pattern)| matches(pattern)).map(|(index, _)| index)
        }
        _ => panic!("{patterns} is no list of patterns made in this thread"),
    })
}

/// An IPv6 block of IPv4 addresses is an IPv4 block.
fn parse_net(entry: &str) -> Option<IpNet> {
    let net = entry.parse().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let IpNet::V6(v6) = net else { return Some(net) };
    let unmapped = v6.network().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    Some(unmapped.and_then(|(address, length)| IpNet::new(address.into(), length).ok()).unwrap_or(net))
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
