//! `[acme]`: from the file struct to [`Acme`].

use std::path::Path;

use super::{Report, path, secret};
use crate::{
    Acme, AcmeAuthority, AcmeShare, AllowedBy, ChallengeKind, DnsHook, ExternalAccount, HookBy, OnDemand,
    Positions, StateBackend, file,
};

pub(super) fn check(content: &file::Config, report: &mut Report<'_>) {
    let acme = &content.acme;
    let chosen = acme.challenges.iter().flatten().any(|kind| *kind == ChallengeKind::Http01);
    if chosen && obtains(content) && !speaks_clear_text(content) {
        report.add(
            "acme.challenges",
            "acme.challenges: no listener can answer http-01, as none speaks HTTP in clear text",
            "add [listener.web] with address = \"0.0.0.0:80\", or leave http-01 out",
        );
    }
    if let Some(dns) = &acme.dns {
        match (&dns.command, &dns.endpoint) {
            (Some(_), Some(_)) => report.add(
                "acme.dns.endpoint",
                "acme.dns: endpoint cannot stand beside command",
                "leave one of them out",
            ),
            (None, None) => report.add(
                "acme.dns",
                "acme.dns does not say who sets records",
                "add command = [\"PROGRAM\"] or endpoint = \"http://127.0.0.1:9800/records\"",
            ),
            _ => {}
        }
    } else {
        if acme.challenges.iter().flatten().any(|kind| *kind == ChallengeKind::Dns01) {
            let message = "acme.challenges: dns-01 needs to know who sets DNS records";
            report.add(
                "acme.challenges",
                message,
                "add dns = { command = [\"PROGRAM\"] }, or leave dns-01 out",
            );
        }
        for (path, name) in names(content).filter(|(_, name)| name.starts_with("*.")) {
            report.add(
                &path,
                format!("{path}: the certificate of the wildcard {name:?} takes a DNS record to obtain"),
                "add dns = { command = [\"PROGRAM\"] } to [acme], or write the names below it one by one",
            );
        }
    }
    if let Some(on_demand) = &acme.on_demand {
        match (&on_demand.ask, &on_demand.names) {
            (Some(_), Some(_)) => report.add(
                "acme.on-demand.names",
                "acme.on-demand: names cannot stand beside ask",
                "leave one of them out",
            ),
            (None, None) => report.add(
                "acme.on-demand",
                "acme.on-demand does not say who decides which names are allowed",
                "add ask = \"http://127.0.0.1:9800/allowed\" or names = \"FILE\"",
            ),
            _ => {}
        }
    }
    if acme.share == AcmeShare::State && matches!(content.state.backend.0.0, StateBackend::Memory) {
        report.add(
            "acme.share",
            "acme.share: proxies cannot meet in [state], as it is in the memory of each",
            "add [state] with backend = \"redis://HOST:6379\", or leave share out",
        );
    }
    let other = acme.fallback.as_ref().filter(|fallback| fallback.directory.0.0 == acme.directory.0.0);
    if other.is_some() {
        report.add(
            "acme.fallback.directory",
            "acme.fallback.directory is that of the first authority",
            "write that of another one, or leave fallback out",
        );
    }
    let accounts = [
        ("acme", acme.external_account.as_ref()),
        ("acme.fallback", acme.fallback.as_ref().and_then(|fallback| fallback.external_account.as_ref())),
    ];
    for (place, account) in accounts {
        if let Some(account) = account {
            secret::check(&format!("{place}.external-account.key"), &account.key, report);
        }
    }
}

fn obtains(content: &file::Config) -> bool {
    let mut tables = content.listener.values().filter_map(|listener| listener.tls.as_ref());
    tables.any(|tls| tls.on_demand || tls.acme.is_some())
}

/// Each with the path at which it stands.
fn names(content: &file::Config) -> impl Iterator<Item = (String, &str)> {
    content.listener.iter().flat_map(|(listener, value)| {
        let names = value.tls.iter().flat_map(|tls| tls.acme.iter().flatten()).enumerate();
        let listener = Positions::segment(listener);
        names.map(move |(index, name)| (format!("listener.{listener}.tls.acme[{index}]"), name.0.0.as_str()))
    })
}

fn speaks_clear_text(content: &file::Config) -> bool {
    content.listener.values().any(|listener| {
        listener.tls.is_none() && listener.tcp.is_none() && listener.tls_passthrough.is_none()
    })
}

pub(super) fn convert(content: &mut file::Config, directory: &Path) -> Acme {
    let usable = [
        (ChallengeKind::Http01, speaks_clear_text(content)),
        (ChallengeKind::TlsAlpn01, true),
        (ChallengeKind::Dns01, content.acme.dns.is_some()),
    ];
    let usable = if obtains(content) { &usable[..] } else { &[] };
    let usable = usable.iter().filter(|(_, usable)| *usable).map(|(kind, _)| *kind).collect();
    let acme = std::mem::take(&mut content.acme);
    let account = |account: file::ExternalAccount| {
        Some(ExternalAccount { id: account.id, key: secret::convert(account.key, directory)? })
    };
    let first = AcmeAuthority {
        place: "acme",
        directory: acme.directory.0.0,
        ca: acme.ca.map(|file| path(directory, file)),
        profile: acme.profile,
        external_account: acme.external_account.and_then(account),
    };
    let second = acme.fallback.map(|fallback| AcmeAuthority {
        place: "acme.fallback",
        directory: fallback.directory.0.0,
        ca: fallback.ca.map(|file| path(directory, file)),
        profile: fallback.profile,
        external_account: fallback.external_account.and_then(account),
    });
    Acme {
        email: acme.email.map(|email| email.0.0),
        storage: path(directory, acme.storage),
        key_type: acme.key_type,
        challenges: acme.challenges.unwrap_or(usable),
        authorities: std::iter::once(first).chain(second).collect(),
        share: acme.share,
        on_demand: acme.on_demand.and_then(|on_demand| allowed(on_demand, directory)),
        share_tickets: acme.share_tickets,
        dns: acme.dns.and_then(|dns| hook(dns, directory)),
    }
}

/// `None` where the check has something to say.
fn allowed(on_demand: file::OnDemand, directory: &Path) -> Option<OnDemand> {
    let by = match (on_demand.ask, on_demand.names) {
        (Some(url), _) => AllowedBy::Url(url.0.0),
        (None, names) => AllowedBy::Names(path(directory, names?)),
    };
    Some(OnDemand { by, limit: usize::try_from(on_demand.limit).unwrap_or(usize::MAX) })
}

/// `None` where the check has something to say.
fn hook(dns: file::DnsHook, directory: &Path) -> Option<DnsHook> {
    let by = match (dns.command, dns.endpoint) {
        (Some(mut words), _) => {
            // What is found in `PATH` has no directory.
            if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
                *program = directory.join(&program).to_string_lossy().into_owned();
            }
            HookBy::Command(words)
        }
        (None, endpoint) => HookBy::Url(endpoint?.0.0),
    };
    Some(DnsHook { by, wait: dns.wait.0, timeout: dns.timeout.0 })
}
