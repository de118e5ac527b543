//! Every kind of pattern, in few and in many, must answer alike.

use super::patterns::{Kind, Patterns};
use super::{Definition, IpSet, Matchers};

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// The pattern alone, and behind so many others of every shape that the list is compiled into maps
/// and one large regex.
fn matches(kind: Kind, pattern: &str, text: &str) -> bool {
    let alone = Patterns::new(kind, &texts(&[pattern]), false).expect("a valid pattern");
    let never = (0..20).flat_map(|n| ["", "**", "/**", "?"].map(|end| format!("never/{n}{end}")));
    let mut many: Vec<String> = match kind {
        Kind::Glob => never.collect(),
        _ => (0..20).map(|n| format!("never {n}")).collect(),
    };
    let place = u32::try_from(many.len()).expect("small");
    many.extend(texts(&[pattern, pattern]));
    let many = Patterns::new(kind, &many, false).expect("valid patterns");
    let found = alone.first_match(text).is_some();
    assert_eq!(many.first_match(text), found.then_some(place), "{kind:?} {pattern} {text}");
    found
}

#[test]
fn globs() {
    for (pattern, text, expected) in [
        ("/a", "/a", true),
        ("/a", "/a/", false),
        ("/a/*", "/a/b", true),
        ("/a/*", "/a/", true),
        ("/a/*", "/a/b/c", false),
        ("/a/*/c", "/a/b/c", true),
        ("/a/?", "/a/b", true),
        ("/a/?", "/a/é", true),
        ("/a/?", "/a/bc", false),
        ("/a?b", "/a/b", false),
        ("/a/**", "/a", true),
        ("/a/**", "/a/", true),
        ("/a/**", "/a/b/c", true),
        ("/a/**", "/ab", false),
        ("/a/*/**", "/a/b", true),
        ("/a/*/**", "/a/b/c/d", true),
        ("/a/*/**", "/a", false),
        ("/**", "/", true),
        ("/**", "/x/y", true),
        ("**", "/x", true),
        ("/a**", "/abc/d", true),
        ("**.png", "/x/y.png", true),
        ("**.png", "/x/y.pngx", false),
        ("/x/**/z", "/x/y/w/z", true),
        ("/x/**/z", "/x/z", false),
        ("/*.js", "/app.js", true),
        ("/*.js", "/appxjs", false),
        ("/*.js", "/lib/app.js", false),
        ("/a.b+(c)", "/a.b+(c)", true),
        ("/a[b]*", "/a[b]c", true),
        ("/x*", "/x\ny", true),
        ("/x*", "/x\n", true),
        ("/x*z", "/x\nz\n", false),
    ] {
        assert_eq!(matches(Kind::Glob, pattern, text), expected, "{pattern} {text:?}");
    }
}

#[test]
fn the_other_kinds() {
    for (kind, pattern, text, expected) in [
        (Kind::Exact, "a*", "a*", true),
        (Kind::Exact, "a*", "ab", false),
        (Kind::Prefix, "/a.", "/a.b", true),
        (Kind::Prefix, "/a.", "/axb", false),
        (Kind::Suffix, ".b", "a.b", true),
        (Kind::Suffix, ".b", "a.b\n", false),
        (Kind::Contains, "(x)", "a(x)b", true),
        (Kind::Contains, "(x)", "axb", false),
        (Kind::Regex, "^/v[0-9]+/", "/v12/x", true),
        (Kind::Regex, "b+", "abbc", true),
        (Kind::Regex, "^b", "ab", false),
    ] {
        assert_eq!(matches(kind, pattern, text), expected, "{kind:?} {pattern} {text:?}");
    }
}

#[test]
fn the_first_pattern_wins_whatever_its_shape() {
    let order = texts(&["/a/*/c", "/a/**", "/a/b/c", "**c", "/a/b/**"]);
    let patterns = Patterns::new(Kind::Glob, &order, false).expect("valid");
    for (text, index) in [("/a/b/c", 0), ("/a/b/d", 1), ("/x/c", 3)] {
        assert_eq!(patterns.first_match(text), Some(index), "{text}");
    }
    let reversed: Vec<String> = order.into_iter().rev().collect();
    let patterns = Patterns::new(Kind::Glob, &reversed, false).expect("valid");
    for (text, index) in [("/a/b/c", 0), ("/a/x/d", 3), ("/a/x/c", 1)] {
        assert_eq!(patterns.first_match(text), Some(index), "{text}");
    }
}

#[test]
fn case_matters_only_if_asked() {
    for kind in [Kind::Exact, Kind::Prefix, Kind::Suffix, Kind::Contains, Kind::Glob, Kind::Regex] {
        let patterns = texts(&["EvilBot"]);
        let strict = Patterns::new(kind, &patterns, false).expect("valid");
        let lax = Patterns::new(kind, &patterns, true).expect("valid");
        assert_eq!((strict.first_match("evilbot"), lax.first_match("evilBOT")), (None, Some(0)), "{kind:?}");
    }
    let many: Vec<String> = (0..20).map(|n| format!("ÄX{n}y")).collect();
    let lax = Patterns::new(Kind::Contains, &many, true).expect("valid");
    assert_eq!(lax.first_match("--äx13Y--"), Some(13));
}

#[test]
fn a_wrong_regex_is_named_alone_and_among_many() {
    let mut patterns = texts(&["ok", "(", "ok"]);
    assert!(Patterns::new(Kind::Regex, &patterns, false).expect_err("invalid").starts_with("[1]: "));
    patterns.extend((0..20).map(|n| format!("x{n}")));
    assert!(Patterns::new(Kind::Regex, &patterns, false).expect_err("invalid").starts_with("[1]: "));
    let huge = texts(&["(?:x{1000}){1000}"]);
    assert!(Patterns::new(Kind::Regex, &huge, false).is_err());
}

#[test]
fn address_sets() {
    let set = texts(&[
        "10.0.0.0/8",
        "10.1.0.0/16",
        "192.0.2.7",
        "2001:db8::/32",
        "::ffff:198.51.100.0/120",
        "127.0.0.9/8",
    ]);
    let set = IpSet::new(&set).expect("valid");
    for inside in [
        "10.0.0.0",
        "10.255.255.255",
        "192.0.2.7",
        "::ffff:10.2.3.4",
        "2001:db8::1",
        "198.51.100.9",
        "127.255.0.1",
    ] {
        assert!(set.has(inside.parse().expect("an address")), "{inside}");
    }
    for outside in ["11.0.0.0", "9.255.255.255", "192.0.2.8", "2001:db9::", "198.51.101.0", "::1", "::a00:1"]
    {
        assert!(!set.has(outside.parse().expect("an address")), "{outside}");
    }
    let all = IpSet::new(&texts(&["0.0.0.0/0", "::/0"])).expect("valid");
    assert!(all.has([255, 255, 255, 255].into()) && all.has([0xffff; 8].into()));
    let error = IpSet::new(&texts(&["10.0.0.1", "10.0.0.0/33"])).expect_err("invalid");
    assert!(error.starts_with("[1]: `10.0.0.0/33`"), "{error}");
}

#[test]
fn the_same_definition_has_the_same_number() {
    let mut matchers = Matchers::default();
    let ips = || Definition::Ips(texts(&["10.0.0.0/8"]));
    let globs =
        |ignore_case| Definition::Patterns { kind: Kind::Glob, patterns: texts(&["/a"]), ignore_case };
    assert_eq!(matchers.define(ips()), Ok(0));
    assert_eq!(matchers.define(globs(false)), Ok(1));
    assert_eq!(matchers.define(ips()), Ok(0));
    assert_eq!((matchers.find(&globs(false)), matchers.find(&globs(true))), (Some(1), None));
    assert!(matchers.ips(0).is_ok() && matchers.patterns(1).is_ok());
    assert!(matchers.ips(1).is_err() && matchers.patterns(0).is_err() && matchers.ips(2).is_err());
    assert_eq!(
        matchers.patterns(u32::MAX).expect_err("never handed out").to_string(),
        "4294967295 is no list of patterns of this plugin"
    );
}
