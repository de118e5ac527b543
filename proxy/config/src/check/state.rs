//! `[state]`: from the file struct to [`State`].

use std::path::Path;

use super::{Report, path};
use crate::{Redis, State, StateBackend, file};

pub(super) fn check(state: &file::State, report: &mut Report<'_>) {
    let has_tls = matches!(&state.backend.0.0, StateBackend::Redis(Redis { tls: Some(_), .. }));
    if state.ca.is_some() && !has_tls {
        let message = "state.ca is of no use without TLS";
        report.add("state.ca", message, "begin state.backend with \"rediss://\", or leave ca out");
    }
}

pub(super) fn convert(state: file::State, directory: &Path) -> State {
    let mut backend = state.backend.0.0;
    if let StateBackend::Redis(Redis { tls: Some(tls), .. }) = &mut backend {
        tls.ca = state.ca.map(|file| path(directory, file));
    }
    State { backend, timeout: state.timeout.0, store_timeout: state.store_timeout.0 }
}
