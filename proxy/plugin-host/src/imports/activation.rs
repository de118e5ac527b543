//! `activation`: what a policy narrows while it is configured.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::activation::Narrowing;
use crate::matching::Watch;
use crate::state::{Stage, State};

type Store<'a> = StoreContextMut<'a, State>;

pub(super) fn link(activation: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    activation.func_wrap("only-paths", |store: Store<'_>, (patterns,): (Vec<String>,)| {
        narrow(store, |narrowing| narrowing.only_paths(&patterns))
    })?;
    activation.func_wrap("only-hosts", |store: Store<'_>, (patterns,): (Vec<String>,)| {
        narrow(store, |narrowing| narrowing.only_hosts(&patterns))
    })?;
    activation.func_wrap("only-methods", |store: Store<'_>, (methods,): (Vec<String>,)| {
        narrow(store, |narrowing| narrowing.only_methods(&methods))
    })?;
    activation.func_wrap("only-with-headers", |store: Store<'_>, (names,): (Vec<String>,)| {
        narrow(store, |narrowing| narrowing.only_with_headers(&names))
    })?;
    activation.func_wrap("pure", |mut store: Store<'_>, (): ()| {
        // Outside of `configure` it has no way to fail and no effect.
        if let Stage::Defining(narrowing) = &mut store.data_mut().stage {
            narrowing.pure();
        }
        Ok(())
    })?;
    activation.func_wrap("routes", |mut store: Store<'_>, (destinations,): (Vec<String>,)| {
        if let Stage::Defining(narrowing) = &mut store.data_mut().stage {
            narrowing.routes(destinations);
        }
        Ok(())
    })
}

/// The first instance decides; what later ones say was said before.
fn narrow(
    mut store: Store<'_>,
    change: impl FnOnce(&mut Narrowing) -> Result<(), String>,
) -> wasmtime::Result<(Result<(), String>,)> {
    let state = store.data_mut();
    let narrowed = match &mut state.stage {
        Stage::Defining(narrowing) => change(narrowing),
        Stage::Configuring => Ok(()),
        Stage::Starting | Stage::Serving(_) => Err("activation is set in `configure` only".to_owned()),
    };
    state.budget.look()?;
    Ok((narrowed,))
}
