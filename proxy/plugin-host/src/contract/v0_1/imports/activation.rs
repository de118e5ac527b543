//! `activation`: what a policy narrows while it is configured.

use super::Interface;
use crate::contract::common::{Store, narrow, tell};

pub(super) fn link(activation: &mut Interface<'_>) -> wasmtime::Result<()> {
    activation.question("only-paths", |store: Store<'_>, (patterns,): (Vec<String>,)| {
        narrow(store, |narrowing| narrowing.only_paths(&patterns))
    })?;
    activation.question("only-hosts", |store: Store<'_>, (patterns,): (Vec<String>,)| {
        narrow(store, |narrowing| narrowing.only_hosts(&patterns))
    })?;
    activation.question("only-methods", |store: Store<'_>, (methods,): (Vec<String>,)| {
        narrow(store, |narrowing| narrowing.only_methods(&methods))
    })?;
    activation.question("only-with-headers", |store: Store<'_>, (names,): (Vec<String>,)| {
        narrow(store, |narrowing| narrowing.only_with_headers(&names))
    })?;
    activation.question("pure", |store: Store<'_>, (): ()| {
        tell(store, |narrowing| narrowing.pure());
        Ok(())
    })?;
    activation.question("routes", |store: Store<'_>, (destinations,): (Vec<String>,)| {
        tell(store, |narrowing| narrowing.routes(destinations));
        Ok(())
    })
}
