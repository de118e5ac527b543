//! What the files may contain: the structs the schemas are generated from. They never leave the
//! crate.

mod config;
mod plugin;
pub(crate) mod text;

pub(crate) use config::{Config, Http, Limits, Listener, Server, Tls, Upstream};
pub(crate) use plugin::Plugin;
