//! Where a secret is: in a file or in the environment.

use std::path::Path;

use super::{Report, path};
use crate::{Secret, file};

/// One of both, at `at`.
pub(super) fn check(at: &str, secret: &file::Secret, report: &mut Report<'_>) {
    match (&secret.file, &secret.env) {
        (Some(_), Some(_)) => report.add(
            &format!("{at}.env"),
            format!("{at}: env cannot stand beside file"),
            "leave one of them out",
        ),
        (None, None) => report.add(
            at,
            format!("{at} does not say where the secret is"),
            "add file = \"FILE\" or env = \"NAME\"",
        ),
        _ => {}
    }
}

/// `None` where the check has something to say.
pub(super) fn convert(secret: file::Secret, directory: &Path) -> Option<Secret> {
    match (secret.file, secret.env) {
        (Some(file), None) => Some(Secret::File(path(directory, file))),
        (None, Some(variable)) => Some(Secret::Env(variable.0.0)),
        _ => None,
    }
}
