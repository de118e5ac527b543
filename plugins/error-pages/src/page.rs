//! What pages say: texts with the facts of an error in them.

/// What a page may tell. Nothing in it is the client's, so nothing has to be escaped.
pub(crate) struct Facts {
    pub(crate) status: u16,
    /// Of the request, as the access log has it.
    pub(crate) id: String,
}

pub(crate) const DEFAULT_PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n<title>{status} {reason}</title>\n\
    <h1>{reason}</h1>\n<p>Error {status}. If you report it, name this request: <code>{id}</code></p>\n</html>\n";

pub(crate) fn filled(text: &str, facts: &Facts) -> String {
    text.replace("{status}", &facts.status.to_string())
        .replace("{reason}", reason(facts.status))
        .replace("{id}", &facts.id)
}

/// RFC 9457; `about:blank` says that the status says it all (§4.2.1).
pub(crate) fn problem(facts: &Facts) -> String {
    let Facts { status, id } = facts;
    format!(r#"{{"type":"about:blank","title":"{}","status":{status},"id":"{id}"}}"#, reason(*status))
}

/// The registry of RFC 9110 §16.2.1, as far as servers use it.
fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        ..500 => "Request Error",
        _ => "Server Error",
    }
}
