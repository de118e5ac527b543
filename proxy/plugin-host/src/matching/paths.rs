//! Globs over paths for settings of the proxy itself, read as those of a policy.

use super::{Kind, Patterns, Unwatched};

/// A list of globs over paths, as in the `match` of a plugin: `*` within a segment, `**` across segments.
#[derive(Debug, Clone)]
pub struct PathPatterns(Patterns);

impl PathPatterns {
    /// Globs in the order in which they count.
    ///
    /// # Errors
    ///
    /// They are too many or too large together. The text is for the operator.
    pub fn new(globs: &[String]) -> Result<Self, String> {
        Patterns::new(Kind::Glob, globs, false).map(Self)
    }

    /// Index of the first glob that matches the whole path.
    pub fn first_match(&self, path: &str) -> Option<usize> {
        usize::try_from(self.0.first_match(path, &Unwatched).ok()??).ok()
    }
}
