//! `[files.NAME]`: from the file struct to [`Files`].

use std::path::Path;

use super::{Report, path};
use crate::{CacheControl, Files, file};

/// `name` is that of the file root: upstreams and file roots share one set of names, as policies route to
/// either.
pub(super) fn check(name: &str, content: &file::Config, report: &mut Report<'_>) {
    if content.upstream.contains_key(name) {
        // The one further down in the file is the one to complain about.
        let [root, upstream] = ["files", "upstream"].map(|table| format!("{table}.{name}"));
        let last = if report.positions.at(&root) > report.positions.at(&upstream) { root } else { upstream };
        report.add(
            &last,
            format!("{name:?} is the name of an upstream and of a file root"),
            "requests are routed to either by name: rename one",
        );
    }
}

pub(super) fn convert(files: file::Files, directory: &Path) -> Files {
    let entry = |entry: file::CacheControl| CacheControl {
        paths: entry.paths.into_iter().map(|path| path.0.0).collect(),
        value: entry.value.0.0,
    };
    Files {
        root: path(directory, files.root),
        index: files.index.into_iter().map(|name| name.0.0).collect(),
        fallback: files.fallback.map(|path| path.0.0),
        cache_control: files.cache_control.into_iter().map(entry).collect(),
        precompressed: files.precompressed,
        follow_symlinks: files.follow_symlinks,
        compression: files.compression,
    }
}
