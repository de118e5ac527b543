//! Waiting for a condition, with a bound.

use std::time::Duration;

use tokio::time::Instant;

/// How long any condition may take. Generous, because it is only ever used up by a test that fails:
/// the tests run side by side on small machines.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The future's value; panics with `what` when it takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Asks again and again until `ask` gives a value; panics with `what` after [`PATIENCE`].
///
/// For conditions about which no event tells, such as a file's effect or a process's memory.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        a_moment().await;
    }
}

/// Looks again and again until something holds; panics with `what` after [`PATIENCE`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}

/// The pause between two looks at something about which no event tells.
pub async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
