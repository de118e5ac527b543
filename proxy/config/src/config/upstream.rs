//! The checked `[upstream.NAME]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[upstream.NAME]`: a group of servers that answer the same requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Never empty.
    pub servers: Vec<Server>,
    /// Default [`Balance::RoundRobin`].
    pub balance: Balance,
    /// `timeouts = { … }`.
    pub timeouts: UpstreamTimeouts,
    /// `pool = { … }`: idle connections kept for reuse.
    pub pool: Pool,
    /// Further servers tried after a failed attempt. Default 1.
    pub retries: u32,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `host:port` or `IP:port` (`[v6]:port`); the port is never 0. In one spelling (lower case,
    /// shortest IPv6), so equal servers are equal texts; unique in its upstream.
    pub address: String,
    /// Its share of the requests; 1 to 1000. Default 1.
    pub weight: u32,
}

/// How an upstream chooses among its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn, in proportion to the weights.
    RoundRobin,
}

/// Waits towards the servers of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// For a connection to be established. Default 3 s.
    pub connect: Duration,
    /// From the end of the request to the head of the response. Default 30 s.
    pub response: Duration,
    /// Between two pieces of a response body. Default 60 s.
    pub idle: Duration,
}

/// How long idle connections to a server are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections per server and worker. Default 64; 0 = no reuse.
    pub max_idle: usize,
    /// How long one may stay idle. Default 60 s.
    pub idle_time: Duration,
    /// How old one may grow. Default 1 h.
    pub max_age: Duration,
}
