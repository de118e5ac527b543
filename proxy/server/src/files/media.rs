//! The media type of a file, by its name (RFC 9110 §8.3).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use http::HeaderValue;

/// Bytes of which nothing is known. Browsers offer to save them, and do not guess.
const UNKNOWN: &str = "application/octet-stream";

/// `path` in the bytes of the file system. Text is taken to be UTF-8, as it is nearly everywhere; a file in
/// another encoding has to say so itself, or a policy has to.
pub(super) fn of(path: &[u8]) -> HeaderValue {
    let extension = Path::new(OsStr::from_bytes(path)).extension().and_then(OsStr::to_str);
    let kind = extension.and_then(|extension| mime_guess::from_ext(extension).first_raw()).unwrap_or(UNKNOWN);
    // RFC 9239 made this one obsolete, and the table has it for some endings still.
    let kind = if kind == "application/javascript" { "text/javascript" } else { kind };
    let known = HeaderValue::from_static(kind);
    match kind.starts_with("text/") {
        true => HeaderValue::try_from(format!("{kind}; charset=utf-8")).unwrap_or(known),
        false => known,
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_ending_tells() {
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
            assert_eq!(of(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(of(b"a.\xff"), "application/octet-stream");
    }
}
