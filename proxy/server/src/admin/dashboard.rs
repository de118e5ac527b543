//! A page for people: files in the binary, which ask for nothing elsewhere.

/// The media type and the content of a file.
pub(super) fn file(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "" => ("text/html; charset=utf-8", include_str!("dashboard/index.html")),
        "app.js" => ("text/javascript; charset=utf-8", include_str!("dashboard/app.js")),
        "style.css" => ("text/css; charset=utf-8", include_str!("dashboard/style.css")),
        _ => return None,
    })
}
