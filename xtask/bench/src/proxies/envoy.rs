//! Envoy.

use std::path::Path;

use super::{Behind, Contender, Setup, Site, filled, free_address, shown};
use crate::files::write;
use crate::terminal::Result;

pub(super) fn ready(envoy: &Path, setup: Setup, site: &Site) -> Result<Contender> {
    let (address, folder) = (free_address()?, site.folder.join("envoy"));
    let tls = match setup.is_secure {
        true => include_str!("envoy-tls.yaml"),
        false => "",
    };
    let (server, protocol) = match setup.behind {
        Behind::Grpc => (site.grpc_server, include_str!("envoy-http2.yaml")),
        Behind::Server | Behind::Files | Behind::Cache => (site.server, ""),
    };
    let log = if setup.has_log { include_str!("envoy-log.yaml") } else { "" };
    let values = [
        ("TLS", tls),
        ("PROTOCOL", protocol),
        ("LOG", log),
        ("PORT", &address.port().to_string()),
        ("SERVER_ADDRESS", &server.ip().to_string()),
        ("SERVER_PORT", &server.port().to_string()),
        ("CHAIN", &shown(&site.certificate.chain)),
        ("KEY", &shown(&site.certificate.key)),
        ("ACCESS_LOG", &shown(&folder.join("access.log"))),
    ];
    let file = write(&folder, "envoy.yaml", &filled(include_str!("envoy.yaml"), &values)?)?;
    let file = shown(&file);
    let arguments =
        ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path", &file];
    Ok(Contender::new("Envoy", envoy, &folder, &arguments, address))
}
