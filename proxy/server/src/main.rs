//! The `tidegate` binary: a programmable edge proxy.
//!
//! [`thread`] serves connections, [`exchange`] is one request from head to end, [`tcp`] one connection that is forwarded
//! at layer 4. [`server`] is the process; [`reload`] makes [`snapshot`]s of the files and hands them to the threads.
//! [`upgrade`] has another process take its place.
//! `proxy/ARCHITECTURE.md` follows a request from file to file.

mod access_log;
mod acme;
mod admin;
mod cache;
mod callouts;
mod cases;
mod commands;
mod compile_cache;
mod compression;
mod error;
mod exchange;
mod explain;
mod files;
mod http;
mod imagined;
mod lines;
mod listener;
mod log;
mod machine;
mod metrics;
mod outbound;
mod policy;
mod regular;
mod rehearsal;
mod reload;
mod response;
mod sample;
mod server;
mod signals;
mod snapshot;
mod sources;
mod state;
mod systemd;
mod tasks;
mod tcp;
mod thread;
mod timers;
mod tls;
mod trace;
mod tunnel;
mod upgrade;
mod worker;

use std::process::ExitCode;

/// A request allocates and frees some dozens of small pieces on one thread; glibc's allocator spent
/// 11 % of the proxy's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::main()
}
