//! What there is in the plugin directory: the files of each place of the chain.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tidegate_config::{PluginFile, Problem};

use crate::regular;

/// How the names of shadows end: `30-router.shadow.wasm` stands beside `30-router.wasm`.
pub(super) const SHADOW: &str = ".shadow";

/// A place of the chain as its files describe it.
pub(super) struct Files {
    pub(super) name: String,
    pub(super) wasm: Option<PathBuf>,
    pub(super) toml: Option<PathBuf>,
    /// `NAME.cases.toml`.
    pub(super) cases: Option<PathBuf>,
}

/// Every place of the chain, in the order of file names, and files that would be there had they another name. Hidden
/// files and other endings are left alone.
pub(super) fn list(directory: &Path) -> io::Result<(Vec<Files>, Vec<Problem>)> {
    let mut found: BTreeMap<String, Files> = BTreeMap::new();
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let (Some(stem), Some(ending)) = (path.file_stem(), path.extension()) else { continue };
        if stem.as_encoded_bytes().starts_with(b".") || (ending != "wasm" && ending != "toml") {
            continue;
        }
        let Some(name) = stem.to_str() else {
            problems.push(problem(&path, "its name is not UTF-8: rename it to have it loaded".to_owned()));
            continue;
        };
        let of_cases = name.strip_suffix(".cases").filter(|_| ending == "toml");
        let name = of_cases.unwrap_or(name);
        let place = found.entry(name.to_owned()).or_insert_with(|| Files {
            name: name.to_owned(),
            wasm: None,
            toml: None,
            cases: None,
        });
        let slot = match of_cases {
            Some(_) => &mut place.cases,
            None if ending == "wasm" => &mut place.wasm,
            None => &mut place.toml,
        };
        *slot = Some(path);
    }
    Ok((found.into_values().collect(), problems))
}

/// The `NAME.toml` of each place, read; empty where there is none.
pub(crate) fn settings(directory: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let (places, _) = list(directory)?;
    let texts = places.into_iter().filter_map(|place| match (place.toml, place.wasm) {
        (Some(file), _) => Some(regular::read_to_string(&file).map(|text| (file, text))),
        // A shadow without settings of its own has those of the policy that it shadows.
        (None, Some(code)) if !place.name.ends_with(SHADOW) => {
            Some(Ok((code.with_extension("toml"), String::new())))
        }
        (None, _) => None,
    });
    texts.collect()
}

/// The file that holds the code of a place: its own, or that of the plugin it links to.
pub(super) fn code_of(place: &Files, all: &[Files], file: &PluginFile) -> Result<PathBuf, Problem> {
    match (&place.wasm, &file.link) {
        (Some(_), Some(_)) => Err(file
            .positions
            .problem("link", format!("{}.wasm is here as well: remove one of them", place.name))),
        (Some(wasm), None) => Ok(wasm.clone()),
        (None, Some(target)) => {
            let linked = all.iter().find(|other| other.name == *target).and_then(|other| other.wasm.clone());
            linked.ok_or_else(|| {
                file.positions.problem("link", format!("there is no {target}.wasm in this directory"))
            })
        }
        (None, None) => {
            let path = place.toml.as_deref().or(place.cases.as_deref()).unwrap_or(Path::new(&place.name));
            Err(problem(path, format!("there is no {}.wasm beside it and it has no `link`", place.name)))
        }
    }
}

/// A problem of a file as a whole.
pub(super) fn problem(file: &Path, message: String) -> Problem {
    Problem { file: file.to_owned(), position: None, message, help: None }
}
