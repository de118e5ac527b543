//! `log`: lines in the proxy's log.

use wasmtime::component::WasmStr;

use super::Interface;
use crate::contract::common::{Store, write_log};
use crate::contract::v0_1::bindings::tidegate::policy::log::Level;
use crate::log::{self, enabled};

pub(super) fn link(log: &mut Interface<'_>) -> wasmtime::Result<()> {
    log.function("enabled", |_: Store<'_>, (level,): (Level,)| Ok((enabled(level.into()),)))?;
    log.function("write", |store: Store<'_>, (level, message): (Level, WasmStr)| {
        write_log(store, level.into(), &message)
    })
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}
