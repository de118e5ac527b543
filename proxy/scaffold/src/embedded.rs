//! What the build script took of the checkout.

/// Paths in the checkout, each with its text; sorted.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The text of one file.
pub(crate) fn file(path: &str) -> &'static str {
    let found = FILES.iter().find(|(name, _)| *name == path);
    found.unwrap_or_else(|| panic!("the build script takes {path}")).1
}

/// Every file below a folder, by its path in there.
pub(crate) fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(move |(path, text)| {
        let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
        Some((rest, *text))
    })
}
