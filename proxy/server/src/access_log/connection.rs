//! The line of one connection that was forwarded at layer 4.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tidegate_message::Connection;

use super::{Handle, Timestamp, id_text, known, micros};
use crate::metrics::{Counting, Forwarded};

/// The line in the making. It is written when it is dropped, so that a connection that is cut has one as
/// well.
pub(crate) struct ConnectionRecord {
    log: Option<Rc<Handle>>,
    counting: Rc<Counting>,
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
        log: Option<Rc<Handle>>,
        counting: Rc<Counting>,
        id: u64,
        connection: &Connection,
    ) -> Self {
        Self {
            log,
            counting,
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

    /// The connection's number, unique in this process, among those of exchanges too.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        let upstream = self.route.as_ref().unwrap_or(&self.counting.nobody);
        self.counting.forwarded.with(&self.listener, upstream, Forwarded::default, |forwarded| {
            forwarded.connections.add(1);
            forwarded.received.add(self.bytes_in);
            forwarded.sent.add(self.bytes_out);
            if let Some(failure) = self.failure {
                forwarded.failures.add(failure);
            }
        });
        let Some(log) = &self.log else { return };
        log.line(&Line {
            time: Timestamp::now().to_string(),
            id: id_text(self.id),
            listener: &self.listener,
            client: self.client,
            peer: self.peer,
            version: "TCP",
            server_name: self.server_name.as_deref(),
            route: self.route.as_deref(),
            server: self.server.as_deref(),
            failure: self.failure,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us: micros(self.begun.elapsed()),
        });
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: String,
    listener: &'a str,
    #[serde(serialize_with = "known")]
    client: IpAddr,
    peer: SocketAddr,
    version: &'static str,
    server_name: Option<&'a str>,
    route: Option<&'a str>,
    server: Option<&'a str>,
    failure: Option<&'static str>,
    bytes_in: u64,
    bytes_out: u64,
    duration_us: u64,
}
