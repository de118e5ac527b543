//! What pages say: texts with the facts of an error in them.

use tidegate_plugin_sdk::statuses::reason;

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
