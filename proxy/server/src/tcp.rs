//! One connection forwarded at layer 4, from the choice of its server to the last byte.
//!
//! ```text
//! connection ─▶ (server name) ─▶ upstream ─▶ tunnel ─▶ log line
//!                     │              │
//!                     ▼              ▼
//!                 closed         closed, log line
//! ```

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_config::Passthrough;
use tidegate_message::Connection;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::access_log::ConnectionRecord;
use crate::error::Error;
use crate::snapshot::Generation;
use crate::tls::sni;
use crate::tunnel;
use crate::worker::Worker;
use tidegate_upstream::{Connected, Upstream};

/// A client and the server that was found for it.
pub(crate) struct Tunnel<S> {
    client: S,
    /// What the client has sent already.
    prefix: Bytes,
    server: Connected,
    idle: Duration,
    record: ConnectionRecord,
}

/// Connects a client to a server of `upstream`. `None`, and the connection is closed, if there is none to
/// be had. The waits are those of the upstream; dropping the future closes the connection.
pub(crate) async fn forward<S>(
    worker: &Worker,
    generation: &Generation,
    connection: &Connection,
    client: S,
    upstream: &str,
) -> Option<Tunnel<S>> {
    let mut record = worker.connection_record(generation, connection);
    record.server_name = connection.tls.as_ref().and_then(|facts| facts.server_name.clone());
    connect(worker, generation, connection, client, Bytes::new(), upstream, record).await
}

/// Connects a client that speaks TLS to a server of the upstream that `names` has for the server name it
/// asks for; its TLS goes on to that server. `None`, and the connection is closed, if it names nothing
/// that is there within `timeouts.tls-handshake`, or if no server takes the connection.
pub(crate) async fn pass_through<S: AsyncRead + AsyncWrite + Unpin>(
    worker: &Worker,
    generation: &Generation,
    connection: &Connection,
    mut client: S,
    names: &[Passthrough],
) -> Option<Tunnel<S>> {
    let hello = match sni::peek(&mut client, generation.config.timeouts.tls_handshake).await {
        Ok(hello) => hello,
        Err(error) => {
            // Anybody can cause this at any rate: neither for the operator's log nor for the access log.
            let Connection { listener, peer, .. } = connection;
            tracing::debug!(target: "tls", %listener, %peer, "nothing to pass through: {error}");
            return None;
        }
    };
    let mut record = worker.connection_record(generation, connection);
    let chosen = names.iter().find(|entry| covers(&entry.name, hello.server_name.as_deref()));
    record.server_name = hello.server_name;
    let Some(chosen) = chosen else {
        record.failure = Some(Error::NoRoute.as_str());
        refuse(client).await;
        return None;
    };
    connect(worker, generation, connection, client, hello.bytes, &chosen.upstream, record).await
}

/// Whether a name of `tls-passthrough` is for clients that ask for `server_name`.
fn covers(name: &str, server_name: Option<&str>) -> bool {
    match (name.strip_prefix('*'), server_name) {
        (Some(""), _) => true,
        (Some(parent), Some(server_name)) => {
            server_name.strip_suffix(parent).is_some_and(|below| !below.is_empty())
        }
        (None, Some(server_name)) => server_name == name,
        (_, None) => false,
    }
}

/// Tells a client that nothing is known by its server name (RFC 6066 §3).
async fn refuse(mut client: impl AsyncWrite + Unpin) {
    let farewell = async {
        client.write_all(&sni::UNRECOGNIZED_NAME).await?;
        client.shutdown().await
    };
    // A client that does not even read this is not waited for.
    let _ = timeout(Duration::from_secs(1), farewell).await;
}

async fn connect<S>(
    worker: &Worker,
    generation: &Generation,
    connection: &Connection,
    client: S,
    prefix: Bytes,
    upstream: &str,
    mut record: ConnectionRecord,
) -> Option<Tunnel<S>> {
    let connected = match generation.upstream(upstream) {
        Some(upstream) => reach(upstream, connection, &mut record).await,
        None => Err(Error::NoRoute),
    };
    match connected {
        Ok(server) => {
            record.server = Some(server.server.clone());
            let idle = generation.config.timeouts.tunnel_idle;
            Some(Tunnel { client, prefix, server, idle, record })
        }
        Err(error) => {
            if worker.failures.allow(error.as_str()) {
                tracing::warn!(target: "tcp", id = record.id(), failure = error.as_str(), "{error}");
            }
            record.server = error.server().cloned();
            record.failure = Some(error.as_str());
            None
        }
    }
}

async fn reach(
    upstream: &Rc<Upstream>,
    connection: &Connection,
    record: &mut ConnectionRecord,
) -> Result<Connected, Error> {
    record.route = Some(upstream.name.clone());
    Ok(upstream.connect(connection.source, connection.destination).await?)
}

impl<S: AsyncRead + AsyncWrite> Tunnel<S> {
    /// Carries the bytes both ways until both ends have closed, one breaks off, or `timeouts.tunnel-idle`
    /// passes without a byte, or `stop` ends. Dropping the future closes both ends.
    pub(crate) async fn carry(self, stop: impl Future<Output = ()>) {
        let Self { client, prefix, mut server, idle, mut record } = self;
        let carried = tunnel::carry(client, prefix, &mut server.stream, idle, stop).await;
        record.bytes_in = carried.from_client;
        record.bytes_out = carried.to_client;
        record.failure = carried.end.failure();
    }
}
