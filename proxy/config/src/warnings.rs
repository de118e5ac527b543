//! What is no mistake but will surprise.

use crate::units::print_size;
use crate::{Address, Balance, Config, Positions, Problem, Problems, Serves, Upstream};

impl Config {
    /// What will surprise, in the order of the text: an upstream or a file root that nobody can
    /// reach; a single server of whose death only requests would tell; a choice by hash where there is
    /// nothing to choose; request bodies that are allowed and cannot be kept; compression that is asked for
    /// and off; a cache of nobody. The configuration works all the same.
    ///
    /// `routable` says of either whether a policy may route to it, which this file does not know.
    ///
    /// A server that is a host name is not counted as a single one: it may have many addresses.
    pub fn warnings(&self, routable: impl Fn(&str) -> bool) -> Vec<Problem> {
        let mut found = Vec::new();
        if self.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
            let message = "trusted-proxies: everybody is believed about who the client is".to_owned();
            let help = "name the networks that the proxies in front are in";
            found.push(self.positions.problem("trusted-proxies", message).with_help(help));
        }
        if self.positions.has("acme") && !self.obtains_certificates() {
            let message = "acme: no listener has names to obtain certificates for".to_owned();
            let help = "add tls = { acme = [\"example.com\"] } to a listener, or leave [acme] out";
            found.push(self.positions.problem("acme", message).with_help(help));
        }
        for (name, upstream) in &self.upstreams {
            let path = format!("upstream.{}", Positions::segment(name));
            let mut warn = |key: &str, message: &str, help: &str| {
                let message = format!("upstream.{name}: {message}");
                found.push(self.positions.problem(&format!("{path}{key}"), message).with_help(help));
            };
            if !self.names(name) && !routable(name) {
                warn(
                    "",
                    "nobody can reach it",
                    "make it the default-upstream, name it in a listener or let a policy route to it",
                );
            }
            if let Some(buffer) = upstream.buffer_requests
                && let kept = buffer.disk.saturating_add(buffer.memory as u64)
                && let allowed = upstream.request_body.unwrap_or(self.limits.request_body)
                && kept < allowed
            {
                let key =
                    if upstream.request_body.is_some() { "request-body" } else { "limits.request-body" };
                let (kept, allowed) = (print_size(kept), print_size(allowed));
                warn(
                    ".buffer-requests",
                    &format!("a body of more than {kept} gets 413 although {key} is {allowed}"),
                    &format!("raise buffer-requests.disk, or lower {key}"),
                );
            }
            if upstream.tls.as_ref().is_some_and(|tls| !tls.verify) {
                warn(
                    ".tls.verify",
                    "the certificates of its servers are not looked at: whoever stands between can read everything",
                    "name their authority with ca, or their own with fingerprints",
                );
            }
            if upstream.compression
                && self.compression.is_none()
                && self.positions.has(&format!("{path}.compression"))
            {
                warn(
                    ".compression",
                    "nothing is compressed, as there is no table [compression]",
                    "add [compression], or leave the key out",
                );
            }
            if !is_single(upstream) {
                continue;
            }
            if upstream.health.is_none() {
                warn(
                    ".servers",
                    "one server and no health check: when it is dead, requests find out one by one",
                    "add health = { path = \"/healthz\" } or health = { tcp = true }",
                );
            }
            if upstream.balance == Balance::Hash {
                warn(
                    ".balance",
                    "balance = \"hash\" has one server to choose from",
                    "add servers, or leave balance out",
                );
            }
        }
        for name in self.caches.keys() {
            if !self.upstreams.values().any(|upstream| upstream.cache.as_ref() == Some(name)) {
                let path = format!("cache.{}", Positions::segment(name));
                let message = format!("cache.{name}: nothing is kept in it");
                let help = "name it in an upstream: cache = \"NAME\"";
                found.push(self.positions.problem(&path, message).with_help(help));
            }
        }
        for name in self.files.keys() {
            if self.default_upstream.as_ref() != Some(name) && !routable(name) {
                let path = format!("files.{}", Positions::segment(name));
                let message = format!("files.{name}: nobody can reach it");
                let help = "make it the default-upstream or let a policy route to it";
                found.push(self.positions.problem(&path, message).with_help(help));
            }
        }
        Problems(found).sorted(self.positions.files()).0
    }

    /// Whether the file itself sends traffic to this upstream.
    fn names(&self, upstream: &str) -> bool {
        self.default_upstream.as_deref() == Some(upstream)
            || self.listeners.values().any(|listener| match &listener.serves {
                Serves::Http(_) => false,
                Serves::Tcp(name) => name == upstream,
                Serves::TlsPassthrough(names) => names.iter().any(|entry| entry.upstream == upstream),
            })
    }
}

fn is_single(upstream: &Upstream) -> bool {
    matches!(&upstream.servers[..], [server] if !matches!(server.address, Address::Host { .. }))
}
