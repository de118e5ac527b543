//! `[upstream.NAME]`: from the file struct to [`Upstream`].

use std::collections::BTreeMap;

use super::Report;
use crate::{Pool, Server, Upstream, UpstreamTimeouts, file};

pub(super) fn servers(path: &str, upstream: &file::Upstream, report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    for (index, server) in upstream.servers.iter().enumerate() {
        let (address, at) = match server {
            file::Server::Address(address) => (&address.0.0, format!("{path}[{index}]")),
            file::Server::Weighted(server) => (&server.address.0.0, format!("{path}[{index}].address")),
        };
        if let Some(first) = seen.get(address) {
            let message = format!("{path}[{index}]: {address} stands in {path}[{first}] already");
            report.add(&at, message, "write it once, with a weight if it is to get more requests");
        } else {
            seen.insert(address, index);
        }
    }
}

pub(super) fn convert(upstream: file::Upstream) -> Upstream {
    let server = |server| match server {
        file::Server::Address(address) => Server { address: address.0.0, weight: 1 },
        file::Server::Weighted(server) => Server { address: server.address.0.0, weight: server.weight },
    };
    Upstream {
        servers: upstream.servers.into_iter().map(server).collect(),
        balance: upstream.balance,
        timeouts: UpstreamTimeouts {
            connect: upstream.timeouts.connect.0,
            response: upstream.timeouts.response.0,
            idle: upstream.timeouts.idle.0,
        },
        pool: Pool {
            max_idle: upstream.pool.idle,
            idle_time: upstream.pool.idle_time.0,
            max_age: upstream.pool.age.0,
        },
        retries: upstream.retries,
    }
}
