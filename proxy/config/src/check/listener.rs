//! `[listener.NAME]`: from the file struct to [`Listener`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ipnet::IpNet;

use super::config::known_upstream;
use super::{Report, certificate, path};
use crate::{ClientAuth, HttpVersions, Listener, Passthrough, Positions, Protocol, Serves, Tls, file};

/// `path` is `listener.NAME`.
pub(super) fn check(path: &str, listener: &file::Listener, content: &file::Config, report: &mut Report<'_>) {
    serves_one_thing(path, listener, report);
    if let Some(name) = &listener.tcp {
        forwards_to(&format!("{path}.tcp"), name, content, report);
    }
    if let Some(names) = &listener.tls_passthrough {
        passthrough(&format!("{path}.tls-passthrough"), names, content, report);
    }
    if let Some(tls) = &listener.tls {
        has_certificates(&format!("{path}.tls"), tls, &content.acme, report);
        client_certificates(&format!("{path}.tls"), tls, report);
        has_cipher_suites(&format!("{path}.tls"), tls, report);
    }
    let forwards = listener.tcp.is_some() || listener.tls_passthrough.is_some();
    let title = listener.header_case == file::HeaderCase::Title;
    for (key, is_written) in [("client-address", listener.client_address.is_some()), ("header-case", title)] {
        if forwards && is_written {
            let path = format!("{path}.{key}");
            let message = format!("{path}: connections that are forwarded have no fields");
            report.add(&path, message, "leave it out, or speak HTTP on this listener");
        }
    }
    if !forwards
        && let Some(client_address) = &listener.client_address
        && content.trusted_proxies.is_empty()
    {
        let path = format!("{path}.client-address");
        report.add(
            &path,
            format!(
                "{path}: without trusted-proxies nobody's {:?} would be believed",
                client_address.field.0.0
            ),
            "add trusted-proxies = [\"10.0.0.0/8\"] with the networks the proxies in front are in",
        );
    }
    if matches!(listener.proxy_protocol, file::Switch::Is(true)) && content.trusted_proxies.is_empty() {
        let path = format!("{path}.proxy-protocol");
        report.add(
            &path,
            format!("{path}: without trusted-proxies nobody's header would be believed"),
            "add trusted-proxies = [\"10.0.0.0/8\"] with the networks the proxies in front are in, or \
             proxy-protocol = { trusted = [\"10.0.0.0/8\"] } if they are believed in nothing else",
        );
    }
}

fn serves_one_thing(path: &str, listener: &file::Listener, report: &mut Report<'_>) {
    const ONE: &str = "a listener either speaks HTTP or forwards connections: leave one out";
    const BOTH_FORWARD: &str = "write every name in tls-passthrough, with \"*\" for everything else";
    const NO_END: &str =
        "tls-passthrough leaves TLS to the servers: leave tls out, or end TLS here and forward with tcp";
    let http = ("http", listener.http.is_some());
    let tcp = ("tcp", listener.tcp.is_some());
    let tls = ("tls", listener.tls.is_some());
    let passthrough = ("tls-passthrough", listener.tls_passthrough.is_some());
    for ((key, is_written), (other, other_is_written), help) in [
        (tcp, http, ONE),
        (passthrough, http, ONE),
        (passthrough, tcp, BOTH_FORWARD),
        (passthrough, tls, NO_END),
    ] {
        if is_written && other_is_written {
            // The one further down in the file is the one to complain about.
            let (first, second) = (format!("{path}.{key}"), format!("{path}.{other}"));
            let place =
                if report.positions.place(&first) > report.positions.place(&second) { first } else { second };
            report.add(&place, format!("{path}: {key} cannot stand beside {other}"), help);
        }
    }
}

/// The upstream that connections are forwarded to, byte for byte.
fn forwards_to<'c>(
    path: &str,
    name: &str,
    content: &'c file::Config,
    report: &mut Report<'_>,
) -> Option<&'c file::Upstream> {
    let upstream = known_upstream(path, name, content, report)?;
    if upstream.protocol == Protocol::H2 {
        report.add(
            path,
            format!(
                "{path}: connections are forwarded as they are, but upstream {name:?} has protocol = \"h2\""
            ),
            "leave protocol out there, or name an upstream without it",
        );
    }
    Some(upstream)
}

fn passthrough(
    path: &str,
    names: &BTreeMap<String, String>,
    content: &file::Config,
    report: &mut Report<'_>,
) {
    if names.is_empty() {
        let help = "add names with their upstreams, as in \"a.example.com\" = \"NAME\"";
        report.add(path, format!("{path} must not be empty"), help);
    }
    let mut seen = BTreeSet::new();
    for (pattern, name) in names {
        let at = format!("{path}.{}", Positions::segment(pattern));
        if !seen.insert(pattern.to_ascii_lowercase()) {
            let message = format!("{at} stands there already in another spelling");
            report.add(&at, message, "names are compared without regard to case: write it once");
        }
        if let Some(upstream) = forwards_to(&at, name, content, report)
            && upstream.tls.is_on()
        {
            report.add(
                &at,
                format!("{at}: upstream {name:?} has tls, and what is passed through is TLS already"),
                "leave tls out there, or name an upstream without it",
            );
        }
    }
}

fn has_certificates(path: &str, tls: &file::Tls, acme: &file::Acme, report: &mut Report<'_>) {
    if tls.certificates.is_none() && tls.acme.is_none() && !tls.on_demand {
        report.add(
            path,
            format!("{path} has no certificate"),
            "add certificates = [{ chain = \"FILE.pem\", key = \"FILE.key\" }], or acme = [\"example.com\"] to have \
             them obtained",
        );
    }
    if tls.on_demand && acme.on_demand.is_none() {
        report.add(
            &format!("{path}.on-demand"),
            format!("{path}.on-demand: nobody says which names are allowed"),
            "add on-demand = { ask = \"http://127.0.0.1:9800/allowed\" } or { names = \"FILE\" } to [acme]",
        );
    }
    let mut seen = BTreeSet::new();
    for (index, name) in tls.acme.iter().flatten().enumerate() {
        if !seen.insert(&name.0.0) {
            let at = format!("{path}.acme[{index}]");
            let message = format!("{at}: {:?} stands there already in another spelling", name.0.0);
            report.add(&at, message, "names are compared without regard to case: write it once");
        }
    }
}

fn has_cipher_suites(path: &str, tls: &file::Tls, report: &mut Report<'_>) {
    let Some(suites) = &tls.cipher_suites else { return };
    if !suites.iter().any(|suite| suite.version() >= tls.min_version) {
        report.add(
            &format!("{path}.cipher-suites"),
            format!("{path}.cipher-suites: none of these is for TLS 1.3, and min-version is \"1.3\""),
            "add \"TLS_AES_128_GCM_SHA256\", or lower min-version",
        );
    }
}

fn client_certificates(path: &str, tls: &file::Tls, report: &mut Report<'_>) {
    if tls.client_crl.is_some() && tls.client_ca.is_none() {
        report.add(
            &format!("{path}.client-crl"),
            format!("{path}: client-crl is of no use without client-ca"),
            "add client-ca = \"FILE.pem\" and client-auth, or leave client-crl out",
        );
    }
    match (&tls.client_ca, tls.client_auth) {
        (None, ClientAuth::Optional | ClientAuth::Required) => report.add(
            &format!("{path}.client-auth"),
            format!("{path}: client-auth needs to know who signs client certificates"),
            "add client-ca = \"FILE.pem\"",
        ),
        (Some(_), ClientAuth::None) => report.add(
            &format!("{path}.client-ca"),
            format!("{path}: client-ca is of no use without client-auth"),
            "add client-auth = \"required\" or \"optional\", or leave client-ca out",
        ),
        _ => {}
    }
}

pub(super) fn convert(listener: file::Listener, trusted_proxies: &[IpNet], directory: &Path) -> Listener {
    let serves = match (listener.tcp, listener.tls_passthrough) {
        (Some(upstream), _) => Serves::Tcp(upstream),
        (None, Some(names)) => Serves::TlsPassthrough(in_order(names)),
        (None, None) => {
            let speaks = |version| listener.http.as_ref().is_none_or(|http| http.contains(&version));
            Serves::Http(HttpVersions { http1: speaks(file::Http::V1), http2: speaks(file::Http::V2) })
        }
    };
    Listener {
        address: listener.address.0,
        serves,
        tls: listener.tls.map(|tls| Tls {
            certificates: {
                let pairs = tls.certificates.into_iter().flatten();
                pairs.map(|pair| certificate(directory, pair)).collect()
            },
            on_demand: tls.on_demand,
            acme: tls.acme.into_iter().flatten().map(|name| name.0.0).collect(),
            client_ca: tls.client_ca.map(|file| path(directory, file)),
            client_crl: tls.client_crl.map(|file| path(directory, file)),
            client_auth: tls.client_auth,
            min_version: tls.min_version,
            cipher_suites: tls.cipher_suites,
            groups: tls.groups,
        }),
        proxy_protocol: match listener.proxy_protocol {
            file::Switch::Is(false) => Vec::new(),
            file::Switch::Is(true) => trusted_proxies.to_vec(),
            file::Switch::With(from) => from.trusted.into_iter().map(|network| network.0).collect(),
        },
        title_case: listener.header_case == file::HeaderCase::Title,
        client_field: listener.client_address.map(|address| address.field.0.0),
    }
}

/// Exact names, then wildcards from the longest to the shortest, of which `*` is the shortest.
fn in_order(names: BTreeMap<String, String>) -> Vec<Passthrough> {
    let entry = |(name, upstream): (String, _)| Passthrough { name: name.to_ascii_lowercase(), upstream };
    let mut entries: Vec<_> = names.into_iter().map(entry).collect();
    entries.sort_by_key(|entry| {
        let wildcard = entry.name.starts_with('*');
        (wildcard, Reverse(if wildcard { entry.name.len() } else { 0 }), entry.name.clone())
    });
    entries
}
