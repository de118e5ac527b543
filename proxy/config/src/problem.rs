//! What is wrong with a file, and where: one line per problem, in a form editors can jump to.

use std::fmt;
use std::path::PathBuf;

/// A place in a text; both counts start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Lines end with `\n`.
    pub line: usize,
    /// In characters (Unicode scalar values), not bytes.
    pub column: usize,
}

/// One problem of a file. Shown as `file:line:column: message; help`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// As the caller named it; empty when there is no file, and then left out of the message.
    pub file: PathBuf,
    /// `None` when the problem is the absence of something.
    pub position: Option<Position>,
    /// What is wrong; one line.
    pub message: String,
    /// What to write instead; one line.
    pub help: Option<String>,
}

impl Problem {
    /// The same problem with a hint what to write instead.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_os_str().is_empty() {
            write!(f, "{}:", self.file.display())?;
            if let Some(Position { line, column }) = self.position {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Every problem of a file, in the order of its text; shown one per line. Never empty when it comes
/// out of this crate as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// In the order of the texts, of which these are the files; those without a place come first.
    pub(crate) fn sorted(mut self, files: &[PathBuf]) -> Self {
        let index = |problem: &Problem| files.iter().position(|file| *file == problem.file);
        self.0.sort_by_key(|problem| (index(problem), problem.position));
        self
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
