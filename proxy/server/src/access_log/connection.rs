//! The line of one connection that was forwarded at layer 4, or came to no handshake.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tidegate_message::Connection;

use super::micros;
use super::values::Values;
use super::writer::Writer;
use crate::metrics::{Counting, Forwarded};

/// The line in the making. It is written when it is dropped, so that a connection that is cut has one as
/// well.
pub(crate) struct ConnectionRecord {
    log: Option<Rc<Writer>>,
    counting: Rc<Counting>,
    /// Its handshake came to an end, or it has none.
    is_forwarded: bool,
    begun: Instant,
    id: u64,
    listener: Arc<str>,
    client: IpAddr,
    peer: SocketAddr,
    pub(crate) server_name: Option<String>,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) server: Option<Arc<str>>,
    /// That it was cut, until something else is known.
    pub(crate) failure: Option<&'static str>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl ConnectionRecord {
    pub(crate) fn begin(
        log: Option<Rc<Writer>>,
        counting: Rc<Counting>,
        id: u64,
        connection: &Connection,
    ) -> Self {
        Self {
            log,
            counting,
            is_forwarded: true,
            begun: Instant::now(),
            id,
            listener: connection.listener.clone(),
            client: connection.source.ip().to_canonical(),
            peer: connection.peer,
            server_name: None,
            route: None,
            server: None,
            failure: Some("broken-off"),
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// The line of a connection whose TLS handshake failed.
    pub(crate) fn no_handshake(mut self, failure: &'static str) {
        (self.is_forwarded, self.failure) = (false, Some(failure));
    }

    /// The connection's number, unique in this process, among those of exchanges too.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl ConnectionRecord {
    fn count(&self) {
        let upstream = self.route.as_ref().unwrap_or(&self.counting.nobody);
        self.counting.forwarded.with(&self.listener, upstream, Forwarded::default, |forwarded| {
            forwarded.connections.add(1);
            forwarded.received.add(self.bytes_in);
            forwarded.sent.add(self.bytes_out);
            if let Some(failure) = self.failure {
                forwarded.failures.add(failure);
            }
        });
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        if self.is_forwarded {
            self.count();
        }
        let Some(log) = &self.log else { return };
        log.connection(&Values {
            id: self.id,
            request_id: None,
            trace_id: None,
            listener: &self.listener,
            client: self.client,
            peer: self.peer,
            version: if self.is_forwarded { "TCP" } else { "TLS" },
            method: None,
            scheme: None,
            host: None,
            server_name: self.server_name.as_deref(),
            target: None,
            status: None,
            route: self.route.as_deref(),
            server: self.server.as_deref(),
            attempts: None,
            failure: self.failure,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us: micros(self.begun.elapsed()),
            upstream_us: None,
            cache: None,
            user_agent: None,
            headers: &[],
            attributes: &[],
            policies: &[],
        });
    }
}
