//! The media type of a file, by its name (RFC 9110 §8.3).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use http::HeaderValue;

/// Bytes of which nothing is known. Browsers offer to save them, and do not guess.
const UNKNOWN: &str = "application/octet-stream";

/// What an operator knows better.
#[derive(Debug, Clone, Default)]
pub(super) struct MediaTypes {
    /// By ending, in lower case.
    pub(super) known: HashMap<String, HeaderValue>,
    /// Of text.
    pub(super) charset: Option<String>,
}

impl MediaTypes {
    /// `path` in the bytes of the file system.
    pub(super) fn of(&self, path: &[u8]) -> HeaderValue {
        let extension = Path::new(OsStr::from_bytes(path)).extension().and_then(OsStr::to_str);
        let known = extension.filter(|_| !self.known.is_empty()).map(str::to_ascii_lowercase);
        let known = known.and_then(|extension| self.known.get(&extension)).cloned();
        known.unwrap_or_else(|| guess(extension, self.charset.as_deref()))
    }
}

fn guess(extension: Option<&str>, charset: Option<&str>) -> HeaderValue {
    let kind = extension.and_then(|extension| mime_guess::from_ext(extension).first_raw()).unwrap_or(UNKNOWN);
    // RFC 9239 made this one obsolete, and the table has it for some endings still.
    let kind = if kind == "application/javascript" { "text/javascript" } else { kind };
    let known = HeaderValue::from_static(kind);
    match charset.filter(|_| kind.starts_with("text/")) {
        Some(charset) => HeaderValue::try_from(format!("{kind}; charset={charset}")).unwrap_or(known),
        None => known,
    }
}

#[cfg(test)]
mod tests {
    use super::MediaTypes;

    #[test]
    fn the_ending_tells() {
        let types = MediaTypes { charset: Some("utf-8".to_owned()), ..MediaTypes::default() };
        for (path, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.c/app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("style.CSS", "text/css; charset=utf-8"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("data.json", "application/json"),
            ("site.webmanifest", "application/manifest+json"),
            ("logo.svg", "image/svg+xml"),
            ("photo.jpeg", "image/jpeg"),
            ("photo.webp", "image/webp"),
            ("photo.avif", "image/avif"),
            ("font.woff2", "font/woff2"),
            ("module.wasm", "application/wasm"),
            ("film.mp4", "video/mp4"),
            ("paper.pdf", "application/pdf"),
            ("archive.tar.gz", "application/gzip"),
            ("favicon.ico", "image/x-icon"),
            ("unknown.qqq", "application/octet-stream"),
            ("LICENSE", "application/octet-stream"),
            ("a.html/b", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(types.of(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(types.of(b"a.\xff"), "application/octet-stream");
    }
}
