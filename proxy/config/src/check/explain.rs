//! `[explain]`: from the file struct to [`Explain`].

use std::path::Path;

use super::{Report, path};
use crate::{Explain, file};

/// Who somebody is, and what proves it.
const ALWAYS_HIDDEN: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

pub(super) fn check(content: &file::Config, report: &mut Report<'_>) {
    let Some(explain) = &content.explain else { return };
    if content.admin.is_none() {
        let message = "[explain] keeps requests for the admin interface, which is off";
        report.add("explain", message, "add [admin], or leave it out");
    }
    if explain.share == 0 && explain.key_file.is_none() {
        let message = "[explain] is about no requests";
        report.add("explain", message, "set share, or key-file, or leave it out");
    }
}

pub(super) fn convert(explain: file::Explain, directory: &Path) -> Explain {
    let hide = explain.hide.into_iter().map(|name| name.0.0);
    Explain {
        share: explain.share,
        key_file: explain.key_file.map(|file| path(directory, file)),
        keep: explain.keep,
        hide: ALWAYS_HIDDEN.map(str::to_owned).into_iter().chain(hide).collect(),
    }
}
