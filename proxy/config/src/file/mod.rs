//! What the files may contain: the structs the schemas are generated from. They never leave the
//! crate.

mod acme;
mod cache;
mod compression;
mod config;
mod explain;
mod files;
mod listener;
mod plugin;
mod state;
pub(crate) mod text;
mod upstream;

pub(crate) use acme::{Acme, DnsHook, ExternalAccount, OnDemand};
pub(crate) use cache::Cache;
pub(crate) use compression::{Compression, DEFAULT_LEVELS};
pub(crate) use config::{AccessLog, Admin, Config, Limits};
pub(crate) use explain::Explain;
pub(crate) use files::{CacheControl, FallbackFor, Files};
pub(crate) use listener::{Certificate, Http, Listener, Tls};
pub(crate) use plugin::{Plugin, Secret};
pub(crate) use state::State;
pub(crate) use text::LineForm;
pub(crate) use upstream::{Buffer, HeaderCase, Health, HealthMethod, Server, Switch, Upstream};
