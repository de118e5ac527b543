//! A DNS server on loopback whose answers a test sets, changes and withholds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Answers over UDP and TCP until it is dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Zone,
    _tasks: JoinSet<()>,
}

type Zone = Arc<Mutex<Records>>;

#[derive(Debug, Default)]
struct Records {
    names: HashMap<String, (Vec<IpAddr>, u32)>,
    failing: bool,
    failing_ipv6: bool,
    asked: HashMap<String, usize>,
}

/// Longer answers are truncated over UDP (RFC 1035 §4.2.1), whatever size the client would take.
const UDP_SPACE: usize = 512;

const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const TYPE_AAAA: [u8; 2] = [0, 28];
const CLASS_IN: [u8; 2] = [0, 1];

const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

impl Dns {
    /// Starts without any name: to every question the answer is that the name does not exist.
    pub async fn start() -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().expect("a bound socket");
        let zone = Zone::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, zone.clone()));
        tasks.spawn(serve_tcp(tcp, zone.clone()));
        Self { address, zone, _tasks: tasks }
    }

    /// The port is the same for UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` has these addresses, of either family, for `ttl` seconds. With none, it exists
    /// without addresses.
    pub fn set(&self, name: &str, addresses: &[IpAddr], ttl: u32) {
        self.zone().names.insert(name.to_owned(), (addresses.to_vec(), ttl));
    }

    /// From now on `name` does not exist.
    pub fn remove(&self, name: &str) {
        self.zone().names.remove(name);
    }

    /// Whether to answer every question with SERVFAIL.
    pub fn fail(&self, failing: bool) {
        self.zone().failing = failing;
    }

    /// Whether to answer questions for AAAA with SERVFAIL.
    pub fn fail_ipv6(&self, failing: bool) {
        self.zone().failing_ipv6 = failing;
    }

    /// How many questions were asked about `name` so far.
    pub fn asked(&self, name: &str) -> usize {
        self.zone().asked.get(name).copied().unwrap_or_default()
    }

    fn zone(&self) -> MutexGuard<'_, Records> {
        lock(&self.zone)
    }
}

fn lock(zone: &Zone) -> MutexGuard<'_, Records> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One port for both protocols; the one that UDP was given may be taken for TCP.
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
        let address = udp.local_addr().expect("a bound socket");
        if let Ok(tcp) = TcpListener::bind(address).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

async fn serve_udp(socket: UdpSocket, zone: Zone) {
    let mut query = [0; 4096];
    loop {
        // An error is about an answer sent before, to a client that has gone.
        let Ok((length, client)) = socket.recv_from(&mut query).await else { continue };
        if let Some(mut answer) = answer(&zone, &query[..length]) {
            if answer.bytes.len() > UDP_SPACE {
                answer.truncate();
            }
            let _ = socket.send_to(&answer.bytes, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Zone) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_connection(stream, zone.clone()));
    }
}

/// Messages over TCP have their length in front (RFC 1035 §4.2.2).
async fn serve_connection(mut stream: TcpStream, zone: Zone) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        let Some(answer) = answer(&zone, &query) else { return };
        let length = u16::try_from(answer.bytes.len()).expect("a test that sets fewer addresses");
        let message = [&length.to_be_bytes()[..], &answer.bytes].concat();
        if stream.write_all(&message).await.is_err() {
            return;
        }
    }
}

struct Answer {
    bytes: Vec<u8>,
    /// Where the question ends.
    question: usize,
}

impl Answer {
    fn truncate(&mut self) {
        const TRUNCATED: u8 = 2;
        self.bytes.truncate(self.question);
        self.bytes[2] |= TRUNCATED;
        self.bytes[6..8].fill(0);
    }
}

/// The answer to a query with one question (RFC 1035 §4.1), which is all that resolvers send.
fn answer(zone: &Zone, query: &[u8]) -> Option<Answer> {
    let (name, end) = name(query)?;
    let kind: [u8; 2] = query.get(end..end + 2)?.try_into().ok()?;
    let question = end + 4;
    let mut bytes = query.get(..question)?.to_vec();

    let mut zone = lock(zone);
    *zone.asked.entry(name.clone()).or_default() += 1;
    let failing = zone.failing || (zone.failing_ipv6 && kind == TYPE_AAAA);
    let (addresses, ttl, code) = match zone.names.get(&name) {
        _ if failing => (&[][..], 0, SERVER_FAILURE),
        Some((addresses, ttl)) => (&addresses[..], *ttl, 0),
        None => (&[][..], 0, NO_SUCH_NAME),
    };
    let mut count = 0_u16;
    for address in addresses {
        let octets = match address {
            IpAddr::V4(address) if kind == TYPE_A => address.octets().to_vec(),
            IpAddr::V6(address) if kind == TYPE_AAAA => address.octets().to_vec(),
            _ => continue,
        };
        count += 1;
        // The name is that of the question.
        bytes.extend([0xc0, HEADER as u8]);
        bytes.extend(kind);
        bytes.extend(CLASS_IN);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend([0, octets.len() as u8]);
        bytes.extend(octets);
    }
    const RESPONSE: u8 = 0x80;
    const RECURSION_DESIRED: u8 = 1;
    const RECURSION_AVAILABLE: u8 = 0x80;
    bytes[2] = RESPONSE | (query[2] & RECURSION_DESIRED);
    bytes[3] = RECURSION_AVAILABLE | code;
    bytes[4..6].copy_from_slice(&1_u16.to_be_bytes());
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    // No authorities, and nothing additional such as EDNS.
    bytes[8..HEADER].fill(0);
    Some(Answer { bytes, question })
}

/// The name in the question, in lower case without a final dot, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = query.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}
