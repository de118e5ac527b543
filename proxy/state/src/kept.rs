//! What this process keeps of a plugin, for another one to go on with.

use std::time::Duration;

/// What is kept in memory of one plugin, or a part of it. Times are those that are left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The plugin.
    pub plugin: String,
    /// How long keys of its limiters are in debt, by their hashes, which mean something to who knows the
    /// [`Secret`](crate::Secret).
    pub debts: Vec<(u64, Duration)>,
    /// The values of its store.
    pub values: Vec<KeptValue>,
}

/// A value of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptValue {
    /// Its key.
    pub key: String,
    /// Itself.
    pub value: Vec<u8>,
    /// Until it expires; `None`: it does not.
    pub ttl: Option<Duration>,
}

impl KeptValue {
    /// Bytes of key and value.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Limiter, Scope, Secret, Spec, State, Store};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn now<T>(answer: Answer<T>) -> T {
        match answer {
            Answer::Now(answer) => answer,
            Answer::Later(_) => panic!("nothing is waited for in memory"),
        }
    }

    fn limiter(state: &State) -> Limiter {
        state.limiter("api", "all", Spec { limit: 1, period: HOUR, burst: 1, scope: Scope::Local })
    }

    fn passes(limiter: &Limiter, key: &str) -> bool {
        now(limiter.take(key, 1)).allowed
    }

    fn value(store: &Store, key: &str) -> Option<Vec<u8>> {
        now(store.get(key)).expect("a key of its size")
    }

    #[test]
    fn another_process_goes_on_with_what_was_kept() {
        let before = State::memory();
        (0..2).for_each(|_| assert!(passes(&limiter(&before), "busy")));
        let store = before.store("api");
        for (key, ttl) in [("lasting", None), ("an hour", Some(HOUR)), ("both", None)] {
            now(store.set(key, b"before", ttl)).expect("room");
        }
        let kept: Vec<_> = before.plugins().iter().map(|plugin| before.kept(plugin)).collect();
        assert!(kept[0].values.iter().any(|value| value.ttl.is_some_and(|left| left <= HOUR)));

        let after = State::memory_with(before.secret());
        now(after.store("api").set("both", b"after", None)).expect("room");
        kept.iter().cloned().for_each(|kept| after.take_up(kept));
        assert!(!passes(&limiter(&after), "busy") && passes(&limiter(&after), "other"));
        let store = after.store("api");
        for (key, expected) in [("lasting", "before"), ("an hour", "before"), ("both", "after")] {
            assert_eq!(value(&store, key).as_deref(), Some(expected.as_bytes()), "{key}");
        }

        let stranger = State::memory_with(Secret::random());
        kept.into_iter().for_each(|kept| stranger.take_up(kept));
        assert!(passes(&limiter(&stranger), "busy"), "the hashes mean nothing to who has another secret");
    }
}
