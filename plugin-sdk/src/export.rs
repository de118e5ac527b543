//! Between the exported interfaces and a [`Policy`]: what `#[policy]` expands to.

use std::cell::OnceCell;
use std::marker::PhantomData;
use std::panic::PanicHookInfo;
use std::thread::LocalKey;

use ref_cast::RefCast;

use crate::bindings::{
    lifecycle, log, request, request_body, request_chunk, response, response_body, response_chunk,
};
use crate::host;
use crate::log::Level;
use crate::policy::{Policy, read_config};
use crate::{Body, Request, Response, Verdict};

/// A policy with the facts of its crate and a place for its one instance.
pub trait Exported: Policy {
    /// `name` in `Cargo.toml`.
    const NAME: &'static str;
    /// `version` in `Cargo.toml`.
    const VERSION: &'static str;
    /// `description` in `Cargo.toml`, empty if there is none.
    const DESCRIPTION: &'static str;

    /// Filled by `configure`. A plugin has one thread, so this is a plain static.
    fn instance() -> &'static LocalKey<OnceCell<Self>>;
}

/// Implements the generated `Guest` traits for every policy.
#[derive(Debug)]
pub struct Export<P>(PhantomData<P>);

impl<P: Exported> lifecycle::exports::tidegate::policy::lifecycle::Guest for Export<P> {
    fn describe() -> Vec<(String, String)> {
        let schema = schemars::schema_for!(P::Config);
        [
            ("name", P::NAME.to_owned()),
            ("version", P::VERSION.to_owned()),
            ("description", P::DESCRIPTION.to_owned()),
            ("config-schema", schema.as_value().to_string()),
            ("sdk", concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn configure(config: String) -> Result<(), String> {
        std::panic::set_hook(Box::new(log_panic));
        let policy = read_config(&config).and_then(P::configure).map_err(|error| error.to_string())?;
        P::instance()
            .with(|instance| instance.set(policy))
            .map_err(|_| "this instance is configured already".to_owned())
    }
}

impl<P: Exported> request::exports::tidegate::policy::request_phase::Guest for Export<P> {
    fn on_request(request: &host::http::Request) -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| policy.on_request(Request::ref_cast(request)))
    }
}

impl<P: Exported> response::exports::tidegate::policy::response_phase::Guest for Export<P> {
    fn on_response(request: &host::http::Request, response: &host::http::Response) -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| {
            policy.on_response(Request::ref_cast(request), Response::ref_cast(response))
        })
    }
}

impl<P: Exported> request_body::exports::tidegate::policy::request_body_phase::Guest for Export<P> {
    fn on_request_body(request: &host::http::Request, body: &host::http::Body) -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| {
            policy.on_request_body(Request::ref_cast(request), Body::ref_cast(body))
        })
    }
}

impl<P: Exported> request_chunk::exports::tidegate::policy::request_chunk_phase::Guest for Export<P> {
    fn on_request_chunk(request: &host::http::Request, chunk: &host::http::Body) -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| {
            policy.on_request_chunk(Request::ref_cast(request), Body::ref_cast(chunk))
        })
    }
}

impl<P: Exported> response_body::exports::tidegate::policy::response_body_phase::Guest for Export<P> {
    fn on_response_body(
        request: &host::http::Request,
        response: &host::http::Response,
        body: &host::http::Body,
    ) -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| {
            let (request, response) = (Request::ref_cast(request), Response::ref_cast(response));
            policy.on_response_body(request, response, Body::ref_cast(body))
        })
    }
}

impl<P: Exported> response_chunk::exports::tidegate::policy::response_chunk_phase::Guest for Export<P> {
    fn on_response_chunk(
        request: &host::http::Request,
        response: &host::http::Response,
        chunk: &host::http::Body,
    ) -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| {
            let (request, response) = (Request::ref_cast(request), Response::ref_cast(response));
            policy.on_response_chunk(request, response, Body::ref_cast(chunk))
        })
    }
}

impl<P: Exported> log::exports::tidegate::policy::log_phase::Guest for Export<P> {
    fn on_log(request: &host::http::Request, response: &host::http::Response) {
        with_instance((), |policy: &P| {
            policy.on_log(Request::ref_cast(request), Response::ref_cast(response))
        });
    }
}

/// `otherwise` if the host skipped `configure`, which the contract rules out.
fn with_instance<P: Exported, T>(otherwise: T, phase: impl FnOnce(&P) -> T) -> T {
    P::instance().with(|instance| match instance.get() {
        Some(policy) => phase(policy),
        None => {
            host::log::write(Level::Error, "called before configure");
            otherwise
        }
    })
}

/// A panic ends in a trap, which says nothing; the reason is logged before.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(no message)");
    let text = match info.location() {
        Some(location) => format!("panicked at {location}: {message}"),
        None => format!("panicked: {message}"),
    };
    host::log::write(Level::Error, &text);
}
