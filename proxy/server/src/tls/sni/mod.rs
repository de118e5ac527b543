//! Reads the server name off a TLS connection that is passed on as it is, without terminating TLS.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How much of a connection is read in search of its ClientHello. One is below 2 KiB with a post-quantum
/// key share, some more with tickets and ECH. nginx (`preread_buffer_size`) and HAProxy (`tune.bufsize`)
/// look at 16 KiB as well, so no client depends on more, and one that sends more holds no more memory.
const MAX_HELLO: usize = 16 << 10;

/// What is read at once: a ClientHello and the records that may come with it, in one call.
const PIECE: usize = 4 << 10;

/// The first byte of a TLS record that carries a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// The fatal alert to answer with when nothing is known by the server name (RFC 6066 §3).
pub(crate) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The beginning of a TLS connection.
#[derive(Debug)]
pub(crate) struct Hello {
    /// In lower case, without a final dot (RFC 6066 §3). `None` if the client named none, or an IP
    /// address. With ECH this is the outer name.
    pub(crate) server_name: Option<String>,
    /// Everything that was read, to be sent on before anything else.
    pub(crate) bytes: Bytes,
}

/// Why no server name could be read: the client's doing, except for `Io`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another protocol, such as clear HTTP to a TLS port.
    #[error("not TLS: the connection begins with \"{0}\"")]
    NotTls(String),
    /// TLS, but not the beginning of a handshake that rustls would accept. Clients that speak nothing newer
    /// than TLS 1.1 are among these, if they do not send `signature_algorithms` (RFC 5246 §7.4.1.4.1).
    #[error("not a valid ClientHello: {0}")]
    Malformed(rustls::Error),
    #[error("the ClientHello is longer than {MAX_HELLO} bytes")]
    TooLong,
    /// A port scan or a TCP health check ends like this.
    #[error("the connection ended after {0} bytes, before the end of the ClientHello")]
    Ended(usize),
    #[error("no complete ClientHello within {0:?}")]
    Timeout(Duration),
    #[error("cannot read the ClientHello: {0}")]
    Io(#[from] io::Error),
}

/// Reads until the ClientHello is complete, over however many segments and records it is spread, within
/// `limit`. Dropping the future loses what was read.
pub(crate) async fn peek(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> Result<Hello, Error> {
    match timeout(limit, read(stream)).await {
        Ok(hello) => hello,
        Err(_) => Err(Error::Timeout(limit)),
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Error> {
    let mut acceptor = Acceptor::default();
    let mut bytes = BytesMut::new();
    loop {
        let before = bytes.len();
        let room = PIECE.min(MAX_HELLO - before);
        if room == 0 {
            return Err(Error::TooLong);
        }
        bytes.reserve(room);
        if (&mut *stream).take(room as u64).read_buf(&mut bytes).await? == 0 {
            return Err(Error::Ended(before));
        }
        if bytes[0] != HANDSHAKE {
            return Err(Error::NotTls(bytes[..bytes.len().min(16)].escape_ascii().to_string()));
        }
        let mut fresh = &bytes[before..];
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh)?;
        }
        // The alert that comes with an error is not sent: to the client this is the server it asked for.
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| Error::Malformed(error))? {
            let server_name = accepted.client_hello().server_name().map(str::to_owned);
            return Ok(Hello { server_name, bytes: bytes.freeze() });
        }
    }
}

#[cfg(test)]
mod tests;
