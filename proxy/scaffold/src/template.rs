//! Fills in the templates: `templates/common`, and the folder of a language, which comes before it.
//!
//! In paths and texts `NAME` and `{{name}}` stand for the plugin's name, `{{…}}` for more in texts. A file that tools would take
//! for one of this repository's own ends in `.in` there; `gitignore.in` has no dot for the same reason.

use std::collections::BTreeMap;

use crate::embedded;
use crate::language::Language;
use crate::name::Name;
use crate::project::{File, Steps};

/// What is put into the README; no file of the project.
const ABOUT: &str = "about.in";

pub(crate) fn files(name: &Name, language: Language, steps: &Steps) -> Vec<File> {
    let folder = format!("proxy/scaffold/templates/{}", language.word());
    let mut templates = BTreeMap::new();
    if language != Language::Rust {
        templates.extend(
            embedded::below("proxy/scaffold/templates/wit").map(|(path, text)| (format!("wit/{path}"), text)),
        );
    }
    let common = embedded::below("proxy/scaffold/templates/common");
    templates.extend(common.chain(embedded::below(&folder)).map(|(path, text)| (path.to_owned(), text)));
    let about = templates.remove(ABOUT).unwrap_or_default();

    let name = name.to_string();
    let commands = commands(steps);
    let values = [
        // Has places of its own.
        ("about", about),
        ("commands", &commands),
        ("language", language.title()),
        ("build", &steps.build),
        ("version", env!("CARGO_PKG_VERSION")),
        ("name", &name),
    ];
    let fill =
        |(path, text): (String, &str)| File { path: path_of(&path, &name), text: filled(text, &values) };
    templates.into_iter().map(fill).collect()
}

fn path_of(template: &str, name: &str) -> String {
    let path = template.strip_suffix(".in").unwrap_or(template);
    match path {
        "gitignore" => ".gitignore".to_owned(),
        path => path.replace("NAME", name),
    }
}

fn filled(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value))
}

/// The lines of a block for a shell.
fn commands(steps: &Steps) -> String {
    let prepare = steps.prepare.iter().map(|prepare| format!("{prepare}   # once\n"));
    let rest = format!("{}\n{}\n{}", steps.build, steps.test, steps.install);
    prepare.collect::<String>() + &rest
}
