//! A list of patterns that answers with the first one that matches a text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// Patterns of one list.
const MAX_PATTERNS: usize = 10_000;
/// All patterns of one list together, bytes.
const MAX_TEXT: usize = 1 << 20;
/// Up to this many texts are compared one by one: quicker than hashing or a regex.
const FEW: usize = 8;
/// Bounds what a compiled list of regexes may occupy, and with it the time to compile it. Ten
/// thousand globs of ordinary length fit.
const REGEX_SIZE: usize = 16 << 20;
/// Cache a regex may fill while it runs, per worker.
const REGEX_CACHE: usize = 2 << 20;

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

/// Sorted by what it takes to answer: most lists are only texts to compare with.
#[derive(Debug, Clone)]
pub(crate) struct Patterns {
    ignore_case: bool,
    /// Index by whole text.
    exact: Arc<Texts>,
    /// Index by the path at the top of a subtree (`/api/**` is `/api`).
    subtrees: Arc<Texts>,
    /// Index and text, ascending by index.
    parts: Arc<[(u32, Part)]>,
    regexes: Regexes,
}

impl Patterns {
    /// Builds the list. The error says which pattern is wrong, beginning with its index.
    pub(crate) fn new(kind: Kind, patterns: &[String], ignore_case: bool) -> Result<Self, String> {
        if patterns.len() > MAX_PATTERNS || patterns.iter().map(String::len).sum::<usize>() > MAX_TEXT {
            return Err(format!("more than {MAX_PATTERNS} patterns or {MAX_TEXT} bytes in one list"));
        }
        let mut exact = Vec::new();
        let mut subtrees = Vec::new();
        let mut parts = Vec::new();
        let mut sources = Vec::new();
        for (index, pattern) in (0..).zip(patterns) {
            let shape = Shape::of(kind, pattern);
            let fold = |text: &str| if ignore_case { fold(text).into_owned() } else { text.to_owned() };
            match shape {
                Shape::Exact(text) => exact.push((fold(text), index)),
                Shape::Subtree(top) => subtrees.push((fold(top), index)),
                Shape::Prefix(text) => parts.push((index, Part::Prefix(fold(text)))),
                Shape::Suffix(text) => parts.push((index, Part::Suffix(fold(text)))),
                Shape::Contains(text) => parts.push((index, Part::Contains(fold(text)))),
                Shape::Regex(source) => sources.push((index, source)),
            }
        }
        // Many parts are found faster together, in one pass over the text. It is folded by then.
        if parts.len() > FEW {
            sources.extend(parts.drain(..).map(|(index, part)| (index, part.to_regex())));
            sources.sort_unstable_by_key(|(index, _)| *index);
        }
        Ok(Self {
            ignore_case,
            exact: Arc::new(Texts::new(exact)),
            subtrees: Arc::new(Texts::new(subtrees)),
            parts: parts.into(),
            regexes: Regexes::new(&sources, ignore_case)?,
        })
    }

    /// Index of the first pattern that matches.
    pub(crate) fn first_match(&self, text: &str) -> Option<u32> {
        let text = if self.ignore_case { fold(text) } else { Cow::Borrowed(text) };
        let text = text.as_ref();
        let exact = self.exact.get(text);
        let subtree = self.subtrees.get_above(text);
        let part = self.parts.iter().find(|(_, part)| part.matches(text)).map(|(index, _)| *index);
        let found = [exact, subtree, part].into_iter().flatten().min();
        self.regexes.first_before(text, found)
    }
}

/// Lower case, without copying what is lower-case ASCII already.
fn fold(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        Cow::Owned(text.to_lowercase())
    } else if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
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

/// Part of a text.
#[derive(Debug)]
enum Part {
    Prefix(String),
    Suffix(String),
    Contains(String),
}

impl Part {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Prefix(part) => text.starts_with(part.as_str()),
            Self::Suffix(part) => text.ends_with(part.as_str()),
            Self::Contains(part) => text.contains(part.as_str()),
        }
    }

    fn to_regex(&self) -> String {
        match self {
            Self::Prefix(part) => format!(r"\A{}", regex::escape(part)),
            Self::Suffix(part) => format!(r"{}\z", regex::escape(part)),
            Self::Contains(part) => regex::escape(part),
        }
    }
}

/// Whole texts and their index; of equal texts the first counts.
#[derive(Debug)]
enum Texts {
    Few(Vec<(String, u32)>),
    Many(HashMap<String, u32>),
}

impl Texts {
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

    /// The first index whose text is the path or one of the paths above it.
    fn get_above(&self, path: &str) -> Option<u32> {
        match self {
            Self::Few(tops) => {
                let covers = |top: &str| {
                    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                tops.iter().find(|(top, _)| covers(top)).map(|(_, index)| *index)
            }
            Self::Many(tops) => {
                let above = path.match_indices('/').map(|(slash, _)| &path[..slash]);
                above.chain([path]).filter_map(|top| tops.get(top).copied()).min()
            }
        }
    }
}

/// Regexes and the index of each, ascending.
#[derive(Debug, Clone)]
enum Regexes {
    /// Tried in order: stops at the first match and allocates nothing.
    Few(Vec<(u32, Regex)>),
    /// All in one pass over the text.
    Many(RegexSet, Arc<[u32]>),
}

impl Regexes {
    fn new(sources: &[(u32, String)], ignore_case: bool) -> Result<Self, String> {
        if sources.len() > FEW {
            let built = RegexSetBuilder::new(sources.iter().map(|(_, source)| source))
                .case_insensitive(ignore_case)
                .size_limit(REGEX_SIZE)
                .dfa_size_limit(REGEX_CACHE)
                .build();
            return match built {
                Ok(set) => Ok(Self::Many(set, sources.iter().map(|(index, _)| *index).collect())),
                // The set does not say which of them is wrong; alone they do.
                Err(error) => Err(Self::compile(sources, ignore_case)
                    .err()
                    .unwrap_or_else(|| format!("together too large: {error}"))),
            };
        }
        Ok(Self::Few(Self::compile(sources, ignore_case)?))
    }

    fn compile(sources: &[(u32, String)], ignore_case: bool) -> Result<Vec<(u32, Regex)>, String> {
        let compile = |(index, source): &(u32, String)| {
            RegexBuilder::new(source)
                .case_insensitive(ignore_case)
                .size_limit(REGEX_SIZE / FEW)
                .dfa_size_limit(REGEX_CACHE)
                .build()
                .map(|regex| (*index, regex))
                .map_err(|error| format!("[{index}]: {error}"))
        };
        sources.iter().map(compile).collect()
    }

    /// The first match, if it comes before the one found by other means; otherwise that one.
    fn first_before(&self, text: &str, found: Option<u32>) -> Option<u32> {
        let comes_first = |index: u32| found.is_none_or(|found| index < found);
        let matched = match self {
            Self::Few(regexes) => {
                let mut candidates = regexes.iter().take_while(|(index, _)| comes_first(*index));
                candidates.find(|(_, regex)| regex.is_match(text)).map(|(index, _)| *index)
            }
            Self::Many(set, indices) => {
                let worth_it = indices.first().is_some_and(|first| comes_first(*first));
                let first = if worth_it { set.matches(text).iter().next() } else { None };
                first.map(|at| indices[at]).filter(|index| comes_first(*index))
            }
        };
        matched.or(found)
    }
}
