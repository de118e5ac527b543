//! `[files.NAME]`: from the file struct to [`Files`].

use std::path::Path;

use super::{Report, path};
use crate::{CacheControl, Files, Positions, file};

/// `name` is that of the file root: upstreams and file roots share one set of names, as policies route to
/// either.
pub(super) fn check(name: &str, content: &file::Config, report: &mut Report<'_>) {
    if let Some(files) = content.files.get(name) {
        media_types(name, files, report);
    }
    if content.upstream.contains_key(name) {
        // The one further down in the file is the one to complain about.
        let [root, upstream] = ["files", "upstream"].map(|table| format!("{table}.{name}"));
        let last =
            if report.positions.place(&root) > report.positions.place(&upstream) { root } else { upstream };
        report.add(
            &last,
            format!("{name:?} is the name of an upstream and of a file root"),
            "requests are routed to either by name: rename one",
        );
    }
}

fn media_types(name: &str, files: &file::Files, report: &mut Report<'_>) {
    if files.fallback_for == file::FallbackFor::All && files.fallback.is_none() {
        let at = format!("files.{name}.fallback-for");
        report.add(&at, format!("{at} is of no use without fallback"), "add fallback = \"index.html\"");
    }
    for (ending, kind) in &files.media_types {
        let bare = kind.0.0.split(';').next().unwrap_or_default();
        let token = |text: &str| !text.is_empty() && !text.contains([' ', '/', ',']);
        if !bare.trim_end().split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype)) {
            let at = format!("files.{name}.media-types.{}", Positions::segment(ending));
            let message = format!("{at}: {:?} is not a media type", kind.0.0);
            report.add(
                &at,
                message,
                "write it as in \"application/geo+json\" or \"text/plain; charset=utf-8\"",
            );
        }
    }
    for ending in files.media_types.keys() {
        let at = format!("files.{name}.media-types.{}", Positions::segment(ending));
        let bare = ending.trim_start_matches('.');
        if bare.is_empty() || bare.contains(['.', '/']) || bare != ending {
            let message = format!("{at}: {ending:?} is not the ending of a name");
            let bare = bare.rsplit(['.', '/']).next().filter(|last| !last.is_empty()).unwrap_or("txt");
            report.add(&at, message, format!("write what follows the last dot, as in {bare:?}"));
        }
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
        fallback_for_all: files.fallback_for == file::FallbackFor::All,
        not_found: files.not_found.map(|path| path.0.0),
        media_types: files
            .media_types
            .into_iter()
            .map(|(ending, kind)| (ending.to_ascii_lowercase(), kind.0.0))
            .collect(),
        charset: Some(files.charset.0.0).filter(|charset| charset != "none"),
        cache_control: files.cache_control.into_iter().map(entry).collect(),
        precompressed: files.precompressed,
        follow_symlinks: files.follow_symlinks,
        compression: files.compression,
    }
}
