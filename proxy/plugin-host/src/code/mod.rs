//! A plugin's file, compiled and checked against the contract.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};
use wasmtime::{Engine, Module};
use wit_component::ComponentEncoder;

use crate::contract::{Indices, PACKAGE, Version};
use crate::engine::Host;
use crate::error::LoadError;
use crate::phase::Phase;
use crate::state::State;

/// Capabilities of contract 0.1 that came with 0.2.
const ONLY_IN_0_2: [&str; 4] = ["callout", "metrics", "rate-limit", "store"];
/// What wasmtime-wasi links.
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
const WASI_VERSION: &str = "0.2.";

/// A plugin's compiled code. Cheap to clone; one code can serve several plugins.
#[derive(Clone)]
pub struct Code(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) host: Host,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Indices,
    phases: Vec<Phase>,
    capabilities: Vec<String>,
    /// It imports a function that chooses a destination.
    routes: bool,
    /// It imports the function that sends a request once more.
    retries: bool,
    /// It imports WASI.
    wasi: bool,
    /// Its calls may wait.
    waits: bool,
    compile_time: Duration,
}

impl Inner {
    pub(crate) fn phases(&self) -> &[Phase] {
        &self.phases
    }
}

impl Host {
    /// Compiles a component, or a core module that the plugin SDK built.
    ///
    /// Takes one core for a fraction of a second per megabyte; call it where no request waits.
    ///
    /// # Errors
    ///
    /// When the file is not what a plugin must be; the message says what to do.
    pub fn compile(&self, bytes: &[u8]) -> Result<Code, LoadError> {
        let began = Instant::now();
        let encoded;
        let component = match Layer::of(bytes)? {
            Layer::Component => bytes,
            Layer::Module => {
                encoded = encode(self.engine(), bytes)?;
                &encoded
            }
        };
        let invalid = |error: wasmtime::Error| match format!("{error:#}") {
            text if text.contains("component model async") => LoadError::Asynchronous,
            text => LoadError::Invalid(text),
        };
        let component = Component::from_binary(self.engine(), component).map_err(invalid)?;
        let capabilities = check_imports(self, &component)?;
        let (version, phases) = check_exports(self, &component)?;

        let mismatch = |error: wasmtime::Error| LoadError::Mismatch(format!("{error:#}"));
        let wasi = capabilities.iter().any(|name| name.starts_with("wasi:"));
        let waits = wasi || capabilities.iter().any(|name| self.may_wait(name));
        let pre = self.linker(waits).instantiate_pre(&component).map_err(mismatch)?;
        Ok(Code(Arc::new(Inner {
            host: self.clone(),
            exports: Indices::find(version, &pre, &phases).map_err(mismatch)?,
            pre,
            phases,
            capabilities,
            routes: imports(self, &component, &ROUTE) || imports(self, &component, &RETRY),
            retries: imports(self, &component, &RETRY),
            wasi,
            waits,
            compile_time: began.elapsed(),
        })))
    }

    /// Whether functions of an interface, such as `tidegate:policy/store@0.2.0`, may wait.
    fn may_wait(&self, interface: &str) -> bool {
        let name = interface.strip_prefix(PACKAGE).and_then(|name| name.split_once('@'));
        match name.map(|(name, _)| name) {
            Some("callout" | "password") => true,
            Some("rate-limit" | "store") => self.state_waits(),
            _ => false,
        }
    }
}

impl Code {
    /// The phases it exports, in the order of an exchange; never empty.
    pub fn phases(&self) -> &[Phase] {
        &self.0.phases
    }

    /// The interfaces it imports, sorted, such as `tidegate:policy/http@0.1.0`.
    pub fn capabilities(&self) -> Vec<String> {
        self.0.capabilities.clone()
    }

    /// How long it took to be compiled, or to be found in the cache.
    pub fn compile_time(&self) -> Duration {
        self.0.compile_time
    }

    /// Whether it can send requests to a destination of its choice.
    pub(crate) fn chooses_routes(&self) -> bool {
        self.0.routes
    }

    /// Whether it can send requests once more.
    pub(crate) fn retries(&self) -> bool {
        self.0.retries
    }

    /// True if its calls may wait: it imports WASI, or something else that does.
    pub(crate) fn is_async(&self) -> bool {
        self.0.waits
    }

    pub(crate) fn has_wasi(&self) -> bool {
        self.0.wasi
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("phases", &self.0.phases).finish_non_exhaustive()
    }
}

enum Layer {
    Module,
    Component,
}

impl Layer {
    /// By the version field: `01 00 00 00` is a module, and a component says `01 00` in the upper half.
    fn of(bytes: &[u8]) -> Result<Self, LoadError> {
        let Some(rest) = bytes.strip_prefix(b"\0asm") else {
            return Err(LoadError::NotWasm);
        };
        match rest {
            [1, 0, 0, 0, ..] => Ok(Self::Module),
            [_, _, 1, 0, ..] => Ok(Self::Component),
            _ => Err(LoadError::Invalid("the header ends early or names an unknown version".to_owned())),
        }
    }
}

fn encode(engine: &Engine, module: &[u8]) -> Result<Vec<u8>, LoadError> {
    Module::validate(engine, module).map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
    // The encoder trusts the custom sections that it reads, which validation does not look into.
    let encoded = std::panic::catch_unwind(|| {
        let encoder = ComponentEncoder::default().validate(true).module(module);
        encoder.and_then(|mut encoder| encoder.encode())
    });
    let encoded =
        encoded.map_err(|_| LoadError::Module("its `component-type` section is broken".to_owned()))?;
    encoded.map_err(|error| {
        let text = format!("{error:#}");
        if text.contains("wasi_snapshot_preview1") { LoadError::Preview1 } else { LoadError::Module(text) }
    })
}

/// The interfaces the component imports, sorted.
fn check_imports(host: &Host, component: &Component) -> Result<Vec<String>, LoadError> {
    let ty = component.component_type();
    let mut names = Vec::new();
    let mut unknown = Vec::new();
    for (name, item) in ty.imports(host.engine()) {
        names.push(name.to_owned());
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        if let Some(of_policy) = interface.strip_prefix(PACKAGE) {
            check_interface(host, of_policy, version, &item.ty)?;
            continue;
        }
        let is_wasi = WASI.iter().any(|package| interface.starts_with(package));
        if !(is_wasi && version.starts_with(WASI_VERSION)) {
            unknown.push(format!("`{name}`"));
        }
    }
    if !unknown.is_empty() {
        unknown.sort_unstable();
        return Err(LoadError::UnknownImports(unknown));
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether all that the component wants of an interface of the contract is there.
fn check_interface(host: &Host, name: &str, version: &str, item: &ComponentItem) -> Result<(), LoadError> {
    let newer = |what: String, ours: String| LoadError::Newer { what, theirs: version.to_owned(), ours };
    let Some(known) = Version::of(version) else {
        let ours = Version::ALL.map(Version::newest).join(" and ");
        return Err(newer(format!("the interface `{name}`"), ours));
    };
    let Some(offered) = host.offered().functions(name, known.line()) else {
        return Err(if known == Version::V0_1 && ONLY_IN_0_2.contains(&name) {
            LoadError::OnlyInNewer(format!("{PACKAGE}{name}"))
        } else {
            newer(format!("the interface `{name}`"), known.newest().to_owned())
        });
    };
    let ComponentItem::ComponentInstance(interface) = item else { return Ok(()) };
    let mut functions = interface.exports(host.engine());
    let missing = functions.find(|(function, item)| {
        matches!(item.ty, ComponentItem::ComponentFunc(_)) && !offered.contains(function)
    });
    match missing {
        Some((function, _)) => {
            Err(newer(format!("the function `{function}` of `{name}`"), known.newest().to_owned()))
        }
        None => Ok(()),
    }
}

/// Functions that choose where a request goes, by interface.
const ROUTE: [(&str, &str); 2] = [("http", "[method]request.route-to"), ("request", "route-to")];
const RETRY: [(&str, &str); 1] = [("response", "retry-at")];

/// Whether the component imports one of these functions.
fn imports(host: &Host, component: &Component, wanted: &[(&str, &str)]) -> bool {
    let ty = component.component_type();
    ty.imports(host.engine()).any(|(name, item)| {
        let interface = name.strip_prefix(PACKAGE).and_then(|name| name.split_once('@'));
        match (interface, item.ty) {
            (Some((interface, _)), ComponentItem::ComponentInstance(functions)) => {
                functions.exports(host.engine()).any(|(function, _)| wanted.contains(&(interface, function)))
            }
            _ => false,
        }
    })
}

/// The version of the contract it is written for, and the phases it exports.
fn check_exports(host: &Host, component: &Component) -> Result<(Version, Vec<Phase>), LoadError> {
    let ty = component.component_type();
    let mut phases = Vec::new();
    let mut lifecycle = None;
    let mut lines = Vec::new();
    for (name, item) in ty.exports(host.engine()) {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        let Some(of_policy) = interface.strip_prefix(PACKAGE) else { continue };
        let known = Version::of(version).filter(|_| matches!(item.ty, ComponentItem::ComponentInstance(_)));
        let phase = of_policy.strip_suffix("-phase");
        let phase = phase.and_then(|name| Phase::ALL.into_iter().find(|phase| phase.as_str() == name));
        match (of_policy, known, phase) {
            ("lifecycle", Some(version), _) => lifecycle = Some(version),
            (_, Some(version), Some(phase)) if version.has(phase) => phases.push(phase),
            _ => return Err(LoadError::UnknownExport(name.to_owned())),
        }
        lines.extend(known.map(Version::line));
    }
    let version = lifecycle.ok_or(LoadError::NoLifecycle)?;
    if let Some(other) = lines.iter().find(|line| **line != version.line()) {
        return Err(LoadError::SeveralVersions(version.line(), other));
    }
    if phases.is_empty() {
        return Err(LoadError::NoPhase);
    }
    phases.sort_unstable();
    for phase in &phases {
        if let Some(head) = phase.head().filter(|head| !phases.contains(head)) {
            let name = |phase: Phase| format!("{}-phase", phase.as_str());
            return Err(LoadError::NeverAsks { body: name(*phase), head: name(head) });
        }
    }
    Ok((version, phases))
}
