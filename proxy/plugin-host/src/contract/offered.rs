//! Links the functions of a contract, and knows afterwards what there is: an import that is not among it is refused by
//! name.

use std::collections::{BTreeMap, BTreeSet};

use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, ResourceType};

use super::common::Store;
use crate::state::State;

/// Functions by interface, such as `http@0.1`.
#[derive(Debug, Default)]
pub(crate) struct Offered(BTreeMap<String, BTreeSet<&'static str>>);

impl Offered {
    /// Functions of an interface (`http`) in a line of versions (`0.1`); `None` if there is no such interface.
    pub(crate) fn functions(&self, interface: &str, line: &str) -> Option<&BTreeSet<&'static str>> {
        self.0.get(&format!("{interface}@{line}"))
    }

    /// All interfaces, such as `http@0.1`.
    #[cfg(test)]
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A linker that notes what it links.
pub(super) struct Offering<'l> {
    pub(super) linker: &'l mut Linker<State>,
    pub(super) offered: &'l mut Offered,
}

impl Offering<'_> {
    pub(super) fn interface(&mut self, name: &str, version: &str) -> wasmtime::Result<Interface<'_>> {
        let (line, _) = version.rsplit_once('.').unwrap_or((version, ""));
        Ok(Interface {
            functions: self.offered.0.entry(format!("{name}@{line}")).or_default(),
            instance: self.linker.instance(&format!("tidegate:policy/{name}@{version}"))?,
        })
    }
}

/// One interface of a contract while it is linked.
pub(super) struct Interface<'l> {
    functions: &'l mut BTreeSet<&'static str>,
    instance: LinkerInstance<'l, State>,
}

impl Interface<'_> {
    /// A function that does nothing but put questions (see [`crate::observe`]), or that depends on its parameters
    /// alone: a call of it can be remembered.
    pub(super) fn question<P, R, F>(&mut self, name: &'static str, function: F) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
        F: Fn(Store<'_>, P) -> wasmtime::Result<R> + Send + Sync + 'static,
    {
        self.functions.insert(name);
        self.instance.func_wrap(name, function)
    }

    /// Any other function: a call of it is never remembered.
    pub(super) fn function<P, R, F>(&mut self, name: &'static str, function: F) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
        F: Fn(Store<'_>, P) -> wasmtime::Result<R> + Send + Sync + 'static,
    {
        self.question(name, move |store, parameters| {
            store.data().call.observe(name);
            function(store, parameters)
        })
    }

    /// A function that may suspend the plugin.
    pub(super) fn suspends<P, R, F>(&mut self, name: &'static str, function: F) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + Send + Sync + 'static,
        R: ComponentNamedList + Lower + Send + Sync + 'static,
        F: for<'a> Fn(Store<'a>, P) -> Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>
            + Send
            + Sync
            + 'static,
    {
        self.functions.insert(name);
        self.instance.func_wrap_async(name, move |store, parameters| {
            store.data().call.observe(name);
            let meter = store.data().budget.meter.clone();
            let waiting = Box::into_pin(function(store, parameters));
            Box::new(async move {
                meter.begin_wait();
                let result = waiting.await;
                meter.end_wait();
                result
            })
        })
    }

    pub(super) fn resource(&mut self, name: &'static str, ty: ResourceType) -> wasmtime::Result<()> {
        self.instance.resource(name, ty, |_, _| Ok(()))
    }
}
