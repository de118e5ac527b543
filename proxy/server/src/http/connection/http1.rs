//! Drives a connection of HTTP/1: in spells of requests, between which it holds next to nothing.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate_body::ResponseBody;
use tidegate_io::wake::Beside;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Arrival;
use super::answer::serve_request;
use super::state::{Next, State};
use crate::error::Unparsed;
use crate::http::io::Io;
use crate::http::leftover::ClientBody;

/// What is read at once, and what waits to be written; hyper would take 400 KiB of either.
const HTTP1_BUFFER: usize = 64 << 10;

/// Fields of a head that hyper takes at most where it is not told otherwise.
const HTTP1_FIELDS: usize = 100;

/// How long a client is waited for that is told, or shown, that its connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves the requests of a connection until it ends.
pub(super) async fn serve<S, H, F, U>(
    mut io: Box<Io<S>>,
    state: &Rc<State>,
    drain: &mut watch::Receiver<bool>,
    handle: &H,
    unparsed: &U,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<ClientBody>, Arrival) -> F,
    F: Future<Output = Response<ResponseBody>> + 'static,
    U: Fn(Unparsed),
{
    while rest(&mut io, state, drain).await {
        // Boxed: a connection that rests has no room for it.
        match Box::pin(spell(io, state, drain, handle, unparsed)).await {
            Some(rested) => io = rested,
            None => return,
        }
    }
}

/// Waits for the first bytes of a request; false if the connection is over.
async fn rest<S>(io: &mut Io<S>, state: &State, drain: &mut watch::Receiver<bool>) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if io.has_more() {
        return true;
    }
    state.rests(true);
    let closes = loop {
        let next = pin!(state.next(drain));
        tokio::select! {
            biased;
            come = io.fetch() => match come {
                Ok(true) => {
                    state.rests(false);
                    return true;
                }
                Ok(false) => break true,
                Err(_) => break false,
            },
            next = next => match next {
                Next::Check | Next::Rest => {}
                Next::Close => break true,
                Next::Cut | Next::RequestTimeout => break false,
            },
        }
    };
    if closes {
        let _ = timeout(FAREWELL, io.shutdown()).await;
    }
    false
}

/// Serves requests until there are none for a while: the stream is given back then, and what was read of it.
async fn spell<S, H, F, U>(
    io: Box<Io<S>>,
    state: &Rc<State>,
    drain: &mut watch::Receiver<bool>,
    handle: &H,
    unparsed: &U,
) -> Option<Box<Io<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<ClientBody>, Arrival) -> F,
    F: Future<Output = Response<ResponseBody>> + 'static,
    U: Fn(Unparsed),
{
    let bounds = state.bounds();
    let mut builder = http1::Builder::new();
    // With a limit of its own hyper prepares the places for fields one by one.
    if bounds.limits.request_header_count != HTTP1_FIELDS {
        builder.max_headers(bounds.limits.request_header_count);
    }
    let service = service_fn(|request| serve_request(state.clone(), request, handle));
    let mut connection = builder
        .max_header_size(bounds.limits.request_headers)
        .max_buf_size(HTTP1_BUFFER.max(bounds.limits.request_headers))
        .title_case_headers(bounds.title_case)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let rests = loop {
        let next = pin!(state.next(drain));
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Some(refusal) = ended.err().as_ref().and_then(refusal) {
                    unparsed(refusal);
                }
                return None;
            }
            next = Beside::new(next) => match next {
                Next::Check => {}
                Next::Rest => break true,
                Next::Close => Pin::new(&mut connection).graceful_shutdown(),
                Next::Cut => return None,
                Next::RequestTimeout => break false,
            },
        }
    };
    let parts = connection.into_parts()?;
    let mut io = parts.io.into_inner();
    if rests {
        io.unread(&parts.read_buf);
        return Some(io);
    }
    let (status, failure) = (StatusCode::REQUEST_TIMEOUT, "request-timeout");
    unparsed(Unparsed { version: Version::HTTP_11, status, failure });
    answer_request_timeout(io).await;
    None
}

/// What hyper answered to something it could not parse, and the name of the failure.
fn refusal(error: &hyper::Error) -> Option<Unparsed> {
    let (status, failure) = if error.is_parse_too_large() {
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large")
    } else {
        (StatusCode::BAD_REQUEST, "bad-request")
    };
    error.is_parse().then_some(Unparsed { version: Version::HTTP_11, status, failure })
}

/// hyper cannot answer a request it has not parsed, so this is said on the bare stream.
async fn answer_request_timeout<S: AsyncRead + AsyncWrite + Unpin>(mut io: Box<Io<S>>) {
    const ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let farewell = async {
        io.write_all(ANSWER).await?;
        io.shutdown().await
    };
    // A client that does not even read this is not waited for.
    let _ = timeout(FAREWELL, farewell).await;
}
