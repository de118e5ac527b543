//! Every kind of pattern, in few and in many, must answer alike.

use std::cell::Cell;
use std::time::{Duration, Instant};

use regex::RegexBuilder;

use super::patterns::{Kind, Patterns};
use super::{Definition, IpSet, Matchers, OverBudget, Watch};
use crate::limits::Allowance;

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
    let found = alone.first(text).is_some();
    assert_eq!(many.first(text), found.then_some(place), "{kind:?} {pattern} {text}");
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
        assert_eq!(patterns.first(text), Some(index), "{text}");
    }
    let reversed: Vec<String> = order.into_iter().rev().collect();
    let patterns = Patterns::new(Kind::Glob, &reversed, false).expect("valid");
    for (text, index) in [("/a/b/c", 0), ("/a/x/d", 3), ("/a/x/c", 1)] {
        assert_eq!(patterns.first(text), Some(index), "{text}");
    }
}

#[test]
fn case_matters_only_if_asked() {
    for kind in [Kind::Exact, Kind::Prefix, Kind::Suffix, Kind::Contains, Kind::Glob, Kind::Regex] {
        let patterns = texts(&["EvilBot"]);
        let strict = Patterns::new(kind, &patterns, false).expect("valid");
        let lax = Patterns::new(kind, &patterns, true).expect("valid");
        assert_eq!((strict.first("evilbot"), lax.first("evilBOT")), (None, Some(0)), "{kind:?}");
    }
    let many: Vec<String> = (0..20).map(|n| format!("ÄX{n}y")).collect();
    let lax = Patterns::new(Kind::Contains, &many, true).expect("valid");
    assert_eq!(lax.first("--äx13Y--"), Some(13));
}

/// What a regex says of the same pattern.
fn expected(kind: Kind, pattern: &str, ignore_case: bool, text: &str) -> bool {
    let literal = regex::escape(pattern);
    let source = match kind {
        Kind::Exact | Kind::Glob => format!(r"\A{literal}\z"),
        Kind::Prefix => format!(r"\A{literal}"),
        Kind::Suffix => format!(r"{literal}\z"),
        Kind::Contains => literal,
        Kind::Regex => pattern.to_owned(),
    };
    let regex = RegexBuilder::new(&source).case_insensitive(ignore_case).build().expect("valid");
    regex.is_match(text)
}

#[test]
fn eight_patterns_ignore_case_as_nine_do() {
    let letters = [
        "s", "ſ", "S", "k", "\u{212a}", "σ", "ς", "Σ", "ı", "i", "İ", "I", "ß", "ẞ", "ΐ", "\u{1fd3}", "ꭰ",
        "Ꭰ",
    ];
    for kind in [Kind::Exact, Kind::Prefix, Kind::Suffix, Kind::Contains, Kind::Glob, Kind::Regex] {
        for pattern in letters {
            let few = Patterns::new(kind, &texts(&[pattern]), true).expect("valid");
            let mut list: Vec<String> = (0..20).map(|n| format!("never-{n}")).collect();
            list.push(pattern.to_owned());
            let many = Patterns::new(kind, &list, true).expect("valid");
            for text in letters {
                let matches = expected(kind, pattern, true, text);
                assert_eq!(few.first(text), matches.then_some(0), "{kind:?} {pattern} {text}");
                assert_eq!(many.first(text), matches.then_some(20), "{kind:?} {pattern} {text}, among many");
            }
        }
    }
    // What a regex says of a letter is of the letter as it stands there.
    let upper = Patterns::new(Kind::Regex, &texts(&["(?-i)A"]), true).expect("valid");
    assert_eq!((upper.first("a"), upper.first("A")), (None, Some(0)));
}

/// Short texts are left to the `regex` crate; long ones, and lists, are not.
#[test]
fn long_texts_and_lists_are_matched_as_short_ones_are() {
    let regexes = [
        "b+",
        "^b",
        "b$",
        "^a+$",
        r"\bbar\b",
        r"(?-u:\b)bar",
        r"é\b",
        r"\Bé",
        "(?m)^x$",
        "(?i)Ω",
        "a.c",
        "(?s)a.c",
        "[^a]c",
        "",
        "(?m)$",
        r"\d{2,4}",
        "x*",
        r"(?:foo|ba[rz])+$",
        r"\p{Greek}",
        "zz|b",
    ];
    let short = [
        "",
        "b",
        "ab",
        "aa",
        "foo bar",
        "foobar",
        "bar é",
        "barébar",
        "é",
        "a\nc",
        "x",
        "a\nx\nb",
        "12",
        "ω",
        "ac",
        "foobaz",
        "日本 bar 日本",
    ];
    let fillers = || (0..20).map(|n| format!("^never{n}$"));
    for regex in regexes {
        let alone = Patterns::new(Kind::Regex, &texts(&[regex]), false).expect("valid");
        let list: Vec<String> = fillers().chain([regex.to_owned(), regex.to_owned()]).collect();
        let many = Patterns::new(Kind::Regex, &list, false).expect("valid");
        let before = ["", "é", "a"].map(|unit| unit.repeat(60_000));
        for text in short {
            for before in &before {
                let text = format!("{before}{text}");
                let matches = expected(Kind::Regex, regex, false, &text);
                let shown = &text[text.floor_char_boundary(text.len().saturating_sub(20))..];
                assert_eq!(alone.first(&text), matches.then_some(0), "{regex} …{shown}");
                assert_eq!(many.first(&text), matches.then_some(20), "{regex} …{shown}, among many");
            }
        }
    }
    // Of several that match the first counts, wherever each of them does.
    let list = texts(&["zebra", "b+", "a", "never"]);
    let few = Patterns::new(Kind::Regex, &list, false).expect("valid");
    assert_eq!(few.first(&format!("{}bzebra", "a".repeat(200_000))), Some(0));
    assert_eq!(few.first(&format!("{}b", "a".repeat(200_000))), Some(1));
}

/// Says stop after a while.
struct Impatient {
    looks: Cell<usize>,
    most: usize,
}

impl Watch for Impatient {
    fn look(&self) -> Result<(), OverBudget> {
        self.looks.set(self.looks.get() + 1);
        if self.looks.get() > self.most { Err(OverBudget) } else { Ok(()) }
    }
}

#[test]
fn a_search_that_takes_long_can_be_stopped() {
    // Without a pattern of its own: each byte is another state of the search.
    let mut noise = 1_u32;
    let letters = std::iter::repeat_with(|| {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        if noise & 1 == 0 { 'a' } else { 'c' }
    });
    let body: String = letters.take(1 << 20).collect();
    let foreign: String = "a日".repeat(100_000);
    for (pattern, text) in [("(?s)a.{0,200}b", &body), (r"(?s)a.{0,200}\bb", &foreign)] {
        for others in [0, 20] {
            let list: Vec<String> =
                (0..others).map(|n| format!("^never{n}$")).chain([pattern.to_owned()]).collect();
            let patterns = Patterns::new(Kind::Regex, &list, false).expect("valid");
            let watch = Impatient { looks: Cell::new(0), most: 20 };
            let began = Instant::now();
            assert_eq!(patterns.first_match(text, &watch), Err(OverBudget), "{pattern} {others}");
            // To the end it takes more than ten seconds.
            assert!(began.elapsed() < Duration::from_secs(2), "{pattern} {others}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn a_regex_that_is_expensive_by_its_program_is_refused() {
    for pattern in ["(?s)a.{0,2000}b", "(?s)(?:a.{0,1000}b){2}"] {
        let error = Patterns::new(Kind::Regex, &texts(&["ok", pattern]), false).expect_err("too expensive");
        assert!(error.starts_with("[1]: ") && error.contains("states"), "{error}");
    }
    for pattern in [
        "(?s)a.{0,200}b",
        r"^/api/v[0-9]+/users/[0-9a-f]{8}-[0-9a-f]{4}",
        r"(?i)\b(?:select|union|insert|update|delete|drop)\b.{1,80}\b(?:from|into|table)\b",
        r"(?i)<script[^>]{0,500}>",
        r"\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
    ] {
        Patterns::new(Kind::Regex, &texts(&[pattern]), false).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Processor time of this thread, from now on: other tests run beside this one.
fn used(allowed: Duration) -> Allowance {
    let allowance = Allowance::new(allowed);
    assert_eq!(allowance.look(), Ok(()));
    allowance
}

#[test]
fn a_hundred_thousand_texts_are_cheap_to_build_and_to_ask() {
    let list: Vec<String> =
        (0..100_000_u32).map(|n| format!("/{:08x}/part", n.wrapping_mul(2_654_435_761))).collect();
    let (first, last) = (list[0].clone(), list[99_999].clone());
    for kind in [Kind::Exact, Kind::Prefix, Kind::Suffix, Kind::Contains, Kind::Glob] {
        // A first instance may take a second of processor time for all that it does.
        let to_build = used(Duration::from_secs(1));
        let patterns = Patterns::new(kind, &list, false).expect("valid");
        assert_eq!(to_build.look(), Ok(()), "{kind:?}");
        // 100 µs each, all in all.
        let to_ask = used(Duration::from_millis(300));
        for _ in 0..1_000 {
            assert_eq!((patterns.first(&first), patterns.first(&last)), (Some(0), Some(99_999)), "{kind:?}");
            assert_eq!(patterns.first("/00000001/elsewhere/and/so/on"), None, "{kind:?}");
        }
        assert_eq!(to_ask.look(), Ok(()), "{kind:?}");
    }
    // Thousands of similar ones filled what a regex remembers of its runs, again and again.
    let similar: Vec<String> = (0..5_000).map(|n| format!("a/a/a/a/{n}/a")).collect();
    let patterns = Patterns::new(Kind::Contains, &similar, false).expect("valid");
    let text = "a/a/a/a/a/".repeat(100);
    let to_ask = used(Duration::from_millis(100));
    for _ in 0..100 {
        assert_eq!(patterns.first(&text), None);
    }
    assert_eq!(to_ask.look(), Ok(()), "a millisecond each");
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
