//! Where patterns stand in a body.
//!
//! Two machines: one runs forwards and says where the first match ends, and of which pattern; one runs backwards from
//! there to where it begins. Both are tables that grow while they run, and both look at the budget.

use std::fmt;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, Input, MatchKind, PatternID};

use super::pace::{OverBudget, Pace, Watch};
use super::patterns::Kind;

/// Bounds each program, bytes.
const SIZE: usize = 4 << 20;
/// States of a program: each byte of a body costs up to as many steps.
const MAX_STATES: usize = 15_000;
/// What each thread remembers of its runs, bytes, for each direction.
const CACHE: usize = 1 << 20;
/// Bytes before the first look at the budget, times states.
const SLICE: usize = 1 << 15;

/// A list of patterns to be found in bodies. Cloning is cheap, and gives the clone memories of its own.
pub(crate) struct Search {
    forwards: DFA,
    backwards: DFA,
    states: usize,
    memories: Pool<Memory, Box<dyn Fn() -> Memory + Send + Sync>>,
}

/// Of each direction.
type Memory = (Cache, Cache);

/// Where a pattern stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) pattern: u32,
}

impl Search {
    /// The error says which pattern is wrong, beginning with its index.
    pub(crate) fn new(kind: Kind, patterns: &[String], ignore_case: bool) -> Result<Self, String> {
        let source = |pattern: &String| match kind {
            Kind::Contains => Ok(regex::escape(pattern)),
            Kind::Regex => Ok(pattern.clone()),
            Kind::Exact | Kind::Prefix | Kind::Suffix | Kind::Glob => {
                Err("in a body only `contains` and `regex` are looked for".to_owned())
            }
        };
        let syntax = syntax::Config::new().case_insensitive(ignore_case).utf8(false);
        let parse = |(index, pattern): (usize, &String)| {
            let parsed = source(pattern).and_then(|source| {
                let parsed = syntax::parse_with(&source, &syntax).map_err(|error| error.to_string())?;
                match parsed.properties().minimum_len() {
                    Some(0) => Err(format!("`{pattern}` matches where there is nothing")),
                    _ => Ok(parsed),
                }
            });
            parsed.map_err(|error| format!("[{index}]: {error}"))
        };
        let parsed = patterns.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        let compile = |reverse: bool| {
            let config = thompson::Config::new()
                .utf8(false)
                .reverse(reverse)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(SIZE));
            let nfa = NFA::compiler().configure(config).build_many_from_hir(&parsed);
            nfa.map_err(|error| format!("together too large: {error}"))
        };
        let (forwards, backwards) = (compile(false)?, compile(true)?);
        let states = forwards.states().len().max(backwards.states().len());
        if states > MAX_STATES {
            return Err(format!(
                "together they make a program of {states} states, of which {MAX_STATES} are allowed; repeat less"
            ));
        }
        let build = |nfa: NFA, kind: MatchKind| {
            let config = DFA::config()
                .match_kind(kind)
                .cache_capacity(CACHE)
                .skip_cache_capacity_check(true)
                .starts_for_each_pattern(true);
            DFA::builder().configure(config).build_from_nfa(nfa).map_err(|_| {
                r"Unicode word boundaries are not looked for in bodies: write `(?-u:\b)`".to_owned()
            })
        };
        Ok(Self::of(build(forwards, MatchKind::LeftmostFirst)?, build(backwards, MatchKind::All)?, states))
    }

    fn of(forwards: DFA, backwards: DFA, states: usize) -> Self {
        let (ahead, back) = (forwards.clone(), backwards.clone());
        let memory = move || (ahead.create_cache(), back.create_cache());
        Self { forwards, backwards, states, memories: Pool::new(Box::new(memory)) }
    }

    /// The match that begins first from `offset` on, and of those the one of the first pattern.
    pub(crate) fn find(
        &self,
        bytes: &[u8],
        offset: usize,
        watch: &dyn Watch,
    ) -> Result<Option<Found>, OverBudget> {
        let mut memory = self.memories.get();
        let (ahead, back) = &mut *memory;
        let mut pace = Pace::new(watch, SLICE / self.states.max(1));
        let Some((pattern, end)) = find_end(&self.forwards, ahead, bytes, offset, &mut pace)? else {
            return Ok(None);
        };
        let start = find_start(&self.backwards, back, bytes, offset..end, pattern, &mut pace)?;
        let pattern = u32::try_from(pattern.as_usize()).unwrap_or(u32::MAX);
        // Where a match ends it has begun.
        Ok(start.map(|start| Found { start, end, pattern }))
    }
}

fn find_end(
    dfa: &DFA,
    cache: &mut Cache,
    bytes: &[u8],
    offset: usize,
    pace: &mut Pace<'_>,
) -> Result<Option<(PatternID, usize)>, OverBudget> {
    let input = Input::new(bytes).range(offset..);
    // The tables grow as they need to, and without word boundaries there is no byte that they stop at: what fails is
    // a search that is given up, as one over its budget is.
    let begin = start::Config::from_input_forward(&input);
    let mut state = dfa.start_state(cache, &begin).map_err(|_| OverBudget)?;
    let mut found = None;
    for at in offset..=bytes.len() {
        // A match is seen one byte late.
        state = match bytes.get(at) {
            Some(byte) => dfa.next_state(cache, state, *byte),
            None => dfa.next_eoi_state(cache, state),
        }
        .map_err(|_| OverBudget)?;
        pace.step(1)?;
        if state.is_tagged() {
            if state.is_match() {
                found = Some((dfa.match_pattern(cache, state, 0), at));
            } else if state.is_dead() {
                break;
            }
        }
    }
    Ok(found)
}

fn find_start(
    dfa: &DFA,
    cache: &mut Cache,
    bytes: &[u8],
    range: std::ops::Range<usize>,
    pattern: PatternID,
    pace: &mut Pace<'_>,
) -> Result<Option<usize>, OverBudget> {
    let begins = range.start;
    let input = Input::new(bytes).range(range.clone()).anchored(Anchored::Pattern(pattern));
    let begin = start::Config::from_input_reverse(&input);
    let mut state = dfa.start_state(cache, &begin).map_err(|_| OverBudget)?;
    let mut found = None;
    for at in (begins..=range.end).rev() {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        state = match before {
            Some(byte) => dfa.next_state(cache, state, byte),
            None => dfa.next_eoi_state(cache, state),
        }
        .map_err(|_| OverBudget)?;
        pace.step(1)?;
        if state.is_tagged() {
            if state.is_match() {
                found = Some(at);
            } else if state.is_dead() {
                break;
            }
        }
    }
    Ok(found)
}

impl Clone for Search {
    fn clone(&self) -> Self {
        Self::of(self.forwards.clone(), self.backwards.clone(), self.states)
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").field("states", &self.states).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use regex::bytes::RegexBuilder;

    use super::*;
    use crate::matching::Unwatched;

    fn search(kind: Kind, patterns: &[&str], ignore_case: bool) -> Result<Search, String> {
        Search::new(kind, &patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), ignore_case)
    }

    fn all(search: &Search, bytes: &[u8]) -> Vec<(usize, usize, u32)> {
        let mut found = Vec::new();
        let mut offset = 0;
        while let Some(Found { start, end, pattern }) =
            search.find(bytes, offset, &Unwatched).expect("nobody watches")
        {
            found.push((start, end, pattern));
            offset = end;
        }
        found
    }

    #[test]
    fn matches_are_where_the_regex_crate_finds_them() {
        let mut bytes = "<a href=\"/x\">one</a>, caf\u{e9} \u{212a}ey key KEY aab".as_bytes().to_vec();
        bytes.extend_from_slice(b"\xff key\n^line");
        for (pattern, ignore_case) in [
            ("key", false),
            ("key", true),
            (r#"<a[^>]*>"#, false),
            ("a+b?", false),
            (r"(?-u:\b)k\w+", true),
            (r"(?m)^\^", false),
            ("o.*e", false),
            (r"\p{L}{3,}", false),
            ("caf\u{e9}", false),
        ] {
            let expected = RegexBuilder::new(pattern).case_insensitive(ignore_case).build().expect("valid");
            let expected: Vec<_> =
                expected.find_iter(&bytes).map(|found| (found.start(), found.end(), 0)).collect();
            assert!(!expected.is_empty(), "{pattern}");
            let search = search(Kind::Regex, &[pattern], ignore_case).expect("valid");
            assert_eq!(all(&search, &bytes), expected, "{pattern}");
        }
    }

    #[test]
    fn what_begins_first_comes_first_and_then_what_is_listed_first() {
        let texts = search(Kind::Contains, &["b.c", "abc", "ab", "b"], false).expect("valid");
        assert_eq!(all(&texts, b"xabcb.cb"), [(1, 4, 1), (4, 7, 0), (7, 8, 3)]);
        let regexes = search(Kind::Regex, &["b+", "ab"], false).expect("valid");
        assert_eq!(all(&regexes, b"abb"), [(0, 2, 1), (2, 3, 0)]);
    }

    #[test]
    fn what_cannot_be_looked_for_is_refused_with_a_reason() {
        for (kind, pattern, error) in [
            (Kind::Glob, "/a", "[0]: in a body only"),
            (Kind::Regex, "(", "[0]: regex parse error"),
            (Kind::Regex, "a*", "[0]: `a*` matches where there is nothing"),
            (Kind::Contains, "", "[0]: `` matches where there is nothing"),
            (Kind::Regex, r"\bx", "Unicode word boundaries"),
            (Kind::Regex, r"\w{0,1000}x", "together"),
        ] {
            let refused = search(kind, &[pattern], false).expect_err(pattern);
            assert!(refused.starts_with(error), "{refused}");
        }
    }

    #[test]
    fn a_search_ends_with_the_budget() {
        struct Spent;
        impl Watch for Spent {
            fn look(&self) -> Result<(), OverBudget> {
                Err(OverBudget)
            }
        }
        let search = search(Kind::Regex, &["a.{0,200}b"], false).expect("valid");
        assert_eq!(search.find(&vec![b'a'; 1 << 20], 0, &Spent), Err(OverBudget));
    }
}
