//! Write policies for tidegate: decide about a request in a sandbox, drop the `.wasm` into the proxy's
//! plugin directory, and it decides the next one.
//!
//! This is a whole plugin. It lets only some addresses see some paths:
//!
//! ```
//! use tidegate_plugin_sdk::prelude::*;
//!
//! /// The `[config]` table of `NAME.toml`; operators read these comments.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     /// Who may enter `/admin`: networks (`10.0.0.0/8`) and addresses.
//!     allow: Vec<String>,
//! }
//!
//! struct Admins {
//!     paths: Patterns,
//!     allowed: IpSet,
//! }
//!
//! #[policy]
//! impl Policy for Admins {
//!     type Config = Config;
//!
//!     fn configure(config: Config) -> Result<Self, Error> {
//!         let allowed = IpSet::new(config.allow).map_err(|error| error.within("allow"))?;
//!         Ok(Self { paths: Patterns::glob(["/admin/**"])?, allowed })
//!     }
//!
//!     fn on_request(&self, request: &Request) -> Verdict {
//!         if self.paths.matches_path(request).is_none() || self.allowed.has_client(request) {
//!             return Verdict::Next;
//!         }
//!         request.respond(Reply::new(403).text("not from here\n"))
//!     }
//! }
//!
//! // In `#[cfg(test)]`, without a proxy:
//! let admins = testing::configure::<Admins>(serde_json::json!({ "allow": ["10.0.0.0/8"] })).unwrap();
//! let request = testing::Request::new("GET", "/admin/users").with_client("192.0.2.1");
//! assert_eq!(admins.on_request(&request), Verdict::Respond);
//! ```
//!
//! [`Policy`] lists the phases, [`Request`], [`Response`], [`Message`] and [`Body`] what can be read and edited,
//! [`matching`] how comparisons run in the proxy, [`rules`] lists of rules with conditions, [`testing`] how to test.
//! The crate's `README.md` starts from an empty directory.

#[doc(hidden)] // `#[policy]` expands to paths into it
pub mod bindings;
#[cfg(target_family = "wasm")]
#[doc(hidden)] // `#[policy]` expands to paths into it
pub mod export;

pub mod activation;
mod body;
pub mod callout;
pub mod crypto;
pub mod environment;
pub mod http;
pub mod log;
pub mod matching;
mod message;
pub mod metrics;
pub mod password;
mod policy;
pub mod rate_limit;
mod request;
mod response;
pub mod rules;
pub mod store;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod units;

// Everything above calls `host`: the imported functions in a plugin, a double of them in tests.
#[cfg(target_family = "wasm")]
#[macro_use]
mod current;
#[cfg(target_family = "wasm")]
use current as host;
#[cfg(not(target_family = "wasm"))]
mod double;
#[cfg(not(target_family = "wasm"))]
use double as host;

pub use body::Body;
pub use http::{BodyMode, Reply, Verdict};
pub use message::Message;
pub use policy::{Error, Policy};
pub use request::Request;
pub use response::Response;
pub use tidegate_plugin_sdk_macros::policy;

/// What nearly every policy needs: `use tidegate_plugin_sdk::prelude::*;`.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::Deserialize;

    pub use crate::http::{EditError, RetryError, RouteError};
    pub use crate::matching::{IpSet, Patterns};
    #[cfg(not(target_family = "wasm"))]
    pub use crate::testing;
    pub use crate::{
        Body, BodyMode, Error, Message, Policy, Reply, Request, Response, Verdict, activation, environment,
        log, policy,
    };
}
