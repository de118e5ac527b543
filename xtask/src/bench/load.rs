//! The load and the server behind the proxies, both on one thread: HTTP/1.1, as little of it as possible.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::command::Result;

/// Bytes of a response body of the server.
const BODY: usize = 1024;
/// Bytes of a body that clients take at once: all of their buffers stay in the cache of a core.
const TAKEN: usize = 16 << 10;

/// Legacy paths that clients ask for: more than one, which a proxy could remember, and no more than a site has that
/// clients ask for again and again.
const ARTICLES: usize = 100;

/// More paths than those for which the proxy remembers what a policy decided.
const MANY_ARTICLES: usize = 10_000;

/// What clients ask for, in turn: something for each rule to decide, and nothing that ends at the proxy.
fn targets(articles: usize) -> impl Iterator<Item = String> {
    let round = |article: usize| {
        let article = format!("/old/articles/{article}");
        ["/".to_owned(), "/images/logo.png?v=3".to_owned(), article, "/api/v1/orders".to_owned()]
    };
    (0..articles).flat_map(round)
}

/// What clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// What [`targets`] says, from the server behind the proxy.
    Forwarded,
    /// The same with so many targets that the proxy calls the policies for most of them.
    Varied,
    /// Requests with a body.
    Upload,
    /// A file of so many bytes, from the proxy itself.
    File(usize),
    /// The file [`TEXT`], which the proxy compresses, in several codings.
    Compressed,
}

/// The file of [`Work::Compressed`].
pub(super) const TEXT: &str = "text.md";

impl Work {
    fn requests(self) -> Vec<String> {
        match self {
            Self::Forwarded => targets(ARTICLES).map(|target| get(&target, CODINGS)).collect(),
            Self::Varied => targets(MANY_ARTICLES).map(|target| get(&target, CODINGS)).collect(),
            Self::Upload => vec![post("/api/v1/orders", &"x".repeat(BODY))],
            Self::File(bytes) => vec![get(&format!("/{bytes}"), CODINGS)],
            Self::Compressed => ["gzip", "br", "zstd"].map(|coding| get(&format!("/{TEXT}"), coding)).into(),
        }
    }

    /// Bytes of each answer's body, at least.
    fn body(self) -> usize {
        match self {
            Self::Forwarded | Self::Varied | Self::Upload => BODY,
            Self::File(bytes) => bytes,
            Self::Compressed => 1,
        }
    }

    /// Whether an answer of which `come` bytes of the body have come, the last ones `bytes`, is whole.
    fn is_whole(self, come: usize, bytes: &[u8]) -> bool {
        match self {
            Self::Compressed => bytes.ends_with(b"\r\n0\r\n\r\n"),
            _ => come >= self.body(),
        }
    }

    /// Large answers keep a core busy with a few clients.
    fn connections(self, all: usize) -> usize {
        if self.body() > 1 << 20 { all.min(4) } else { all }
    }
}

/// A running server, and clients to be let loose on a proxy before it.
pub(super) struct Load {
    runtime: Runtime,
    tasks: LocalSet,
    server: SocketAddr,
    connections: usize,
}

/// What was measured in a run, after its warm-up.
pub(super) struct Outcome {
    /// Answers; of those that were not complete at the end, the part that had come.
    pub(super) requests: f64,
    pub(super) elapsed: Duration,
    /// By how much the gauge grew.
    pub(super) gauged: u64,
}

impl Load {
    /// Starts the server, which works only during a run.
    pub(super) fn start(connections: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
        let tasks = LocalSet::new();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.map_err(|error| format!("cannot listen on loopback: {error}"))?;
        let server = listener.local_addr().map_err(|error| format!("no address: {error}"))?;
        tasks.spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(stream));
            }
        });
        Ok(Self { runtime, tasks, server, connections })
    }

    /// The server behind the proxies.
    pub(super) fn server(&self) -> SocketAddr {
        self.server
    }

    /// Asks the proxy at `address` for `work` as fast as it answers for `warm_up` and then for `time`; reads `gauge`
    /// at the beginning and the end of the latter. Any answer but 200 is an error.
    pub(super) fn run(
        &self,
        address: SocketAddr,
        work: Work,
        warm_up: Duration,
        time: Duration,
        gauge: impl Fn() -> Result<u64>,
    ) -> Result<Outcome> {
        let taken = Rc::new(Cell::new(0_u64));
        self.tasks.block_on(&self.runtime, async {
            let mut clients = tokio::task::JoinSet::new();
            for first in 0..work.connections(self.connections) {
                clients.spawn_local(ask(address, work, first, Rc::clone(&taken)));
            }
            let measured = async {
                tokio::time::sleep(warm_up).await;
                let (begun, before, used) = (Instant::now(), taken.get(), gauge()?);
                tokio::time::sleep(time).await;
                let (elapsed, taken) = (begun.elapsed(), taken.get() - before);
                let gauged = gauge()?.saturating_sub(used);
                if taken == 0 {
                    return Err("not one request was answered".to_owned());
                }
                let requests = taken as f64 / work.body() as f64;
                Ok(Outcome { requests, elapsed, gauged })
            };
            // A client ends only when it fails.
            let outcome = tokio::select! {
                outcome = measured => outcome,
                Some(ended) = clients.join_next() => match ended {
                    Ok(error) => Err(error),
                    Err(error) => Err(error.to_string()),
                },
            };
            // A proxy that is told to end would wait for open connections.
            clients.shutdown().await;
            outcome
        })
    }
}

/// One client: one connection, one request at a time; counts the bytes of bodies. Returns only what went
/// wrong.
async fn ask(address: SocketAddr, work: Work, first: usize, taken: Rc<Cell<u64>>) -> String {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let requests = work.requests();
        let mut buffer = Vec::with_capacity(TAKEN);
        for turn in first.. {
            stream.write_all(requests[turn % requests.len()].as_bytes()).await?;
            buffer.clear();
            let length = read_head(&mut stream, &mut buffer).await?;
            if !buffer.starts_with(b"HTTP/1.1 200 ") {
                let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
                return Err(std::io::Error::other(format!("an answer that is not 200: {head}")));
            }
            let mut come = buffer.len() - length;
            taken.set(taken.get() + come as u64);
            while !work.is_whole(come, &buffer) {
                // What ends a chunked body may come in parts.
                if work != Work::Compressed {
                    buffer.clear();
                }
                let read = stream.read_buf(&mut buffer).await?;
                if read == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                come += read;
                taken.set(taken.get() + read as u64);
            }
        }
        Ok(())
    };
    match asking.await {
        Ok(()) => "a client ran out of numbers".to_owned(),
        Err(error) => format!("a client failed: {error}"),
    }
}

/// What browsers take.
const CODINGS: &str = "gzip, deflate, br";

/// A request as browsers send them, by its fields.
fn get(target: &str, codings: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n{}\r\n", fields(codings))
}

fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\n{}Content-Length: {length}\r\n\r\n{body}", fields(CODINGS))
}

fn fields(codings: &str) -> String {
    format!(
        "Host: www.example.com\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
         Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: {codings}\r\n"
    )
}

/// The server's side of a connection.
async fn serve(mut stream: TcpStream) {
    let response = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n{}",
        "x".repeat(BODY)
    );
    let mut buffer = Vec::with_capacity(8 << 10);
    // The server skips the body of a request together with the next head. A proxy that closes a connection ends this
    // loop; no error is worth a message.
    let _ = stream.set_nodelay(true);
    while read_head(&mut stream, &mut buffer).await.is_ok() {
        buffer.clear();
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads at least a whole head into the empty `buffer`; returns its length.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(at + 4);
        }
    }
}
