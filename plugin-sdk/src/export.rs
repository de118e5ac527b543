//! Between the exported interfaces and a [`Policy`]: what `#[policy]` expands to.

use std::cell::OnceCell;
use std::marker::PhantomData;
use std::panic::PanicHookInfo;
use std::thread::LocalKey;

use crate::bindings::{
    lifecycle, log, request, request_body, request_chunk, response, response_body, response_chunk, timer,
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
    fn on_request() -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| policy.on_request(&REQUEST))
    }
}

impl<P: Exported> response::exports::tidegate::policy::response_phase::Guest for Export<P> {
    fn on_response() -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| policy.on_response(&REQUEST, &RESPONSE))
    }
}

impl<P: Exported> request_body::exports::tidegate::policy::request_body_phase::Guest for Export<P> {
    fn on_request_body() -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| policy.on_request_body(&REQUEST, &BODY))
    }
}

impl<P: Exported> request_chunk::exports::tidegate::policy::request_chunk_phase::Guest for Export<P> {
    fn on_request_chunk() -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| policy.on_request_chunk(&REQUEST, &BODY))
    }
}

impl<P: Exported> response_body::exports::tidegate::policy::response_body_phase::Guest for Export<P> {
    fn on_response_body() -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| policy.on_response_body(&REQUEST, &RESPONSE, &BODY))
    }
}

impl<P: Exported> response_chunk::exports::tidegate::policy::response_chunk_phase::Guest for Export<P> {
    fn on_response_chunk() -> Verdict {
        with_instance(Verdict::Fail, |policy: &P| policy.on_response_chunk(&REQUEST, &RESPONSE, &BODY))
    }
}

impl<P: Exported> log::exports::tidegate::policy::log_phase::Guest for Export<P> {
    fn on_log() {
        with_instance((), |policy: &P| policy.on_log(&REQUEST, &RESPONSE));
    }
}

impl<P: Exported> timer::exports::tidegate::policy::timer_phase::Guest for Export<P> {
    fn on_timer() -> Result<(), String> {
        with_instance(Err("called before configure".to_owned()), |policy: &P| policy.on_timer())
    }
}

/// What a call is about lies in the proxy: these carry nothing.
const REQUEST: Request = Request(host::http::Request);
const RESPONSE: Response = Response(host::http::Response);
const BODY: Body = Body(host::http::Body);

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
