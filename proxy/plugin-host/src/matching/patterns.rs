//! A list of patterns that answers with the first one that matches a text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use tidegate_message::path;

use super::affixes::Affixes;
use super::anywhere::Anywhere;
use super::fold::fold;
use super::machine::Machine;
use super::pace::{OverBudget, Unwatched, Watch};

/// Texts of one list. Published lists of hosts and robots stay below.
const MAX_PATTERNS: usize = 100_000;
/// All patterns of one list together, bytes.
const MAX_TEXT: usize = 4 << 20;
/// Regexes of one list, and globs that are neither texts nor the paths below one.
const MAX_REGEXES: usize = 10_000;
/// Texts that may stand anywhere, of one list together, bytes: each takes some thirty bytes of memory.
const MAX_ANYWHERE: usize = 2 << 20;
/// Up to this many texts are compared one by one: quicker than hashing or a regex.
const FEW: usize = 8;
/// Bounds what a compiled list of regexes may occupy, and with it the time to compile it. Ten
/// thousand globs of ordinary length fit.
const REGEX_SIZE: usize = 16 << 20;
/// Cache a regex may fill while it runs, per worker.
const REGEX_CACHE: usize = 2 << 20;
/// States of one regex. Each byte of a text may cost a visit to each of them: with more, a body of some
/// hundred bytes can use up the processor time of a call.
const MAX_STATES: usize = 15_000;
/// States times bytes of a text that need no look at the budget: a millisecond or two at worst.
const AT_ONCE: usize = 1 << 17;

/// How a pattern is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The whole text.
    Exact,
    /// The beginning of the text.
    Prefix,
    /// The end of the text.
    Suffix,
    /// Anywhere in the text.
    Contains,
    /// The whole text, with `*` for anything within a segment, `?` for one character other than
    /// `/`, `**` for anything. A pattern that ends in `/**` also matches the path before it. All
    /// else is literal.
    Glob,
    /// A regular expression, found anywhere unless it is anchored. Matched in linear time.
    Regex,
}

impl Kind {
    /// Patterns as they have to be written to be compared with normalised paths. Regexes stay: they say themselves what
    /// they are compared with.
    ///
    /// # Errors
    /// One can match no path; the text begins with its index.
    pub(crate) fn spell_all(self, patterns: &[String]) -> Result<Vec<String>, String> {
        let spell = |(index, pattern): (usize, &String)| match self {
            Self::Exact if pattern.starts_with('/') => {
                Ok(path::normalize(pattern).unwrap_or_else(|| pattern.clone()))
            }
            Self::Exact | Self::Prefix | Self::Suffix | Self::Contains => Ok(path::spell(pattern)),
            Self::Glob => path::spell_glob(pattern).map_err(|why| format!("[{index}]: `{pattern}`: {why}")),
            Self::Regex => Ok(pattern.clone()),
        };
        patterns.iter().enumerate().map(spell).collect()
    }
}

impl Kind {
    /// Patterns written for normalised paths as people see these.
    ///
    /// # Errors
    /// One can match no path; the text begins with its index and says what would.
    pub(super) fn for_paths(self, patterns: &[String]) -> Result<Vec<String>, String> {
        let anchored = matches!(self, Self::Exact | Self::Prefix | Self::Glob);
        for (index, pattern) in patterns.iter().enumerate() {
            let refuse = |why: &str| Err(format!("[{index}]: `{pattern}` matches no path: {why}"));
            let is_wild = self == Self::Glob && pattern.starts_with('*');
            let is_whole = pattern.is_empty() && self == Self::Prefix;
            if anchored && !(pattern.starts_with('/') || is_wild || is_whole) {
                return refuse(&format!("paths begin with `/`, write `/{pattern}`"));
            }
            if self == Self::Regex
                && let Some(rest) = pattern.strip_prefix('^')
                && rest.starts_with(|first: char| first.is_alphanumeric())
            {
                return refuse(&format!("paths begin with `/`, write `^/{rest}`"));
            }
            if anchored
                && self != Self::Glob
                && let Some((path, _)) = pattern.split_once('?')
            {
                return refuse(&format!("they are compared without the query, write `{path}`"));
            }
        }
        match self {
            Self::Regex => Ok(patterns.iter().map(|pattern| path::spell_regex(pattern)).collect()),
            _ => self.spell_all(patterns),
        }
    }
}

/// Sorted by what it takes to answer: most lists are only texts to compare with.
#[derive(Debug, Clone)]
pub(crate) struct Patterns {
    ignore_case: bool,
    texts: Arc<Texts>,
    regexes: Option<Regexes>,
}

impl Patterns {
    /// Builds the list. The error says which pattern is wrong, beginning with its index.
    pub(crate) fn new(kind: Kind, patterns: &[String], ignore_case: bool) -> Result<Self, String> {
        if patterns.len() > MAX_PATTERNS || patterns.iter().map(String::len).sum::<usize>() > MAX_TEXT {
            return Err(format!("more than {MAX_PATTERNS} patterns or {MAX_TEXT} bytes in one list"));
        }
        let mut sorted = Sorted::default();
        let mut sources = Vec::new();
        for (index, pattern) in (0..).zip(patterns) {
            let text = |text: &str| match ignore_case {
                true => fold(text, &Unwatched).map_or_else(|_| text.to_owned(), Cow::into_owned),
                false => text.to_owned(),
            };
            match Shape::of(kind, pattern) {
                Shape::Exact(exact) => sorted.exact.push((text(exact), index)),
                Shape::Subtree(top) => sorted.subtrees.push((text(top), index)),
                Shape::Prefix(prefix) => sorted.prefixes.push((text(prefix), index)),
                Shape::Suffix(suffix) => sorted.suffixes.push((text(suffix), index)),
                Shape::Contains(part) => sorted.parts.push((index, text(part))),
                Shape::Regex(source) => sources.push((index, source)),
            }
        }
        Ok(Self {
            ignore_case,
            texts: Arc::new(Texts::new(sorted)?),
            regexes: Regexes::new(&sources, ignore_case)?,
        })
    }

    /// Without a budget.
    #[cfg(test)]
    pub(crate) fn first(&self, text: &str) -> Option<u32> {
        self.first_match(text, &Unwatched).expect("nobody watches")
    }

    /// Index of the first pattern that matches.
    pub(crate) fn first_match(&self, text: &str, watch: &dyn Watch) -> Result<Option<u32>, OverBudget> {
        let found = match (self.texts.is_empty(), self.ignore_case) {
            (true, _) => None,
            (false, true) => self.texts.first(&fold(text, watch)?, watch)?,
            (false, false) => self.texts.first(text, watch)?,
        };
        // They fold for themselves, after what they say of single letters.
        self.regexes.as_ref().map_or(Ok(found), |regexes| regexes.first_before(text, found, watch))
    }
}

/// A pattern reduced to the cheapest comparison that says the same.
enum Shape<'p> {
    Exact(&'p str),
    Subtree(&'p str),
    Prefix(&'p str),
    Suffix(&'p str),
    Contains(&'p str),
    Regex(String),
}

impl<'p> Shape<'p> {
    fn of(kind: Kind, pattern: &'p str) -> Self {
        match kind {
            Kind::Exact => Self::Exact(pattern),
            Kind::Prefix => Self::Prefix(pattern),
            Kind::Suffix => Self::Suffix(pattern),
            Kind::Contains => Self::Contains(pattern),
            Kind::Glob => Self::of_glob(pattern),
            Kind::Regex => Self::Regex(pattern.to_owned()),
        }
    }

    fn of_glob(pattern: &'p str) -> Self {
        let literal = |text: &str| !text.contains(['*', '?']);
        if literal(pattern) {
            return Self::Exact(pattern);
        }
        if let Some(top) = pattern.strip_suffix("/**").filter(|top| literal(top)) {
            return Self::Subtree(top);
        }
        if let Some(text) = pattern.strip_suffix("**").filter(|text| literal(text)) {
            return Self::Prefix(text);
        }
        if let Some(text) = pattern.strip_prefix("**").filter(|text| literal(text)) {
            return Self::Suffix(text);
        }
        Self::Regex(glob_to_regex(pattern))
    }
}

fn glob_to_regex(pattern: &str) -> String {
    let (body, end) = match pattern.strip_suffix("/**") {
        Some(top) => (top, r"(?:/(?s:.)*)?\z"),
        None => (pattern, r"\z"),
    };
    let mut source = String::from(r"\A");
    let mut rest = body;
    while let Some(at) = rest.find(['*', '?']) {
        source.push_str(&regex::escape(&rest[..at]));
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("**") {
            source.push_str("(?s:.)*");
            rest = after;
        } else {
            source.push_str(if rest.starts_with('*') { "[^/]*" } else { "[^/]" });
            rest = &rest[1..];
        }
    }
    source.push_str(&regex::escape(rest));
    source.push_str(end);
    source
}

/// Texts and their index, by what is asked of them.
#[derive(Default)]
struct Sorted {
    exact: Vec<(String, u32)>,
    /// The paths at the top (`/api/**` is `/api`).
    subtrees: Vec<(String, u32)>,
    prefixes: Vec<(String, u32)>,
    suffixes: Vec<(String, u32)>,
    parts: Vec<(u32, String)>,
}

/// Patterns that are only texts.
#[derive(Debug)]
struct Texts {
    exact: Whole,
    subtrees: Tops,
    prefixes: Ends,
    suffixes: Ends,
    parts: Parts,
}

impl Texts {
    fn new(sorted: Sorted) -> Result<Self, String> {
        let Sorted { exact, subtrees, prefixes, suffixes, parts } = sorted;
        let backwards = |(text, index): (String, u32)| (text.bytes().rev().collect(), index);
        Ok(Self {
            exact: Whole::new(exact),
            subtrees: if subtrees.len() <= FEW {
                Tops::Few(subtrees)
            } else {
                // A path is below the top if it begins with that and a slash, or would with a slash at its end.
                let with_slash = |(top, index): (String, u32)| ((top + "/").into_bytes().into(), index);
                Tops::Many(Affixes::new(subtrees.into_iter().map(with_slash).collect()))
            },
            prefixes: Ends::new(prefixes, |(text, index)| (text.into_bytes().into(), index)),
            suffixes: Ends::new(suffixes, backwards),
            parts: Parts::new(parts)?,
        })
    }

    fn is_empty(&self) -> bool {
        matches!(
            self,
            Self {
                exact: Whole::Few(exact),
                subtrees: Tops::Few(subtrees),
                prefixes: Ends::Few(prefixes),
                suffixes: Ends::Few(suffixes),
                parts: Parts::Few(parts),
            } if exact.is_empty() && subtrees.is_empty() && prefixes.is_empty() && suffixes.is_empty() && parts.is_empty()
        )
    }

    /// The smallest index of those that match.
    fn first(&self, text: &str, watch: &dyn Watch) -> Result<Option<u32>, OverBudget> {
        let exact = self.exact.get(text);
        let subtree = self.subtrees.get_above(text);
        let prefix = self.prefixes.first(text.bytes(), |prefix| text.starts_with(prefix));
        let suffix = self.suffixes.first(text.bytes().rev(), |suffix| text.ends_with(suffix));
        let part = self.parts.first(text, watch)?;
        Ok([exact, subtree, prefix, suffix, part].into_iter().flatten().min())
    }
}

/// Whole texts; of equal texts the first counts.
#[derive(Debug)]
enum Whole {
    Few(Vec<(String, u32)>),
    Many(HashMap<String, u32>),
}

impl Whole {
    fn new(texts: Vec<(String, u32)>) -> Self {
        if texts.len() <= FEW {
            return Self::Few(texts);
        }
        let mut by_text = HashMap::with_capacity(texts.len());
        for (text, index) in texts {
            if let Entry::Vacant(free) = by_text.entry(text) {
                free.insert(index);
            }
        }
        Self::Many(by_text)
    }

    fn get(&self, wanted: &str) -> Option<u32> {
        match self {
            Self::Few(texts) => texts.iter().find(|(text, _)| text == wanted).map(|(_, index)| *index),
            Self::Many(texts) => texts.get(wanted).copied(),
        }
    }
}

/// Paths at the top of a subtree.
#[derive(Debug)]
enum Tops {
    Few(Vec<(String, u32)>),
    Many(Affixes),
}

impl Tops {
    /// The first index whose text is the path or one of the paths above it.
    fn get_above(&self, path: &str) -> Option<u32> {
        match self {
            Self::Few(tops) => {
                let covers = |top: &str| {
                    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                tops.iter().find(|(top, _)| covers(top)).map(|(_, index)| *index)
            }
            Self::Many(tops) => tops.first(path.bytes().chain([b'/'])),
        }
    }
}

/// Beginnings of texts, or ends.
#[derive(Debug)]
enum Ends {
    Few(Vec<(String, u32)>),
    Many(Affixes),
}

impl Ends {
    fn new(texts: Vec<(String, u32)>, affix: impl FnMut((String, u32)) -> (Box<[u8]>, u32)) -> Self {
        match texts.len() {
            0..=FEW => Self::Few(texts),
            _ => Self::Many(Affixes::new(texts.into_iter().map(affix).collect())),
        }
    }

    fn first(&self, bytes: impl Iterator<Item = u8> + Clone, matches: impl Fn(&str) -> bool) -> Option<u32> {
        match self {
            Self::Few(texts) => texts.iter().find(|(text, _)| matches(text)).map(|(_, index)| *index),
            Self::Many(affixes) => affixes.first(bytes),
        }
    }
}

/// Texts within a text.
#[derive(Debug)]
enum Parts {
    Few(Vec<(u32, String)>),
    Many(Box<Anywhere>),
}

impl Parts {
    fn new(parts: Vec<(u32, String)>) -> Result<Self, String> {
        if parts.len() <= FEW {
            return Ok(Self::Few(parts));
        }
        let size: usize = parts.iter().map(|(_, part)| part.len()).sum();
        if size > MAX_ANYWHERE {
            return Err(format!(
                "more than {MAX_ANYWHERE} bytes of texts that may stand anywhere in one list"
            ));
        }
        Anywhere::new(&parts)
            .map(|parts| Self::Many(Box::new(parts)))
            .map_err(|error| format!("together too large: {error}"))
    }

    fn first(&self, text: &str, watch: &dyn Watch) -> Result<Option<u32>, OverBudget> {
        match self {
            Self::Few(parts) => {
                Ok(parts.iter().find(|(_, part)| text.contains(part.as_str())).map(|(index, _)| *index))
            }
            Self::Many(parts) => parts.first(text, watch),
        }
    }
}

/// Regexes, ascending by index.
#[derive(Debug, Clone)]
struct Regexes {
    indices: Arc<[u32]>,
    /// All in one pass over the text.
    machine: Box<Machine>,
    /// Where there are few, on short texts tried in order: stops at the first match and allocates nothing.
    few: Option<Vec<Regex>>,
}

impl Regexes {
    /// `None` without any.
    fn new(sources: &[(u32, String)], ignore_case: bool) -> Result<Option<Self>, String> {
        if sources.is_empty() {
            return Ok(None);
        }
        if sources.len() > MAX_REGEXES {
            return Err(format!("more than {MAX_REGEXES} patterns that are not plain texts in one list"));
        }
        // A few say which of them is wrong; of many that is found out when one is.
        let few = if sources.len() <= FEW { Some(Self::compile(sources, ignore_case)?) } else { None };
        let machine_of = |sources: &[(u32, String)]| {
            let sources = sources.iter().map(|(_, source)| source.clone());
            Machine::new(sources, ignore_case, REGEX_SIZE, REGEX_CACHE)
        };
        let machine = machine_of(sources).map_err(|error| {
            let wrong = Self::compile(sources, ignore_case).err();
            wrong.unwrap_or_else(|| format!("together too large: {error}"))
        })?;
        if machine.states() > MAX_STATES {
            for source in sources {
                let states =
                    machine_of(std::slice::from_ref(source)).map_or(usize::MAX, |alone| alone.states());
                if states > MAX_STATES {
                    let (index, source) = source;
                    return Err(format!(
                        "[{index}]: `{source}` makes a program of {states} states, of which {MAX_STATES} are \
                         allowed; repeat less, or smaller classes (`(?-u:\\w)` is ASCII alone)"
                    ));
                }
            }
        }
        let indices = sources.iter().map(|(index, _)| *index).collect();
        Ok(Some(Self { indices, machine: Box::new(machine), few }))
    }

    fn compile(sources: &[(u32, String)], ignore_case: bool) -> Result<Vec<Regex>, String> {
        let compile = |(index, source): &(u32, String)| {
            RegexBuilder::new(source)
                .case_insensitive(ignore_case)
                .size_limit(REGEX_SIZE / FEW)
                .dfa_size_limit(REGEX_CACHE)
                .build()
                .map_err(|error| format!("[{index}]: {error}"))
        };
        sources.iter().map(compile).collect()
    }

    /// The first match, if it comes before the one found by other means; otherwise that one.
    fn first_before(
        &self,
        text: &str,
        found: Option<u32>,
        watch: &dyn Watch,
    ) -> Result<Option<u32>, OverBudget> {
        let comes_first = |index: u32| found.is_none_or(|found| index < found);
        if !self.indices.first().is_some_and(|first| comes_first(*first)) {
            return Ok(found);
        }
        let is_short = self.machine.states().saturating_mul(text.len()) <= AT_ONCE;
        let matched = match &self.few {
            Some(few) if is_short => {
                let mut candidates =
                    self.indices.iter().zip(few).take_while(|(index, _)| comes_first(**index));
                candidates.find(|(_, regex)| regex.is_match(text)).map(|(index, _)| *index)
            }
            _ => self.machine.first(text, watch)?.map(|at| self.indices[at]),
        };
        Ok(matched.filter(|index| comes_first(*index)).or(found))
    }
}
