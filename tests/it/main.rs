//! End-to-end tests: one file per part of the product, named as the configuration and the modules are.

mod access_log;
mod admin;
mod bodies;
mod cli;
mod docs;
mod forwarding;
mod http1;
mod http2;
mod limits;
mod listener;
mod policy;
mod reload;
mod request;
mod sandbox;
mod shutdown;
mod stock;
mod tidy;
mod tls;
mod upgrade;
mod upstream;
