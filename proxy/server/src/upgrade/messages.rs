//! What two processes tell each other. Fields may be added: who does not know them passes over them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tidegate_acme::TicketSecret;
use tidegate_state::{Kept, KeptValue, State};

/// Of these messages. A process that speaks another one cannot be upgraded to this.
pub(super) const VERSION: u32 = 1;

/// Bytes of limits and stores that are carried over; what is beyond is left behind.
const MOST: usize = 64 << 20;
/// Bytes of them in one message, about.
const PIECE: usize = 1 << 20;
/// Bytes that a key in debt takes.
const DEBT: usize = 16;

/// The first message; then come standard error and the sockets, in the order of `groups`.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) groups: Vec<Described>,
    /// What session tickets are sealed with.
    pub(super) tickets: Vec<TicketSecret>,
    /// What keys of limits are hashed with.
    pub(super) secret: [u64; 2],
}

/// Sockets that belong together.
#[derive(Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) name: String,
    /// What the configuration asks for.
    pub(super) asked: Option<SocketAddr>,
    /// Of a Unix socket.
    pub(super) path: Option<PathBuf>,
    /// Its file is not of the proxy's making.
    #[serde(default)]
    pub(super) is_foreign: bool,
    pub(super) count: usize,
}

/// What the new process says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FromNew {
    /// It could serve.
    Ready,
    /// It does, on the sockets of all groups but these.
    Serving { left: Vec<usize> },
}

/// What the old process says to that.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FromOld {
    /// A part of what is kept of a plugin.
    State(Carried),
    /// What is kept of an upstream.
    Upstream(tidegate_upstream::Kept),
    /// All is said: serve.
    Go,
}

/// [`Kept`] as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct Carried {
    plugin: String,
    /// Nanoseconds by hash.
    #[serde(default)]
    debts: Vec<(u64, u64)>,
    #[serde(default)]
    values: Vec<CarriedValue>,
}

#[derive(Serialize, Deserialize)]
struct CarriedValue {
    key: String,
    base64: String,
    ttl_ns: Option<u64>,
}

impl Carried {
    pub(super) fn take_up(self, state: &State) {
        let values = self.values.into_iter().filter_map(|value| {
            let ttl = value.ttl_ns.map(Duration::from_nanos);
            Some(KeptValue { key: value.key, value: STANDARD.decode(value.base64).ok()?, ttl })
        });
        let debts = self.debts.into_iter().map(|(hash, debt)| (hash, Duration::from_nanos(debt)));
        state.take_up(Kept { plugin: self.plugin, debts: debts.collect(), values: values.collect() });
    }
}

/// All that this process keeps of limits and stores, in pieces; `send` gets one after the other.
///
/// # Errors
/// That of `send`.
pub(super) fn carry<E>(state: &State, mut send: impl FnMut(Carried) -> Result<(), E>) -> Result<(), E> {
    let mut room = MOST;
    for plugin in state.plugins() {
        let Kept { debts, values, .. } = state.kept(&plugin);
        for some in debts.chunks(PIECE / DEBT) {
            let some = &some[..some.len().min(room / DEBT)];
            room -= some.len() * DEBT;
            let debts = some.iter().map(|(hash, debt)| (*hash, nanos(*debt))).collect();
            send(Carried { plugin: plugin.clone(), debts, values: Vec::new() })?;
        }
        let (mut piece, mut size, mut left) = (Vec::new(), 0, 0);
        for value in values {
            let Some(rest) = room.checked_sub(value.size()) else {
                left += 1;
                continue;
            };
            (room, size) = (rest, size + value.size());
            let base64 = STANDARD.encode(&value.value);
            piece.push(CarriedValue { key: value.key, base64, ttl_ns: value.ttl.map(nanos) });
            if size >= PIECE {
                size = 0;
                let values = std::mem::take(&mut piece);
                send(Carried { plugin: plugin.clone(), debts: Vec::new(), values })?;
            }
        }
        if !piece.is_empty() {
            send(Carried { plugin: plugin.clone(), debts: Vec::new(), values: piece })?;
        }
        if left > 0 {
            tracing::warn!(target: "upgrade", plugin, left, "values of its store are left behind: they are too many");
        }
    }
    Ok(())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tidegate_state::Answer;

    use super::*;

    fn now<T>(answer: Answer<T>) -> T {
        match answer {
            Answer::Now(answer) => answer,
            Answer::Later(_) => panic!("nothing is waited for in memory"),
        }
    }

    #[test]
    fn a_large_store_is_carried_in_pieces_and_as_far_as_there_is_room() {
        let (before, after) = (State::memory(), State::memory());
        let value = vec![0xff; 60 << 10];
        for plugin in 0..5 {
            let store = before.store(&plugin.to_string());
            for key in 0..250 {
                now(store.set(&key.to_string(), &value, None)).expect("room");
            }
        }
        let mut largest = 0;
        let sent = carry(&before, |carried| {
            let text = serde_json::to_string(&carried).expect("text");
            largest = largest.max(text.len());
            serde_json::from_str::<Carried>(&text).expect("the same").take_up(&after);
            Ok::<_, ()>(())
        });
        assert_eq!(sent, Ok(()));
        assert!(largest < 2 * PIECE, "{largest}");
        let kept: Vec<KeptValue> =
            after.plugins().iter().flat_map(|plugin| after.kept(plugin).values).collect();
        let bytes: usize = kept.iter().map(KeptValue::size).sum();
        assert!(bytes <= MOST && bytes > MOST - 2 * value.len(), "{bytes}");
        assert!(kept.iter().all(|kept| kept.value == value));
    }
}
