//! What a store does, wherever it keeps its values.

use super::*;
use crate::State;
use crate::clock::StoppedClock;

const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

async fn get(store: &Store, key: &str) -> Option<String> {
    let value = store.get(key).wait().await.expect("an answer")?;
    Some(String::from_utf8(value).expect("text"))
}

/// The same for both places.
pub(crate) async fn keeps_its_word(store: &Store) {
    let set = async |key: &str, value: &str| store.set(key, value.as_bytes(), HOUR).wait().await;
    assert_eq!(get(store, "a").await, None);
    assert_eq!(set("a", "1").await, Ok(()));
    assert_eq!(set("a", "one").await, Ok(()));
    assert_eq!(get(store, "a").await.as_deref(), Some("one"));
    assert_eq!(store.remove("a").wait().await, Ok(()));
    assert_eq!(store.remove("a").wait().await, Ok(()), "no error if there is none");
    assert_eq!(get(store, "a").await, None);

    let swap = async |expected: Option<&str>, value: &str| {
        store.compare_and_set("b", expected.map(str::as_bytes), value.as_bytes(), None).wait().await
    };
    assert_eq!(swap(Some(""), "x").await, Ok(false), "none is not an empty one");
    assert_eq!(swap(None, "").await, Ok(true));
    assert_eq!(swap(None, "x").await, Ok(false), "an empty one is not none");
    assert_eq!(swap(Some(""), "1").await, Ok(true));
    assert_eq!(swap(Some("2"), "3").await, Ok(false));
    assert_eq!(swap(Some("1"), "2").await, Ok(true));
    assert_eq!(get(store, "b").await.as_deref(), Some("2"));

    let add = async |key: &str, delta| store.increment(key, delta, HOUR).wait().await;
    assert_eq!(add("c", 5).await, Ok(5));
    assert_eq!(add("c", -7).await, Ok(-2));
    assert_eq!(get(store, "c").await.as_deref(), Some("-2"));
    let large = i64::MAX - 1;
    assert_eq!(set("c", &large.to_string()).await, Ok(()));
    assert_eq!(add("c", 1).await, Ok(i64::MAX), "exact, above what a float can hold");
    assert_eq!(add("c", 1).await, Err(StoreError::NotANumber));
    assert_eq!(get(store, "c").await, Some(i64::MAX.to_string()), "as it was");
    for text in ["", "x", "01", "1.5", " 1"] {
        assert_eq!(set("c", text).await, Ok(()));
        assert_eq!(add("c", 1).await, Err(StoreError::NotANumber), "{text:?}");
    }

    let (key, value) = ("k".repeat(512), vec![0xff; 64 << 10]);
    assert_eq!(store.set(&key, &value, HOUR).wait().await, Ok(()));
    assert_eq!(store.get(&key).wait().await, Ok(Some(value.clone())));
    let (long, large) = ("k".repeat(513), [value, vec![0]].concat());
    let too_large = Err(StoreError::TooLarge);
    assert_eq!(store.set("a", &large, HOUR).wait().await, too_large);
    assert_eq!(store.set(&long, b"", HOUR).wait().await, too_large);
    assert_eq!(store.remove(&long).wait().await, too_large);
    assert_eq!(store.get(&long).wait().await.err(), too_large.err());
    assert_eq!(store.increment(&long, 1, HOUR).wait().await.err(), too_large.err());
    assert_eq!(store.compare_and_set("a", Some(&large), b"", HOUR).wait().await.err(), too_large.err());
}

#[tokio::test]
async fn a_store_in_this_process_keeps_its_word() {
    keeps_its_word(&State::memory().store("api")).await;
}

#[tokio::test]
async fn values_expire_unless_they_are_written_without_expiry() {
    let clock = StoppedClock::default();
    let store = State::memory_at(&clock).store("api");
    let second = Some(Duration::from_secs(1));
    for key in ["a", "b"] {
        store.set(key, b"x", second).wait().await.expect("room");
    }
    store.set("b", b"x", None).wait().await.expect("room");
    store.set("c", b"x", Some(Duration::ZERO)).wait().await.expect("room");
    assert_eq!(store.increment("d", 1, second).wait().await, Ok(1));
    assert!(get(&store, "c").await.is_some(), "a millisecond at least");
    clock.advance(Duration::from_millis(600));
    assert_eq!(store.increment("d", 1, second).wait().await, Ok(2));
    assert!(get(&store, "c").await.is_none());
    clock.advance(Duration::from_millis(400));
    assert!(get(&store, "a").await.is_none() && get(&store, "b").await.is_some());
    assert_eq!(store.increment("d", 1, second).wait().await, Ok(1), "the expiry was that of the first");
    let absent = store.compare_and_set("a", None, b"y", None).wait().await;
    assert_eq!(absent, Ok(true), "what has expired is not there");
}

#[tokio::test]
async fn plugins_have_values_and_shares_of_their_own() {
    let state = State::memory();
    let (one, other) = (state.store("one"), state.store("other"));
    one.set("a", b"x", HOUR).wait().await.expect("room");
    for index in 0..20_000 {
        other.set(&index.to_string(), b"y", HOUR).wait().await.expect("room is made");
    }
    assert_eq!(get(&one, "a").await.as_deref(), Some("x"));
    assert_eq!(get(&other, "a").await, None);
    assert_eq!(get(&state.store("one"), "a").await.as_deref(), Some("x"), "also after a reload");
}
