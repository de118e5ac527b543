//! `[upstream.NAME]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::seconds;
use super::text::{ServerAddress, Text};
use crate::Balance;

/// A group of servers that answer the same requests.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Upstream {
    /// "host:port", or { address = "host:port", weight = 2 }. A host name stands for all its
    /// addresses.
    #[schemars(length(min = 1))]
    pub servers: Vec<Server>,
    /// How a server is chosen.
    #[serde(default = "round_robin")]
    pub balance: Balance,
    /// How long the proxy waits for a server.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Idle connections kept for reuse.
    #[serde(default)]
    pub pool: Pool,
    /// Further servers tried after a failed attempt.
    #[serde(default = "one")]
    #[schemars(range(max = 10))]
    pub retries: u32,
}

/// One server.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Server {
    Address(Text<ServerAddress>),
    Weighted(WeightedServer),
}

/// A server with its share of the requests.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct WeightedServer {
    /// host:port, IP:port or [IPv6]:port.
    pub address: Text<ServerAddress>,
    /// Its share of the requests, in proportion to the other weights.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

/// How long the proxy waits for a server.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct UpstreamTimeouts {
    /// For a connection to be established.
    pub connect: Text<Duration>,
    /// From the end of the request to the head of the response; over it: 504.
    pub response: Text<Duration>,
    /// Between two pieces of a response body.
    pub idle: Text<Duration>,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect: seconds(3), response: seconds(30), idle: seconds(60) }
    }
}

/// Idle connections kept for reuse.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Pool {
    /// Idle connections per server and worker; 0 = no reuse.
    #[schemars(range(max = 100_000))]
    pub idle: usize,
    /// How long one may stay idle.
    pub idle_time: Text<Duration>,
    /// How old one may grow.
    pub age: Text<Duration>,
}

impl Default for Pool {
    fn default() -> Self {
        Self { idle: 64, idle_time: seconds(60), age: seconds(3600) }
    }
}

fn round_robin() -> Balance {
    Balance::RoundRobin
}

fn one() -> u32 {
    1
}
