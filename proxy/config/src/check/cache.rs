//! `[cache.NAME]`: from the file struct to [`Cache`].

use std::path::{Path, PathBuf};

use super::{Report, path};
use crate::{Cache, CacheDisk, Positions, file, suggest};

pub(super) fn check(content: &file::Config, directory: &Path, report: &mut Report<'_>) {
    let mut taken: Vec<(PathBuf, &String)> = Vec::new();
    for (name, cache) in &content.cache {
        let at = format!("cache.{}", Positions::segment(name));
        match (&cache.disk, &cache.path) {
            (Some(_), None) => report.add(
                &format!("{at}.disk"),
                format!("cache.{name}.disk: it is not said where"),
                "add path = \"/var/cache/tidegate/NAME\", a directory of the cache's own",
            ),
            (None, Some(_)) => report.add(
                &format!("{at}.path"),
                format!("cache.{name}.path is of no use without disk"),
                "add disk = \"10GiB\", or leave path out",
            ),
            _ => {}
        }
        if let Some(written) = &cache.path {
            let place = directory.join(&written.0.0);
            match taken.iter().find(|(other, _)| *other == place) {
                Some((_, other)) => report.add(
                    &format!("{at}.path"),
                    format!("cache.{name}.path is that of cache.{other}"),
                    "give each cache a directory of its own",
                ),
                None => taken.push((place, name)),
            }
        }
        for (index, cookie) in cache.key.cookies.iter().enumerate() {
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if cookie.is_empty() || !cookie.chars().all(token) {
                report.add(
                    &format!("{at}.key.cookies[{index}]"),
                    format!("cache.{name}.key.cookies: {cookie:?} is not the name of a cookie"),
                    "write it as in \"language\"",
                );
            }
        }
        for (index, header) in cache.key.without_headers.iter().enumerate() {
            if header.0.0.contains('*') {
                report.add(
                    &format!("{at}.key.without-headers[{index}]"),
                    format!("cache.{name}.key.without-headers: {:?} names no field", header.0.0),
                    "names are written one by one",
                );
            }
        }
        for (index, header) in cache.key.headers.iter().enumerate() {
            if header.0.0.eq_ignore_ascii_case("host") || header.0.0.contains('*') {
                report.add(
                    &format!("{at}.key.headers[{index}]"),
                    format!("cache.{name}.key.headers: {:?} tells nothing apart", header.0.0),
                    "the host is part of the key already; other names are written one by one",
                );
            }
        }
    }
}

/// The cache with the name that stands at `path` must be there.
pub(super) fn known(path: &str, name: &str, content: &file::Config, report: &mut Report<'_>) {
    if content.cache.contains_key(name) {
        return;
    }
    let known = content.cache.keys().map(String::as_str);
    let help = match suggest::nearest(name, known.clone()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if content.cache.is_empty() => format!("add [cache.{name}]; it may be empty"),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    report.add(path, format!("{path}: there is no cache {name:?}"), help);
}

pub(super) fn convert(cache: file::Cache, directory: &Path) -> Cache {
    let disk = cache.disk.zip(cache.path);
    Cache {
        memory: cache.memory.0.0,
        disk: disk.map(|(space, place)| CacheDisk { path: path(directory, place), space: space.0.0 }),
        max_object: cache.max_object.0.0,
        max_variants: cache.max_variants,
        key_headers: cache.key.headers.into_iter().map(|name| name.0.0.to_ascii_lowercase()).collect(),
        key_cookies: cache.key.cookies,
        key_without: cache
            .key
            .without_headers
            .into_iter()
            .map(|name| name.0.0.to_ascii_lowercase())
            .collect(),
        default_lifetime: cache.default_lifetime.0,
        heuristic_lifetime: cache.heuristic_lifetime.0,
        stale_while_revalidate: cache.stale_while_revalidate.0,
        stale_if_error: cache.stale_if_error.0,
        set_cookie: cache.set_cookie,
        client_directives: cache.client_directives,
        max_wait: cache.max_wait.0,
        max_revalidations: cache.max_revalidations,
        status_field: cache.status_field,
    }
}
