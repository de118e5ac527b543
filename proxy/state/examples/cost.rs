//! Prints what an answer costs: `cargo run --release -p tidegate-state --example cost -- [redis://…]`.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_state::{Limiter, RedisUrl, Scope, Secret, Spec, State};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const ROUNDS: u32 = 1_000_000;

fn main() {
    in_memory(&State::memory());
    if let Some(url) = std::env::args().nth(1) {
        shared(&url.parse().expect("an address"));
    }
}

fn in_memory(state: &State) {
    let keys: Vec<_> =
        (0..50_000).map(|client| format!("198.51.{}.{}", client / 256, client % 256)).collect();
    let limiter = limiter(state, Scope::Local);
    print("take, one key", || _ = black_box(limiter.take("198.51.100.7", 1)));
    let mut next = keys.iter().cycle();
    print("take, 50,000 keys", || _ = black_box(limiter.take(next.next().expect("endless"), 1)));
    let other = limiter.clone();
    thread::scope(|scope| {
        scope.spawn(|| (0..ROUNDS).for_each(|_| _ = black_box(other.take("198.51.100.7", 1))));
        print("take, one key, two threads", || _ = black_box(limiter.take("198.51.100.7", 1)));
    });
    let mut client = 0_u64;
    let mut fresh = || {
        client += 1;
        limiter.take(&client.to_string(), 1)
    };
    print("take, always another key", || _ = black_box(fresh()));

    let store = state.store("cost");
    print("set, 100 bytes", || _ = black_box(store.set("key", &[7; 100], Some(Duration::from_secs(60)))));
    print("get, 100 bytes", || _ = black_box(store.get("key")));
    print("increment", || _ = black_box(store.increment("count", 1, None)));
}

fn shared(url: &RedisUrl) {
    let runtime = || Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (worker, control): (Runtime, Runtime) = (runtime(), runtime());
    let state = State::redis(url, tidegate_state::STORE_TIMEOUT, Secret::random(), control.handle())
        .expect("an address");
    // Never ends: it serves until the process does.
    thread::spawn(move || control.block_on(std::future::pending::<()>()));
    let scope = Scope::Shared { timeout: Duration::from_secs(1), when_down: Default::default() };
    let limiter = limiter(&state, scope);
    worker.block_on(async {
        assert!(!limiter.take("key", 1).wait().await.local, "{:?}", state.status());
        let begin = Instant::now();
        for _ in 0..20_000 {
            limiter.take("key", 1).wait().await;
        }
        println!("exact take, one after the other: {:.1} µs", begin.elapsed().as_secs_f64() * 1e6 / 20_000.0);
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for task in 0..64 {
            let limiter = limiter.clone();
            tasks.spawn(async move {
                for _ in 0..2_000 {
                    limiter.take(&task.to_string(), 1).wait().await;
                }
            });
        }
        tasks.join_all().await;
        println!("exact take, 64 at a time: {:.1} µs each", begin.elapsed().as_secs_f64() * 1e6 / 128_000.0);
    });
    let limiter = self::limiter(&state, Scope::Approximate);
    print("approximate take, one key", || _ = black_box(limiter.take("198.51.100.7", 1)));
}

fn limiter(state: &State, scope: Scope) -> Limiter {
    let spec = Spec { limit: 1_000_000_000, period: Duration::from_secs(1), burst: 1_000_000_000, scope };
    state.limiter("cost", "all", spec)
}

fn print(what: &str, mut once: impl FnMut()) {
    let begin = Instant::now();
    (0..ROUNDS).for_each(|_| once());
    println!("{what}: {:.0} ns", begin.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
}
