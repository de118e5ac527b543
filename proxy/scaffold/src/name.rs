//! What a plugin can be called: its folder, its files, and its package in every language.

use std::fmt;

use thiserror::Error;

/// Lower-case words of letters and digits with hyphens between them, the first character a letter; at most 64 characters.
/// Less than the proxy takes as a file name: it is the name of a package, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// No [`Name`].
#[derive(Debug, Error)]
pub enum BadName {
    /// It has characters that a name may not have, or has them where it may not.
    #[error(
        "{0:?} is not a name for a plugin: lower-case letters, digits, and single hyphens between them, a letter first{1}"
    )]
    Form(String, Suggestion),
    /// It is longer than [`LONGEST`].
    #[error("the name has {0} characters, and may have {LONGEST}")]
    TooLong(usize),
    /// A crate of this name could not be built.
    #[error("{0:?} is the name of a crate that a plugin has already: choose another, such as \"my-{0}\"")]
    Taken(String),
}

/// A name that would do, if there is one nearby.
#[derive(Debug)]
pub struct Suggestion(Option<Name>);

/// In characters.
const LONGEST: usize = 64;
/// Crates that the compiler brings, and those of the SDK.
const TAKEN: [&str; 7] =
    ["alloc", "core", "proc-macro", "std", "test", "tidegate-plugin-sdk", "tidegate-plugin-sdk-macros"];

impl Name {
    /// Takes a text that is a name as it stands.
    ///
    /// # Errors
    ///
    /// When it is none; the message says what would be.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if !has_form(text) {
            return Err(BadName::Form(text.to_owned(), Suggestion(near(text))));
        }
        match text.len() {
            length if length > LONGEST => Err(BadName::TooLong(length)),
            _ if TAKEN.contains(&text) => Err(BadName::Taken(text.to_owned())),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// With underscores, as the Rust compiler names what it makes.
    pub(crate) fn snake(&self) -> String {
        self.0.replace('-', "_")
    }
}

fn has_form(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.split('-').all(is_word)
}

/// The words of a text, less the number that gives a place in the chain and the ending of a file.
fn near(text: &str) -> Option<Name> {
    let text = text.strip_suffix(".wasm").unwrap_or(text).to_ascii_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<_> = words.skip_while(|word| word.starts_with(|c: char| c.is_ascii_digit())).collect();
    let name = words.join("-");
    let fits = has_form(&name) && name.len() <= LONGEST && !TAKEN.contains(&name.as_str());
    fits.then_some(Name(name))
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "; write \"{name}\""),
            None => f.write_str(", as in \"close-paths\""),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_packages_in_every_language() {
        for name in ["a", "close-paths", "v2", "oauth2-login", &"a".repeat(64)] {
            assert_eq!(Name::parse(name).expect("a name").to_string(), name);
        }
        for (text, said) in [
            ("10-access", "write \"access\""),
            ("Close_Paths", "write \"close-paths\""),
            ("a--b", "write \"a-b\""),
            ("teapot.wasm", "write \"teapot\""),
            ("../x", "write \"x\""),
            ("", "as in \"close-paths\""),
            ("é", "as in \"close-paths\""),
            ("std", "such as \"my-std\""),
            ("tidegate-plugin-sdk", "such as"),
            (&"a".repeat(65), "has 65 characters"),
        ] {
            let error = Name::parse(text).expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
