//! WASI 0.2 for components that import it: clocks and random numbers; no file, no network, no
//! environment, no arguments. What they print becomes lines in the log.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, async_trait};

use crate::log::Level;
use crate::settings::Shared;

/// Longest line held back for its end; longer ones are logged in chunks.
const MAX_LINE: usize = 4 << 10;
/// Bytes taken at once.
const PERMIT: usize = 16 << 10;
/// Handles to streams and pollables one instance may hold.
const MAX_HANDLES: usize = 64;
/// Random bytes in one call.
const MAX_RANDOM: u64 = 64 << 10;

/// What WASI keeps for one instance.
pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
}

impl Wasi {
    pub(crate) fn new(plugin: &Arc<Shared>) -> Self {
        let context = WasiCtx::builder()
            .stdout(Lines::new(plugin, Level::Info))
            .stderr(Lines::new(plugin, Level::Warn))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self { context, table }
    }

    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

/// An output stream of a plugin. All streams WASI makes of it share the unfinished line.
#[derive(Clone)]
struct Lines {
    plugin: Arc<Shared>,
    level: Level,
    unfinished: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    fn new(plugin: &Arc<Shared>, level: Level) -> Self {
        Self { plugin: plugin.clone(), level, unfinished: Arc::default() }
    }

    fn push(&self, bytes: &[u8]) {
        let mut line = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match chunk.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (chunk, false),
            };
            line.extend_from_slice(text);
            if (ends && !line.is_empty()) || line.len() >= MAX_LINE {
                self.plugin.log.write(self.level, &String::from_utf8_lossy(&line));
                line.clear();
            }
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
