//! Sees bodies as the fields of a request say, and does with them what others say.
//!
//! `x-request-mode` and `x-response-mode` are `whole` or `chunks`; with `x-decode` they are decoded before.
//! `x-request-do` and `x-response-do` name what is done with a body or a chunk of it, see [`Deed`].

use tidegate_plugin_sdk::prelude::*;

struct Bodies;

/// What to do with a body or a chunk of one.
enum Deed {
    /// Writes it in upper case.
    Upper,
    /// Holds everything back to the end, and then writes it in upper case.
    Gather,
    /// Writes the first chunk in upper case and wants to see no more.
    Finish,
    /// Answers the client.
    Answer,
    /// Sends the request to the upstream `other`.
    Route,
    /// Edits it, and then makes no decision.
    Fail,
    /// Edits it, and then panics.
    Panic,
    /// Comes to no end.
    Loop,
    /// Notes how large it was in a field of the message.
    Note,
}

impl Deed {
    fn of(request: &Request, field: &str) -> Option<Self> {
        Some(match request.header(field)?.as_str() {
            "upper" => Self::Upper,
            "gather" => Self::Gather,
            "finish" => Self::Finish,
            "answer" => Self::Answer,
            "route" => Self::Route,
            "fail" => Self::Fail,
            "panic" => Self::Panic,
            "loop" => Self::Loop,
            "note" => Self::Note,
            other => panic!("asked for {other}"),
        })
    }

    /// What is the same for both messages; `answer` and `note` are not.
    fn act(
        self,
        request: &Request,
        body: &Body,
        answer: impl FnOnce(Reply) -> Verdict,
        note: impl FnOnce(String) -> Result<(), EditError>,
    ) -> Verdict {
        match self {
            Self::Upper => upper(body),
            Self::Gather => {
                body.hold_back(body.len());
                if body.is_last() { upper(body) } else { Verdict::Next }
            }
            Self::Finish => match upper(body) {
                Verdict::Next => Verdict::Finish,
                other => other,
            },
            Self::Answer => answer(Reply::new(299).text(format!("saw {}\n", body.len()))),
            Self::Route => match request.route_to("other") {
                Ok(()) => Verdict::Next,
                Err(_) => Verdict::Fail,
            },
            Self::Fail => {
                upper(body);
                Verdict::Fail
            }
            Self::Panic => {
                upper(body);
                panic!("asked to panic")
            }
            Self::Loop => loop {
                std::hint::spin_loop();
            },
            Self::Note => match note(format!("{} {}", body.len(), body.is_last())) {
                Ok(()) => Verdict::Next,
                Err(_) => Verdict::Fail,
            },
        }
    }
}

fn upper(body: &Body) -> Verdict {
    let text = body.read(0..body.len()).to_ascii_uppercase();
    match body.replace(text) {
        Ok(()) => Verdict::Next,
        Err(_) => Verdict::Fail,
    }
}

fn mode(request: &Request, field: &str) -> BodyMode {
    match request.header(field).as_deref() {
        Some("whole") => BodyMode::Whole,
        Some("chunks") => BodyMode::Chunks,
        _ => BodyMode::Skip,
    }
}

#[policy]
impl Policy for Bodies {
    type Config = ();

    fn configure((): ()) -> Result<Self, Error> {
        Ok(Self)
    }

    fn on_request(&self, request: &Request) -> Verdict {
        request.set_body_mode(mode(request, "x-request-mode"));
        if request.header_count("x-decode") > 0 && !request.decode_body() {
            log::warn!("the request body cannot be decoded");
        }
        Verdict::Next
    }

    fn on_request_body(&self, request: &Request, body: &Body) -> Verdict {
        let Some(deed) = Deed::of(request, "x-request-do") else { return Verdict::Next };
        deed.act(request, body, |reply| request.respond(reply), |text| request.set_header("x-seen", text))
    }

    fn on_request_chunk(&self, request: &Request, chunk: &Body) -> Verdict {
        let Some(deed) = Deed::of(request, "x-request-do") else { return Verdict::Next };
        deed.act(request, chunk, |reply| request.respond(reply), |text| request.set_header("x-seen", text))
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        response.set_body_mode(mode(request, "x-response-mode"));
        if request.header_count("x-decode") > 0 && !response.decode_body() {
            log::warn!("the response body cannot be decoded");
        }
        Verdict::Next
    }

    fn on_response_body(&self, request: &Request, response: &Response, body: &Body) -> Verdict {
        let Some(deed) = Deed::of(request, "x-response-do") else { return Verdict::Next };
        deed.act(request, body, |reply| response.respond(reply), |text| response.set_header("x-seen", text))
    }

    fn on_response_chunk(&self, request: &Request, response: &Response, chunk: &Body) -> Verdict {
        let Some(deed) = Deed::of(request, "x-response-do") else { return Verdict::Next };
        deed.act(request, chunk, |reply| response.respond(reply), |text| response.set_header("x-seen", text))
    }
}
