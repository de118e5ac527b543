//! The `tidegate` binary: a programmable edge proxy.
//!
//! A request passes the stages in this order; each is a folder, and none knows another:
//!
//! | stage | what it does |
//! |---|---|
//! | [`listener`] | accepts connections, as many as the limits allow |
//! | [`tls`] | terminates TLS, chooses the certificate |
//! | [`http`] | drives the connection, refuses what is ambiguous |
//! | [`policy`] | asks the plugins of the chain |
//! | [`upstream`] | chooses a server and sends the request on a kept connection |
//!
//! [`compression`] codes what comes back for clients that like it smaller.
//!
//! [`exchange`] puts them together for one request, [`tcp`] for one connection that is forwarded at
//! layer 4, [`worker`] for one thread, [`server`] for the process. [`reload`] makes [`snapshot`]s of the
//! files and hands them to the workers.

mod access_log;
mod admin;
mod commands;
mod compression;
mod error;
mod exchange;
mod files;
mod http;
mod listener;
mod log;
mod policy;
mod reload;
mod response;
mod server;
mod snapshot;
mod tasks;
mod tcp;
mod thread;
mod tls;
mod tunnel;
mod worker;

use std::process::ExitCode;

/// A request allocates and frees some dozens of small pieces on one thread; glibc's allocator spent
/// 11 % of the proxy's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::main()
}
