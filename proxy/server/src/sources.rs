//! `tidegate.toml` with the files that it includes.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_config::{Admin, Config, Problem, Source};

use crate::regular;

/// More files are most likely not meant.
const MOST: usize = 256;

/// The texts as they are now.
pub(crate) struct Sources {
    /// The first includes the others.
    texts: Vec<(PathBuf, String)>,
    /// What it says of them.
    patterns: Vec<PathBuf>,
}

impl Sources {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// One cannot be read, or there are too many.
    pub(crate) fn read(file: &Path) -> Result<Self, Vec<Problem>> {
        let problem = |path: &Path, message: String, help: Option<&str>| {
            let help = help.map(str::to_owned);
            vec![Problem { file: path.to_owned(), position: None, message, help }]
        };
        let main = regular::read_to_string(file).map_err(|error| {
            problem(
                file,
                format!("cannot read it: {error}"),
                Some("name the configuration with --config FILE"),
            )
        })?;
        let patterns = tidegate_config::includes(&main, file);
        let others = expanded(&patterns);
        if others.len() > MOST {
            let message = format!("include: {} files, and at most {MOST} are read", others.len());
            return Err(problem(file, message, Some("name fewer, or a folder of their own")));
        }
        let mut texts = vec![(file.to_owned(), main)];
        for other in others {
            let text = regular::read_to_string(&other).map_err(|error| {
                problem(&other, format!("cannot read it, and it is included: {error}"), None)
            })?;
            texts.push((other, text));
        }
        Ok(Self { texts, patterns })
    }

    /// What they say together.
    ///
    /// # Errors
    ///
    /// All that is wrong with them.
    pub(crate) fn parse(&self) -> Result<Config, Vec<Problem>> {
        tidegate_config::parse_all(&self.all()).map_err(|problems| problems.0)
    }

    /// What they say of the admin interface, whatever else is wrong with them.
    pub(crate) fn admin(&self) -> Option<Admin> {
        tidegate_config::admin(&self.all())
    }

    /// They as one text with every key in effect.
    ///
    /// # Errors
    ///
    /// What is wrong with single keys.
    pub(crate) fn explain_defaults(&self) -> Result<String, Vec<Problem>> {
        tidegate_config::explain_defaults(&self.all()).map_err(|problems| problems.0)
    }

    /// The first is the one that names the others.
    pub(crate) fn into_files(self) -> Vec<PathBuf> {
        self.texts.into_iter().map(|(file, _)| file).collect()
    }

    fn all(&self) -> Vec<Source<'_>> {
        self.texts.iter().map(|(file, text)| Source { text, file }).collect()
    }

    /// For [`expanded`].
    pub(crate) fn into_patterns(self) -> Vec<PathBuf> {
        self.patterns
    }
}

/// The configuration of a file.
///
/// # Errors
///
/// All that is wrong with it and the files that it includes.
pub(crate) fn config(file: &Path) -> Result<Config, Vec<Problem>> {
    Sources::read(file)?.parse()
}

/// The files that patterns stand for, each once: a name itself, whether or not there is such a file, and of a name with `*` all that
/// fit.
pub(crate) fn expanded(patterns: &[PathBuf]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut found = if name.contains('*') { fitting(pattern, name) } else { vec![pattern.clone()] };
        found.sort_unstable();
        found.retain(|file| !files.contains(file));
        files.append(&mut found);
    }
    files
}

fn fitting(pattern: &Path, name: &str) -> Vec<PathBuf> {
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|found| !found.starts_with('.') && fits(found, name));
    names.map(|found| pattern.with_file_name(found)).collect()
}

/// Whether a name is as the pattern, in which `*` stands for anything.
fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (name, pattern) in [("a.toml", "*.toml"), ("a.toml", "a*"), ("ab", "a*b*"), ("abcbd", "a*b*d")] {
            assert!(fits(name, pattern), "{name} {pattern}");
        }
        for (name, pattern) in
            [("a.toml~", "*.toml"), ("ba", "a*"), ("a", "a*a"), ("abc", "a*bd"), ("a", "b")]
        {
            assert!(!fits(name, pattern), "{name} {pattern}");
        }
    }

    #[test]
    fn files_come_in_order_and_once() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.toml", "a.toml", ".c.toml", "d.toml~"] {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        let path = |name: &str| folder.path().join(name);
        let found = expanded(&[path("b.toml"), path("*.toml"), path("missing.toml")]);
        assert_eq!(found, [path("b.toml"), path("a.toml"), path("missing.toml")]);
    }
}
