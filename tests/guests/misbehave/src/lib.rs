//! Does to its host what the request asks it to: `x-do` in the request phase, `x-do-response`, `x-do-log`;
//! `x-do-request-body`, `x-do-request-chunk`, `x-do-response-body` and `x-do-response-chunk` in those phases,
//! for which it asks then.

use std::hint::black_box;

use tidegate_plugin_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// What `configure` does.
    configure: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { configure: "nothing".to_owned() }
    }
}

struct Misbehave;

#[policy]
impl Policy for Misbehave {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        match config.configure.as_str() {
            "refuse" => Err(Error::at("configure", "asked to refuse")),
            deed => {
                act(deed);
                Ok(Self)
            }
        }
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if let Some(mode) = asked(request, "request") {
            request.set_body_mode(mode);
        }
        match request.header("x-do").as_deref() {
            Some("fail") => Verdict::Fail,
            Some("respond-without-reply") => Verdict::Respond,
            Some("set-method-head") => edited(request.set_method("HEAD")),
            Some("set-method-get") => edited(request.set_method("GET")),
            Some("respond-many-fields") => {
                let reply = (0..24_577).fold(Reply::new(200), |reply, n| reply.header(&format!("x-{n}"), ""));
                request.respond(reply)
            }
            Some("respond-huge") => request.respond(Reply::new(200).body(vec![b'x'; 5 << 20])),
            Some("edit-then-trap") => {
                let edited =
                    request.set_header("x-edited", "yes").and_then(|()| request.set_target("/edited"));
                assert!(edited.is_ok(), "the edits are valid");
                trap()
            }
            Some(deed) => {
                act(deed);
                Verdict::Next
            }
            None => Verdict::Next,
        }
    }

    fn on_request_body(&self, request: &Request, body: &Body) -> Verdict {
        act_on_body(request, "x-do-request-body", body)
    }

    fn on_request_chunk(&self, request: &Request, chunk: &Body) -> Verdict {
        act_on_body(request, "x-do-request-chunk", chunk)
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        if let Some(mode) = asked(request, "response") {
            response.set_body_mode(mode);
        }
        match request.header("x-do-response").as_deref() {
            Some("fail") => Verdict::Fail,
            Some("respond-without-reply") => Verdict::Respond,
            Some("edit-request") => match request.set_header("x-late", "yes") {
                Err(EditError::Forbidden) => Verdict::Next,
                _ => Verdict::Fail,
            },
            Some(deed) => {
                act(deed);
                Verdict::Next
            }
            None => Verdict::Next,
        }
    }

    fn on_response_body(&self, request: &Request, _: &Response, body: &Body) -> Verdict {
        act_on_body(request, "x-do-response-body", body)
    }

    fn on_response_chunk(&self, request: &Request, _: &Response, chunk: &Body) -> Verdict {
        act_on_body(request, "x-do-response-chunk", chunk)
    }

    fn on_log(&self, request: &Request, _: &Response) {
        if let Some(deed) = request.header("x-do-log") {
            act(&deed);
        }
    }
}

fn edited(edited: Result<(), EditError>) -> Verdict {
    if edited.is_ok() { Verdict::Next } else { Verdict::Fail }
}

/// How much of the body of this side is needed to do what is asked.
fn asked(request: &Request, side: &str) -> Option<BodyMode> {
    let modes = [("body", BodyMode::Whole), ("chunk", BodyMode::Chunks)];
    let asked = |phase: &str| request.header_count(&format!("x-do-{side}-{phase}")) > 0;
    modes.into_iter().find(|(phase, _)| asked(phase)).map(|(_, mode)| mode)
}

fn act_on_body(request: &Request, field: &str, body: &Body) -> Verdict {
    match request.header(field).as_deref() {
        Some("fail") => Verdict::Fail,
        Some("finish") => Verdict::Finish,
        Some("respond") => request.respond(Reply::new(299).text("answered instead\n")),
        Some("respond-without-reply") => Verdict::Respond,
        Some("edit-then-fail") => {
            assert!(body.replace("edited").is_ok(), "it is small");
            Verdict::Fail
        }
        Some("edit-then-trap") => {
            assert!(body.replace("edited").is_ok(), "it is small");
            trap()
        }
        Some("grow") => match body.replace(vec![b'x'; 2 << 20]) {
            Err(EditError::TooLarge) => Verdict::Next,
            _ => Verdict::Fail,
        },
        Some("hold-all") => {
            body.hold_back(usize::MAX);
            Verdict::Next
        }
        Some("late-edit") => match request.set_header("x-late", "yes") {
            Err(EditError::Forbidden) => Verdict::Next,
            _ => Verdict::Fail,
        },
        Some(deed) => {
            act(deed);
            Verdict::Next
        }
        None => Verdict::Next,
    }
}

fn act(deed: &str) {
    match deed {
        "loop" => loop {
            black_box(());
        },
        "memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "stack" => {
            black_box(deeper(black_box(1)));
        }
        "work" => {
            for n in 0..100_000_000_u64 {
                black_box(n);
            }
        }
        "trap" => trap(),
        "panic" => panic!("asked to panic"),
        "log-flood" => {
            for line in 0..100_000_u32 {
                log::warn!("flood {line}");
            }
        }
        _ => {}
    }
}

fn deeper(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { black_box(deeper(black_box(depth + 1))) + depth }
}

/// Without a message: what the host alone says about it is in the log.
fn trap() -> ! {
    std::process::abort()
}
