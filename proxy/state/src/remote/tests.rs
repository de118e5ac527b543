//! With a real server: what it shares, what happens without it, and how it is found again.

use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::server::{Server, until};
use super::*;
use crate::{Answer, Decision, Limiter, Scope, Secret, Spec, State, StoreError, WhenDown};

const HOUR: Duration = Duration::from_secs(3_600);
const PATIENT: Duration = Duration::from_secs(10);

fn state(server: &Server) -> State {
    State::redis(&server.url(), crate::STORE_TIMEOUT, Secret::random(), &Handle::current())
        .expect("an address")
}

/// One in an hour, and nine more at once.
fn ten(state: &State, scope: Scope) -> Limiter {
    state.limiter("api", "all", Spec { limit: 1, period: HOUR, burst: 9, scope })
}

fn shared(when_down: WhenDown) -> Scope {
    Scope::Shared { timeout: Duration::from_millis(20), when_down }
}

/// As long as it takes: the machine may be busy.
fn exact() -> Scope {
    Scope::Shared { timeout: PATIENT, when_down: WhenDown::Deny }
}

async fn take(limiter: &Limiter, key: &str, cost: u64) -> Decision {
    limiter.take(key, cost).wait().await
}

async fn reaches(state: &State, reach: Reach) {
    until(&format!("{reach:?}"), async || state.status().reach == reach).await;
}

#[tokio::test]
async fn two_proxies_count_together_exactly() {
    let Some(server) = Server::start().await else { return };
    let states = [state(&server), state(&server)];
    let mut tasks = JoinSet::new();
    for state in &states {
        for _ in 0..20 {
            let limiter = ten(state, exact());
            tasks.spawn(async move { take(&limiter, "key", 1).await });
        }
    }
    let decisions = tasks.join_all().await;
    assert!(decisions.iter().all(|decision| !decision.local));
    let mut remaining: Vec<_> =
        decisions.iter().filter(|decision| decision.allowed).map(|decision| decision.remaining).collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..10).collect::<Vec<_>>(), "ten of forty pass, each seeing another rest");

    let refused = take(&ten(&states[0], exact()), "key", 1).await;
    let close = |duration: Duration, hours: u32| {
        duration <= HOUR * hours && duration + Duration::from_secs(60) > HOUR * hours
    };
    assert!(
        !refused.allowed && close(refused.retry_after, 1) && close(refused.reset_after, 10),
        "{refused:?}"
    );
    assert_eq!(take(&ten(&states[1], exact()), "key", 11).await.retry_after, Duration::MAX);
    assert_eq!(take(&ten(&states[1], exact()), "other", 0).await.remaining, 10);
    let ttl: i64 = server.ask(&["PTTL", "tg:{api/all}:1/3600000000000/10:k:key"]).await;
    assert!(close(Duration::from_millis(ttl.try_into().expect("an expiry")), 10));
}

#[tokio::test]
async fn what_is_earned_back_passes_again() {
    let Some(server) = Server::start().await else { return };
    let spec = Spec { limit: 20, period: Duration::from_secs(1), burst: 1, scope: exact() };
    let limiter = state(&server).limiter("api", "all", spec);
    let long = "x".repeat(10_000);
    let begin = Instant::now();
    let mut passed = 0;
    until("ten have passed", async || {
        passed += u32::from(take(&limiter, &long, 1).await.allowed);
        passed == 10
    })
    .await;
    assert!(begin.elapsed() >= Duration::from_millis(50) * 8, "two at once, then one in 50 ms");
    let keys: Vec<String> = server.ask(&["KEYS", "tg:{api/all}*"]).await;
    assert!(keys.iter().all(|key| key.len() < 150), "{keys:?}");
}

/// A worker's runtime is not the one that connects.
#[test]
fn answers_come_to_a_runtime_that_does_not_connect() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (worker, control) = (runtime(), runtime());
    let Some(server) = worker.block_on(Server::start()) else { return };
    let state = State::redis(&server.url(), crate::STORE_TIMEOUT, Secret::random(), control.handle())
        .expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let control = std::thread::spawn(move || _ = control.block_on(stopped));
    worker.block_on(async {
        assert!(!take(&ten(&state, exact()), "key", 1).await.local);
        drop(worker_of_another_runtime(&state));
        assert!(!take(&ten(&state, exact()), "key", 1).await.local);
    });
    stop.send(()).expect("it waits");
    control.join().expect("no panic");
}

/// One that asked and is gone.
fn worker_of_another_runtime(state: &State) -> std::thread::Result<()> {
    let limiter = ten(state, exact());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        assert!(!runtime.block_on(take(&limiter, "key", 1)).local);
    })
    .join()
}

#[tokio::test]
async fn approximate_limits_learn_from_each_other() {
    let Some(server) = Server::start().await else { return };
    let states = [state(&server), state(&server)];
    for state in &states {
        reaches(state, Reach::Reachable).await;
    }
    let [one, other] = [0, 1].map(|index| ten(&states[index], Scope::Approximate));
    let now = |limiter: &Limiter, cost| match limiter.take("key", cost) {
        Answer::Now(decision) => decision,
        Answer::Later(_) => panic!("approximate limits answer at once"),
    };
    let remaining = |limiter: &Limiter| now(limiter, 0).remaining;
    // A merge counts as of a tenth of a second ago, so that a little of an hour is earned back already.
    assert!(now(&one, 6).allowed && !now(&one, 0).local);
    until("the first is known to the store", async || {
        server.ask::<bool>(&["EXISTS", "tg:{api/all}:1/3600000000000/10:k:key"]).await
    })
    .await;
    assert!(now(&other, 1).allowed);
    until("the second knows of the first", async || remaining(&other) <= 3).await;
    assert!(now(&one, 1).allowed);
    until("the first knows of the second", async || remaining(&one) <= 2).await;

    let mut passed = 0;
    until("both are used up", async || {
        passed += u64::from(now(&one, 1).allowed) + u64::from(now(&other, 1).allowed);
        remaining(&one) == 0 && remaining(&other) == 0
    })
    .await;
    assert!((2..=5).contains(&passed), "two were left, seen by two: {passed}");
}

#[tokio::test]
async fn what_passes_evenly_leaves_no_debt_with_the_others() {
    let Some(server) = Server::start().await else { return };
    let state = state(&server);
    let remote = state.remote.clone().expect("a shared store");
    let span = Duration::from_secs(100);
    let merge = async |seconds: u64| {
        let mut calls = redis::pipe();
        calls.add_command(remote.calls.merge("key", seconds * 1_000_000_000, span));
        let debts = remote.link.all::<Vec<u64>>(calls, PATIENT).await.expect("an answer");
        Duration::from_nanos(debts[0]).as_secs_f64().round()
    };
    assert!(merge(100).await.abs() < 1.0, "earned back while it passed");
    assert!(
        (merge(90).await - 90.0).abs() < 10.0,
        "another proxy, at the same time: each of them keeps to the limit"
    );
    assert!((merge(90).await - 180.0).abs() < 10.0);
    server.ask::<()>(&["DEL", "key"]).await;
    assert!((merge(300).await - 200.0).abs() < 10.0);
    assert!((merge(50).await - 250.0).abs() < 10.0, "another proxy, at the same time");
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_stop_the_refill() {
    let Some(server) = Server::start().await else { return };
    let limiter = ten(&state(&server), exact());
    let key = "tg:{api/all}:1/3600000000000/10:k:key";
    let future = "99999999999999999";
    server.ask::<()>(&["SET", key, &format!("{future} 36000000000000")]).await;
    assert!(!take(&limiter, "key", 1).await.allowed);
    let kept: String = server.ask(&["GET", key]).await;
    assert!(!kept.starts_with(future) && kept.ends_with(" 36000000000000"), "{kept}");
    server.ask::<()>(&["SET", key, "what others wrote"]).await;
    assert_eq!(take(&limiter, "key", 1).await.remaining, 9);
}

#[tokio::test]
async fn a_store_that_is_gone_is_replaced_and_found_again() {
    let Some(mut server) = Server::start().await else { return };
    let state = state(&server);
    let [local, allow, deny] =
        [WhenDown::Local, WhenDown::Allow, WhenDown::Deny].map(|when_down| ten(&state, shared(when_down)));
    reaches(&state, Reach::Reachable).await;
    assert_eq!(state.status().last_error, None);
    server.kill();
    reaches(&state, Reach::Unreachable).await;
    let now = |limiter: &Limiter, key| match limiter.take(key, 1) {
        Answer::Now(decision) => (decision.allowed, decision.local),
        Answer::Later(_) => panic!("nothing is waited for"),
    };
    let passed = (0..20).filter(|_| now(&local, "key") == (true, true)).count();
    assert_eq!(passed, 10, "the same limit, by itself");
    assert!((0..20).all(|_| now(&allow, "key") == (true, true)));
    assert_eq!(now(&deny, "key"), (false, true));
    assert_eq!(take(&deny, "key", 1).await.retry_after, Duration::from_secs(1));
    let approximate = ten(&state, Scope::Approximate).take("other", 1).wait().await;
    assert!(approximate.allowed && approximate.local);
    let value = state.store("api").get("a");
    assert!(matches!(value, Answer::Now(Err(StoreError::Unavailable))));
    assert!(state.status().last_error.is_some());

    server.start_again().await;
    until("it is asked again", async || !take(&local, "key", 1).await.local).await;
    assert_eq!(state.status().reach, Reach::Reachable);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_waited_for_again_and_again() {
    let Some(server) = Server::start().await else { return };
    let state = state(&server);
    let limiter = ten(&state, shared(WhenDown::Local));
    reaches(&state, Reach::Reachable).await;
    server.pause();
    let (mut waited, begin) = (0, Instant::now());
    until("it is known to be down", async || {
        let answer = limiter.take("key", 1);
        let is_known = matches!(answer, Answer::Now(_));
        waited += u32::from(!is_known);
        assert!(answer.wait().await.local);
        is_known
    })
    .await;
    assert!((2..=10).contains(&waited), "{waited} were late in {:?}", begin.elapsed());
    let is_known = |_| matches!(limiter.take("key", 1), Answer::Now(decision) if decision.local);
    assert!((0..1_000).all(is_known));
    let status = state.status();
    assert_eq!(status.reach, Reach::Unreachable);
    assert!(status.last_error.expect("an error").1.contains("no answer"));
    server.resume();
    until("it is asked again", async || !take(&limiter, "key", 1).await.local).await;
}

#[tokio::test]
async fn a_short_timeout_alone_does_not_cut_others_off() {
    let Some(server) = Server::start().await else { return };
    let state = state(&server);
    let hasty = ten(&state, Scope::Shared { timeout: Duration::ZERO, when_down: WhenDown::Local });
    let patient = ten(&state, exact());
    for _ in 0..200 {
        take(&hasty, "key", 1).await;
        assert!(!take(&patient, "other", 1).await.local);
    }
}

#[tokio::test]
async fn a_store_that_is_down_keeps_nobody_from_starting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let url = format!("redis://127.0.0.1:{port}").parse().expect("an address");
    let state = State::redis(&url, crate::STORE_TIMEOUT, Secret::random(), &Handle::current())
        .expect("not a matter of the store");
    assert_eq!(state.status().reach, Reach::Connecting);
    let limiter = ten(&state, exact());
    let Answer::Later(first) = limiter.take("key", 1) else { panic!("it waits for the first attempt") };
    assert!(first.await.local);
    assert_eq!(state.status().reach, Reach::Unreachable);
    assert!(matches!(limiter.take("key", 1), Answer::Now(_)));
}

#[tokio::test]
async fn a_wrong_password_is_reported_without_it_and_tried_again() {
    let Some(server) = Server::start().await else { return };
    server.ask::<()>(&["ACL", "SETUSER", "edge", "on", ">0pen-sesame", "~tg:*", "+@all"]).await;
    let url = server.url_of("redis://edge:wr0ng-s3cret@");
    let state =
        State::redis(&url, crate::STORE_TIMEOUT, Secret::random(), &Handle::current()).expect("an address");
    assert!(take(&ten(&state, exact()), "key", 1).await.local);
    let status = state.status();
    assert_eq!(status.reach, Reach::Unreachable);
    assert_eq!(status.backend, format!("redis://127.0.0.1:{}/0", server.port));
    let (_, error) = status.last_error.clone().expect("an error");
    assert!(error.to_lowercase().contains("authentication failed"), "{error}");
    for shown in [format!("{status:?}"), format!("{state:?}"), format!("{url:?}"), url.to_string()] {
        assert!(!shown.contains("s3cret") && !shown.contains("edge"), "{shown}");
    }
    server.ask::<()>(&["ACL", "SETUSER", "edge", ">wr0ng-s3cret"]).await;
    reaches(&state, Reach::Reachable).await;
    assert!(!take(&ten(&state, exact()), "key", 1).await.local);
}

#[tokio::test]
async fn a_server_that_cannot_be_written_to_is_no_store() {
    let Some(server) = Server::start().await else { return };
    let state = state(&server);
    let store = state.store("api");
    assert_eq!(store.set("a", b"x", None).wait().await, Ok(()));
    server.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_eq!(store.set("a", b"y", None).wait().await, Err(StoreError::Unavailable));
    until("it looked again", async || {
        let error = state.status().last_error;
        state.status().reach == Reach::Unreachable
            && error.is_some_and(|(_, error)| error.contains("ReadOnly"))
    })
    .await;
    server.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    reaches(&state, Reach::Reachable).await;
}

#[tokio::test]
async fn a_server_that_lost_its_scripts_gets_them_again() {
    let Some(server) = Server::start().await else { return };
    let state = state(&server);
    let limiter = ten(&state, exact());
    assert!(!take(&limiter, "key", 1).await.local);
    server.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    assert!(take(&limiter, "key", 1).await.local);
    until("they are back", async || !take(&limiter, "key", 0).await.local).await;
}

#[tokio::test]
async fn a_store_in_redis_keeps_its_word() {
    let Some(server) = Server::start().await else { return };
    let state = state(&server);
    reaches(&state, Reach::Reachable).await;
    let store = state.store("api");
    crate::store::tests::keeps_its_word(&store).await;
    assert_eq!(state.status().last_error, None, "none of it is a trouble of the connection");

    let second = Some(Duration::from_millis(900));
    store.set("e", b"1", second).wait().await.expect("room");
    assert_eq!(store.increment("e", 1, Some(HOUR)).wait().await, Ok(2));
    assert_eq!(store.increment("f", 1, second).wait().await, Ok(1));
    assert_eq!(store.compare_and_set("g", None, b"1", second).wait().await, Ok(true));
    for key in ["e", "f", "g"] {
        let ttl: i64 = server.ask(&["PTTL", &format!("tg:{{api}}:s:{key}")]).await;
        assert!((1..=900).contains(&ttl), "{key}: {ttl}");
    }
    until("they have expired", async || {
        let values = [store.get("e").wait().await, store.get("f").wait().await, store.get("g").wait().await];
        values.iter().all(|value| *value == Ok(None))
    })
    .await;
    store.set("e", b"1", second).wait().await.expect("room");
    store.set("e", b"1", None).wait().await.expect("room");
    assert_eq!(server.ask::<i64>(&["PTTL", "tg:{api}:s:e"]).await, -1, "no expiry");
    assert_eq!(state.store("other").get("e").wait().await, Ok(None));

    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(store.set("h", b"1", None).wait().await, Err(StoreError::Full));
    assert_eq!(store.increment("h", 1, None).wait().await, Err(StoreError::Full));
    assert_eq!(state.status().reach, Reach::Reachable);
}

#[tokio::test]
async fn of_those_who_write_at_the_same_time_one_wins() {
    let Some(server) = Server::start().await else { return };
    let states = [state(&server), state(&server)];
    for state in &states {
        reaches(state, Reach::Reachable).await;
    }
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let store = states[task % 2].store("api");
        tasks.spawn(async move {
            let mut won = 0;
            while won < 25 {
                // A busy machine may be late; then what became of it is read again.
                let Ok(before) = store.get("count").wait().await else { continue };
                let count: u32 = before
                    .as_ref()
                    .map_or(0, |text| str::from_utf8(text).expect("text").parse().expect("a number"));
                let after = (count + 1).to_string();
                let swapped = store
                    .compare_and_set("count", before.as_deref(), after.as_bytes(), Some(HOUR))
                    .wait()
                    .await;
                won += u32::from(swapped.expect("an answer"));
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(states[0].store("api").get("count").wait().await, Ok(Some(b"200".to_vec())));
}

#[tokio::test]
async fn the_connection_ends_with_the_last_who_asks() {
    let Some(server) = Server::start().await else { return };
    let state = state(&server);
    reaches(&state, Reach::Reachable).await;
    let limiter = ten(&state, exact());
    drop(state);
    assert!(!take(&limiter, "key", 1).await.local, "a limiter keeps it");
    drop(limiter);
    until("only that which asks is left", async || {
        server.ask::<String>(&["CLIENT", "LIST"]).await.lines().count() == 1
    })
    .await;
}

#[tokio::test]
async fn over_tls_only_a_server_that_is_trusted_is_asked() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("an authority");
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().expect("a key");
    let names = ["127.0.0.1".to_owned()];
    let certificate =
        CertificateParams::new(names).expect("a name").signed_by(&server_key, &issuer).expect("signed");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let options = [
        "--tls-cert-file",
        &write("cert.pem", certificate.pem()),
        "--tls-key-file",
        &write("key.pem", server_key.serialize_pem()),
        "--tls-auth-clients",
        "no",
    ];
    let Some(server) = Server::start_with(&options).await else { return };
    let url = server.url_of("rediss://");
    let trusting = url.clone().with_authorities(authority.pem().into_bytes());
    let state = State::redis(&trusting, crate::STORE_TIMEOUT, Secret::random(), &Handle::current())
        .expect("an address");
    assert!(!take(&ten(&state, exact()), "key", 1).await.local, "{:?}", state.status());
    let state =
        State::redis(&url, crate::STORE_TIMEOUT, Secret::random(), &Handle::current()).expect("an address");
    assert!(take(&ten(&state, exact()), "key", 1).await.local);
    let (_, error) = state.status().last_error.expect("an error");
    assert!(error.contains("certificate"), "{error}");
}
