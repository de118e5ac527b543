//! `[listener.NAME]`: from the file struct to [`Listener`].

use std::path::Path;

use super::{Report, path};
use crate::{Certificate, ClientAuth, HttpVersions, Listener, Tls, file};

pub(super) fn client_certificates(path: &str, tls: &file::Tls, report: &mut Report<'_>) {
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

pub(super) fn convert(listener: file::Listener, directory: &Path) -> Listener {
    Listener {
        address: listener.address.0,
        http: HttpVersions {
            http1: listener.http.contains(&file::Http::V1),
            http2: listener.http.contains(&file::Http::V2),
        },
        tls: listener.tls.map(|tls| Tls {
            certificates: tls
                .certificates
                .into_iter()
                .map(|pair| Certificate {
                    chain: path(directory, pair.chain),
                    key: path(directory, pair.key),
                })
                .collect(),
            client_ca: tls.client_ca.map(|file| path(directory, file)),
            client_auth: tls.client_auth,
            min_version: tls.min_version,
        }),
    }
}
