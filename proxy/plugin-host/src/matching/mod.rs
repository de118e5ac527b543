//! Matchers: sets of patterns or addresses that are built once and asked many times.
//!
//! A plugin defines its matchers while it is configured. Its first instance decides which there
//! are; they are then frozen and every later instance, which must do the same, finds its own
//! definitions again and gets the same numbers.
//!
//! `patterns` sorts a list by what it takes to answer: `affixes` and `anywhere` are for many texts, `machine` for
//! regexes, `fold` for those that ignore case, `search` for where something stands in a body, and `pace` says when long work looks whether it may go on.

mod affixes;
mod anywhere;
mod fold;
mod ip_set;
mod machine;
mod pace;
mod paths;
mod patterns;
mod search;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use ip_set::IpSet;
pub(crate) use pace::{OverBudget, Unwatched, Watch};
pub use paths::PathPatterns;
pub(crate) use patterns::{Kind, Patterns};
pub(crate) use search::{Found, Search};

/// Matchers a plugin may define. Ten thousand rules need one for each and some more; one takes some kilobytes.
const MAX_MATCHERS: usize = 16_384;

/// All matchers of one plugin; a plugin names them by their position.
#[derive(Debug, Default, Clone)]
pub(crate) struct Matchers {
    list: Vec<Matcher>,
    ids: Arc<HashMap<Definition, u32>>,
}

/// Cloning is cheap, and gives the clone regex caches of its own: workers do not contend for them.
#[derive(Debug, Clone)]
enum Matcher {
    Ips(Arc<IpSet>),
    Patterns(Lists),
    /// Written for paths alone.
    Paths(Patterns),
    Search(Box<Search>),
}

/// One list of patterns, as it stands and as it is compared with paths.
#[derive(Debug, Clone)]
struct Lists {
    texts: Patterns,
    /// `None` where it is the same.
    paths: Option<Patterns>,
}

impl Lists {
    fn new(kind: Kind, patterns: &[String], ignore_case: bool) -> Result<Self, String> {
        let texts = Patterns::new(kind, patterns, ignore_case)?;
        let spelled = kind.spell_all(patterns)?;
        let paths = match spelled == patterns {
            true => None,
            false => Some(Patterns::new(kind, &spelled, ignore_case)?),
        };
        Ok(Self { texts, paths })
    }
}

/// What a plugin asked for, word by word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Definition {
    /// CIDR blocks or single addresses.
    Ips(Vec<String>),
    /// Texts of one kind.
    Patterns {
        /// How each is read.
        kind: Kind,
        /// In order of preference.
        patterns: Vec<String>,
        /// Whether upper and lower case are the same.
        ignore_case: bool,
    },
    /// The same for normalised paths, as people write them.
    PathPatterns {
        /// How each is read.
        kind: Kind,
        /// In order of preference.
        patterns: Vec<String>,
        /// Whether upper and lower case are the same.
        ignore_case: bool,
    },
    /// The same to be found in bodies.
    BodyPatterns {
        /// [`Kind::Contains`] or [`Kind::Regex`].
        kind: Kind,
        /// In order of preference.
        patterns: Vec<String>,
        /// Whether upper and lower case are the same.
        ignore_case: bool,
    },
}

/// Why there is no answer, and the call ends: one that says no would let pass what the policy is there to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The plugin names a matcher that it never got, or one of the other kind.
    #[error("{id} is no {kind} of this plugin")]
    Unknown {
        /// What it said.
        id: u32,
        /// What it should have been.
        kind: &'static str,
    },
    /// It would take longer than the call may.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

impl Matchers {
    /// The number of a matcher defined before.
    pub(crate) fn find(&self, definition: &Definition) -> Option<u32> {
        self.ids.get(definition).copied()
    }

    /// Builds a matcher, or finds it when it was defined before. The error is for the plugin's
    /// author and says which entry is wrong.
    pub(crate) fn define(&mut self, definition: Definition) -> Result<u32, String> {
        if let Some(id) = self.find(&definition) {
            return Ok(id);
        }
        if self.list.len() == MAX_MATCHERS {
            return Err(format!("more than {MAX_MATCHERS} matchers"));
        }
        let matcher = match &definition {
            Definition::Ips(entries) => Matcher::Ips(Arc::new(IpSet::new(entries)?)),
            Definition::Patterns { kind, patterns, ignore_case } => {
                Matcher::Patterns(Lists::new(*kind, patterns, *ignore_case)?)
            }
            Definition::PathPatterns { kind, patterns, ignore_case } => {
                Matcher::Paths(Patterns::new(*kind, &kind.for_paths(patterns)?, *ignore_case)?)
            }
            Definition::BodyPatterns { kind, patterns, ignore_case } => {
                Matcher::Search(Box::new(Search::new(*kind, patterns, *ignore_case)?))
            }
        };
        let id = u32::try_from(self.list.len()).expect("MAX_MATCHERS fits");
        self.list.push(matcher);
        Arc::make_mut(&mut self.ids).insert(definition, id);
        Ok(id)
    }

    pub(crate) fn ips(&self, id: u32) -> Result<&IpSet, Unanswered> {
        match self.get(id) {
            Some(Matcher::Ips(set)) => Ok(set),
            _ => Err(Unanswered::Unknown { id, kind: "set of addresses" }),
        }
    }

    /// To be compared with any text but a path.
    pub(crate) fn patterns(&self, id: u32) -> Result<&Patterns, Unanswered> {
        self.lists(id).map(|lists| &lists.texts)
    }

    /// To be compared with a normalised path.
    pub(crate) fn path_patterns(&self, id: u32) -> Result<&Patterns, Unanswered> {
        match self.get(id) {
            Some(Matcher::Paths(patterns)) => Ok(patterns),
            _ => self.lists(id).map(|lists| lists.paths.as_ref().unwrap_or(&lists.texts)),
        }
    }

    /// To be found in a body.
    pub(crate) fn search(&self, id: u32) -> Result<&Search, Unanswered> {
        match self.get(id) {
            Some(Matcher::Search(search)) => Ok(search),
            _ => Err(Unanswered::Unknown { id, kind: "list of patterns for bodies" }),
        }
    }

    fn lists(&self, id: u32) -> Result<&Lists, Unanswered> {
        match self.get(id) {
            Some(Matcher::Patterns(lists)) => Ok(lists),
            _ => Err(Unanswered::Unknown { id, kind: "list of patterns" }),
        }
    }

    fn get(&self, id: u32) -> Option<&Matcher> {
        self.list.get(usize::try_from(id).ok()?)
    }
}
