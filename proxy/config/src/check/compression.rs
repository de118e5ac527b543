//! `[compression]`: from the file struct to [`Compression`].

use super::Report;
use crate::file::DEFAULT_LEVELS;
use crate::{Coding, Compression, Levels, MediaRange, file};

pub(super) fn check(compression: &file::Compression, report: &mut Report<'_>) {
    let levels = &compression.levels;
    for (coding, name, is_written) in [
        (Coding::Zstd, "zstd", levels.zstd.is_some()),
        (Coding::Br, "br", levels.br.is_some()),
        (Coding::Gzip, "gzip", levels.gzip.is_some()),
    ] {
        if is_written && !compression.codings.contains(&coding) {
            let path = format!("compression.levels.{name}");
            let message = format!("{path} is of no use, as compression.codings is without {name:?}");
            report.add(&path, message, format!("add {name:?} to the codings, or leave the level out"));
        }
    }
}

pub(super) fn convert(compression: file::Compression) -> Compression {
    let levels = compression.levels;
    Compression {
        codings: compression.codings,
        types: compression.types.into_iter().map(|text| range(text.0.0)).collect(),
        min_size: compression.min_size.0.0,
        levels: Levels {
            zstd: levels.zstd.unwrap_or(DEFAULT_LEVELS.zstd),
            br: levels.br.unwrap_or(DEFAULT_LEVELS.br),
            gzip: levels.gzip.unwrap_or(DEFAULT_LEVELS.gzip),
        },
        max_in_flight: compression.max_in_flight,
    }
}

fn range(written: String) -> MediaRange {
    match written.split_once('*') {
        Some((prefix, suffix)) => MediaRange::Any { prefix: prefix.to_owned(), suffix: suffix.to_owned() },
        None => MediaRange::Type(written),
    }
}
