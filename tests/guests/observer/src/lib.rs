//! Tells what a policy sees of an exchange and which edits it may make.
//!
//! `/facts` is answered with what the request looks like, `/edits` with what became of a list of edits.
//! Other requests get their `x-raw` field back, in both directions.

use serde_json::{Value, json};
use tidegate_plugin_sdk::prelude::*;

struct Observer;

#[policy]
impl Policy for Observer {
    type Config = ();

    fn configure((): ()) -> Result<Self, Error> {
        Ok(Self)
    }

    fn on_request(&self, request: &Request) -> Verdict {
        match request.normalized_path().as_str() {
            "/facts" => answer(request, &facts(request)),
            "/edits" => answer(request, &edits(request)),
            _ => {
                // A field that is not text is invisible as text and whole as bytes.
                let is_text = request.header("x-raw").is_some();
                let copied = request.header_values("x-raw").iter().try_for_each(|value| {
                    let mut copy = value.clone();
                    copy.push(b'!');
                    request.append_header("x-copy", copy)
                });
                let told = copied.and_then(|()| request.set_header("x-raw-is-text", is_text.to_string()));
                if told.is_ok() { Verdict::Next } else { Verdict::Fail }
            }
        }
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        let seen = [
            ("x-saw-status", response.status().to_string()),
            ("x-saw-origin", response.origin().unwrap_or_default()),
            ("x-saw-failure", response.failure().unwrap_or_default()),
            ("x-saw-elapsed", response.elapsed().as_micros().to_string()),
        ];
        let told = seen.into_iter().try_for_each(|(name, value)| response.set_header(name, value));
        let copied = request
            .header_values("x-copy")
            .iter()
            .try_for_each(|value| response.append_header("x-copy", value));
        if told.and(copied).is_ok() { Verdict::Next } else { Verdict::Fail }
    }
}

fn answer(request: &Request, value: &Value) -> Verdict {
    request.respond(Reply::new(200).header("content-type", "application/json").body(value.to_string()))
}

fn facts(request: &Request) -> Value {
    json!({
        "id": request.id(),
        "listener": request.listener(),
        "client": request.client_ip().to_string(),
        "client-text": request.client_ip_text(),
        "peer": request.peer_address(),
        "tls": request.tls_version().map(|version| json!({ "version": version, "verified": request.client_verified() })),
        "server-name": request.server_name(),
        "certificate": request.client_certificate_sha256().map(|hash| hash.len()),
        "names": request.client_certificate_names(),
        "version": format!("{:?}", request.version()),
        "method": request.method(),
        "method-is-get": request.method_is("GET"),
        "scheme": request.scheme(),
        "authority": request.authority(),
        "path": request.path(),
        "normalized-path": request.normalized_path(),
        "query": request.query(),
        "content-length": request.content_length(),
        "several": request.header_count("x-several"),
        "contains": request.header_contains("x-several", "two"),
        "starts": request.path_starts_with("/fac"),
        "route": request.route(),
        "plugin": environment::plugin_name(),
    })
}

fn edits(request: &Request) -> Value {
    let outcome = |result: Result<(), EditError>| match result {
        Ok(()) => "ok",
        Err(EditError::Invalid) => "invalid",
        Err(EditError::Forbidden) => "forbidden",
        Err(EditError::TooLarge) => "too-large",
    };
    let huge = "v".repeat(1 << 20);
    json!({
        "set x-fine": outcome(request.set_header("x-fine", "yes")),
        "set content-length": outcome(request.set_header("content-length", "5")),
        "set transfer-encoding": outcome(request.set_header("Transfer-Encoding", "chunked")),
        "append connection": outcome(request.append_header("connection", "close")),
        "remove upgrade": outcome(request.remove_header("upgrade").map(drop)),
        "set host": outcome(request.set_header("host", "other.test")),
        "name with space": outcome(request.set_header("x y", "1")),
        "value with newline": outcome(request.set_header("x-line", "a\r\nx-injected: b")),
        "value with nul": outcome(request.set_header("x-nul", "a\0b")),
        "huge value": outcome(request.set_header("x-huge", huge)),
        "method with space": outcome(request.set_method("GE T")),
        "target without slash": outcome(request.set_target("other")),
        "target with space": outcome(request.set_target("/a b")),
        "authority with slash": outcome(request.set_authority("a/b")),
        "method": outcome(request.set_method("PATCH")),
        "target": outcome(request.set_target("/other?x=1")),
        "authority": outcome(request.set_authority("other.test:8080")),
    })
}
