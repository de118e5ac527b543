//! `[admin]`: from the file struct to [`Admin`].

use std::path::Path;

use super::config::host_alone;
use super::{Report, certificate, path};
use crate::file;
use crate::{Admin, ClientAuth, Tls, TlsVersion};

pub(super) fn check(admin: &file::Admin, report: &mut Report<'_>) {
    let knows_certificates = admin.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if !admin.address.0.ip().to_canonical().is_loopback() && admin.token_file.is_none() && !knows_certificates
    {
        let address = admin.address.0;
        let message = format!("admin.address: others reach {address}, and nothing keeps them out");
        let help = "add token-file = \"admin.token\" with a secret in it, or tls with a client-ca, or listen on 127.0.0.1";
        report.add("admin.address", message, help);
    }
    if !knows_certificates && admin.tls.as_ref().is_some_and(|tls| tls.client_crl.is_some()) {
        report.add(
            "admin.tls.client-crl",
            "admin.tls: client-crl is of no use without client-ca".to_owned(),
            "add client-ca = \"FILE.pem\", or leave client-crl out",
        );
    }
}

pub(crate) fn convert(admin: file::Admin, directory: &Path) -> Admin {
    Admin {
        address: admin.address.0,
        probes: admin.probes.map(|address| address.0),
        socket: admin.socket.map(|file| path(directory, file)),
        token_file: admin.token_file.map(|file| path(directory, file)),
        hosts: admin.hosts.into_iter().map(|host| host_alone(host.0.0)).collect(),
        tls: admin.tls.map(|tls| Tls {
            certificates: tls.certificates.into_iter().map(|pair| certificate(directory, pair)).collect(),
            acme: Vec::new(),
            on_demand: false,
            // What needs no token needs no certificate either.
            client_auth: if tls.client_ca.is_some() { ClientAuth::Optional } else { ClientAuth::None },
            client_ca: tls.client_ca.map(|file| path(directory, file)),
            client_crl: tls.client_crl.map(|file| path(directory, file)),
            min_version: TlsVersion::V1_2,
            cipher_suites: None,
            groups: None,
        }),
    }
}
