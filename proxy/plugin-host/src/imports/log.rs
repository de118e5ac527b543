//! `log`: lines in the proxy's log.

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmStr};

use crate::bindings::tidegate::policy::log::Level;
use crate::log::{clean, enabled};
use crate::state::State;

/// Of an error that is repeated where a crash is reported.
const MAX_LAST_WORDS: usize = 512;

pub(super) fn link(log: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    log.func_wrap("enabled", |store: StoreContextMut<'_, State>, (level,): (Level,)| {
        store.data().recorder.give_up();
        Ok((enabled(level),))
    })?;
    log.func_wrap("write", |mut store: StoreContextMut<'_, State>, (level, message): (Level, WasmStr)| {
        store.data().recorder.give_up();
        let last_words = {
            let message = message.to_str(&store)?;
            store.data().plugin.log.write(level, &message);
            matches!(level, Level::Error).then(|| clean(&message, MAX_LAST_WORDS))
        };
        if last_words.is_some() {
            store.data_mut().last_words = last_words;
        }
        Ok(())
    })
}
