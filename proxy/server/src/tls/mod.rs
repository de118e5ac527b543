//! Terminates TLS: certificates chosen by SNI, client certificates, the handshake and its deadline.

mod accept;
mod alpn;
mod certificates;
mod client;
mod config;
mod hello;
mod on_demand;
pub(crate) mod sni;
mod tickets;

pub(crate) use self::accept::{Accepted, Failed, Obtained, accept};
pub(crate) use self::certificates::client_certificate_of_pem;
pub(crate) use self::client::{Believes, ClientLoader, as_client, for_own_requests};
pub(crate) use self::config::{ADMIN, Loader, Terms, files};
pub(crate) use self::on_demand::OnDemand;
pub(crate) use self::tickets::OwnSecrets;
