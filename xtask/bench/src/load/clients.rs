//! Clients: each asks for one thing at a time.

use std::io::Result;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustls::RootCertStore;
use tokio::task::JoinSet;

use super::connect::{Handshakes, Way};
use super::gate::{Gate, Tally};
use super::{Keep, Plan, http1, http2};
use crate::load::work::Work;

pub(super) struct Clients(JoinSet<String>);

/// What all clients ask, as it is sent.
struct Script {
    work: Work,
    worded: Worded,
}

enum Worded {
    Http1(Vec<Vec<u8>>),
    Http2(Vec<Request<Full<Bytes>>>),
}

enum Connection {
    Http1(http1::Connection),
    Http2(http2::Connection),
}

impl Clients {
    /// Opens all connections that are to be kept, and starts clients that wait at the `gate`.
    pub(super) async fn open(
        address: SocketAddr,
        plan: &Plan,
        roots: &Arc<RootCertStore>,
        gate: &Rc<Gate>,
        tally: &Rc<Tally>,
    ) -> Result<Self> {
        let script = Rc::new(Script::of(plan));
        let handshakes = match plan.keep {
            Keep::Kept => Handshakes::Full,
            Keep::Closed(handshakes) => handshakes,
        };
        let way = || match plan.is_secure {
            true => Way::secure(address, roots, plan.is_http2, handshakes),
            false => Way::plain(address),
        };
        let mut shares: Vec<Vec<Connection>> = (0..plan.clients).map(|_| Vec::new()).collect();
        if plan.keep == Keep::Kept {
            let way = way();
            for number in 0..plan.connections {
                let connection = script.connect(&way, 0, tally).await?;
                match connection {
                    Connection::Http2(shared) => {
                        for client in (number..plan.clients).step_by(plan.connections) {
                            shares[client].push(Connection::Http2(shared.clone()));
                        }
                        // More connections than clients.
                        if number >= plan.clients {
                            shares[number % plan.clients].push(Connection::Http2(shared));
                        }
                    }
                    own @ Connection::Http1(_) => shares[number % plan.clients].push(own),
                }
            }
        }
        let mut clients = JoinSet::new();
        for (number, share) in shares.into_iter().enumerate() {
            let (script, gate, tally) = (Rc::clone(&script), Rc::clone(gate), Rc::clone(tally));
            let way = (plan.keep != Keep::Kept).then(&way);
            // Spread: what one client asked a moment ago is not what the next one asks.
            let first = number * script.work.requests.len() / plan.clients;
            clients.spawn_local(async move {
                let ended = match way {
                    Some(way) => anew(&script, first, &way, &gate, &tally).await,
                    None => again(&script, first, share, &gate, &tally).await,
                };
                match ended {
                    Ok(()) => "a client ran out of numbers".to_owned(),
                    Err(error) => format!("a client failed: {error}"),
                }
            });
        }
        Ok(Self(clients))
    }

    /// What went wrong; nothing else ends a client.
    pub(super) async fn failure(&mut self) -> String {
        match self.0.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(error)) => error.to_string(),
            None => "there are no clients".to_owned(),
        }
    }

    pub(super) async fn end(&mut self) {
        self.0.shutdown().await;
    }
}

/// Asks over each connection of its `share` in turn.
async fn again(
    script: &Script,
    first: usize,
    mut share: Vec<Connection>,
    gate: &Gate,
    tally: &Tally,
) -> Result<()> {
    let connections = share.len();
    for turn in first.. {
        let since = gate.pass().await;
        script.ask(&mut share[turn % connections], turn, tally).await?;
        tally.answered(since);
    }
    Ok(())
}

/// Asks each time over a new connection.
async fn anew(script: &Script, first: usize, way: &Way, gate: &Gate, tally: &Tally) -> Result<()> {
    for turn in first.. {
        let since = gate.pass().await;
        let mut connection = script.connect(way, turn, tally).await?;
        script.ask(&mut connection, turn, tally).await?;
        tally.answered(since);
        if let Connection::Http1(connection) = connection {
            connection.closed().await?;
        }
    }
    Ok(())
}

impl Script {
    fn of(plan: &Plan) -> Self {
        let work = plan.work.clone();
        let closes = plan.keep != Keep::Kept;
        let worded = match plan.is_http2 {
            true => Worded::Http2(work.requests.iter().map(http2::worded).collect()),
            false => Worded::Http1(work.requests.iter().map(|asked| http1::worded(asked, closes)).collect()),
        };
        Self { work, worded }
    }

    /// A connection for what is asked at this turn.
    async fn connect(&self, way: &Way, turn: usize, tally: &Tally) -> Result<Connection> {
        let host = &self.work.requests[turn % self.work.requests.len()].host;
        let stream = way.connect(host, tally).await?;
        Ok(match self.worded {
            Worded::Http1(_) => Connection::Http1(http1::Connection::new(stream)),
            Worded::Http2(_) => Connection::Http2(http2::Connection::open(stream).await?),
        })
    }

    async fn ask(&self, connection: &mut Connection, turn: usize, tally: &Tally) -> Result<()> {
        let at = turn % self.work.requests.len();
        match (connection, &self.worded) {
            (Connection::Http1(connection), Worded::Http1(requests)) => {
                connection.ask(&requests[at], self.work.answer, tally).await
            }
            (Connection::Http2(connection), Worded::Http2(requests)) => {
                let is_grpc = self.work.requests[at].is_grpc;
                connection.ask(&requests[at], is_grpc, self.work.answer, tally).await
            }
            _ => Err(std::io::Error::other("a connection of another version")),
        }
    }
}
