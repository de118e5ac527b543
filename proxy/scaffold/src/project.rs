//! A project: what is written, and how it is built, tried and installed.

use crate::declarations::declarations;
use crate::embedded;
use crate::language::Language;
use crate::name::Name;
use crate::sdk;
use crate::template;

/// Everything for one plugin in one language.
#[derive(Debug)]
pub struct Project {
    /// In the order of their paths.
    pub files: Vec<File>,
    /// What to do next.
    pub steps: Steps,
}

/// One file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Below the project's folder, with `/` between its parts.
    pub path: String,
    /// UTF-8.
    pub text: String,
}

/// Commands for a shell in the project's folder.
#[derive(Debug)]
pub struct Steps {
    /// Once on a machine, before the first build; `None` where the build brings what it needs.
    pub prepare: Option<String>,
    /// Makes the `.wasm`.
    pub build: String,
    /// Tries it against its cases.
    pub test: String,
    /// Puts it into the plugin directory.
    pub install: String,
}

impl Project {
    /// Makes one.
    #[must_use]
    pub fn new(name: &Name, language: Language) -> Self {
        let steps = Steps::of(name, language);
        let mut files = template::files(name, language, &steps);
        let mut add = |path: &str, text: String| files.push(File { path: path.to_owned(), text });
        match language {
            Language::Rust => sdk::files().into_iter().for_each(|(path, text)| add(&path, text)),
            // `wkg` makes `wit/deps` anew.
            Language::Go => add("tidegate/policy.wit", embedded::file(CONTRACT).to_owned()),
            _ => add("wit/deps/tidegate/policy.wit", embedded::file(CONTRACT).to_owned()),
        }
        if matches!(language, Language::JavaScript | Language::TypeScript) {
            add("tidegate.d.ts", declarations(embedded::file(CONTRACT)));
        }
        files.sort();
        Self { files, steps }
    }
}

impl Steps {
    fn of(name: &Name, language: Language) -> Self {
        let (prepare, build) = match language {
            Language::Rust => (
                Some("rustup target add wasm32-unknown-unknown"),
                "cargo build --release --target wasm32-unknown-unknown".to_owned(),
            ),
            Language::JavaScript | Language::TypeScript => (Some("npm install"), "npm run build".to_owned()),
            Language::Python => (
                Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"),
                format!(".venv/bin/componentize-py -d wit -w plugin componentize -p . app -o {name}.wasm"),
            ),
            Language::C | Language::Go => (None, "make".to_owned()),
        };
        let built = match language {
            Language::Rust => format!("target/wasm32-unknown-unknown/release/{}.wasm", name.snake()),
            _ => format!("{name}.wasm"),
        };
        let beside = match language {
            Language::Rust => format!(" {name}.cases.toml --settings {name}.toml"),
            _ => String::new(),
        };
        // The settings first: without them the code would be refused for a moment.
        let install = match language {
            Language::Rust => {
                format!("cp {name}.toml {name}.cases.toml {DIRECTORY} && cp {built} {DIRECTORY}{name}.wasm")
            }
            _ => format!("cp {name}.toml {name}.cases.toml {built} {DIRECTORY}"),
        };
        Self {
            prepare: prepare.map(str::to_owned),
            build,
            test: format!("tidegate plugin test {built}{beside}"),
            install,
        }
    }
}

const CONTRACT: &str = "wit/policy.wit";

/// Where plugins of an installed proxy are as a rule.
const DIRECTORY: &str = "/etc/tidegate/plugins/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_project_is_complete_and_filled_in() {
        let name = Name::parse("close-paths").expect("a name");
        for language in Language::ALL {
            let project = Project::new(&name, language);
            let paths: Vec<_> = project.files.iter().map(|file| file.path.as_str()).collect();
            for expected in ["README.md", ".gitignore", "close-paths.toml", "close-paths.cases.toml"] {
                assert!(paths.contains(&expected), "{language:?}: {paths:?}");
            }
            let mut unique = paths.clone();
            unique.dedup();
            assert_eq!(unique, paths, "{language:?}");
            for file in &project.files {
                let own = !file.path.starts_with("sdk/");
                assert!(!own || !file.text.contains("{{"), "{language:?}: {}: {}", file.path, file.text);
                assert!(!file.path.ends_with(".in") && !file.path.contains("NAME"), "{}", file.path);
            }
        }
    }
}
