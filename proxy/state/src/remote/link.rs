//! The connection to the shared store: one for the process, made anew for as long as it takes.
//!
//! redis has a `ConnectionManager` for that. It is not used: after an error that is none of I/O, such as a
//! wrong password or a server that is still loading, it never tries again; its first connection belongs to
//! the runtime that happens to ask first; and a peer that is silently gone is noticed by nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind, cmd,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::calls::{Call, Calls};
use super::url::RedisUrl;

/// The state of the connection, and the way to ask over it.
///
/// Nobody who asks waits for a store that is known to be down, and none is sent ahead to try: the task that
/// connects does.
#[derive(Debug)]
pub(crate) struct Link {
    url: RedisUrl,
    phase: watch::Sender<Phase>,
    start: Instant,
    /// Since when questions are answered too late, µs after the start; 0 = the last one was not.
    late_since: AtomicU64,
    status: Mutex<Status>,
}

#[derive(Debug, Clone)]
enum Phase {
    /// For the first time.
    Connecting,
    Up(Up),
    Down,
}

#[derive(Debug, Clone)]
struct Up {
    /// Tells connections apart: one is not blamed for what happened to another.
    number: u64,
    connection: MultiplexedConnection,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is no connection.
    Down,
    /// It did not come in time.
    Late,
    /// The server has no memory for it.
    Full,
    NotANumber,
    /// For another reason; see the status.
    Refused,
}

/// Where limits and stores are kept, and whether that can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `memory`, or the address of the shared store without user and password.
    pub backend: String,
    /// Whether it can be asked.
    pub reach: Reach,
    /// When `reach` became what it is.
    pub since: SystemTime,
    /// What went wrong last, if anything ever did, and when; for people, without secrets.
    pub last_error: Option<(SystemTime, String)>,
}

/// Whether limits and stores can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// They are in this process.
    Here,
    /// The first attempt to connect is on its way.
    Connecting,
    /// There is a connection that answers.
    Reachable,
    /// There is none; it is tried again every second.
    Unreachable,
}

/// From one attempt to connect to the next, and so how long a store that came back is not noticed at most.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// For connecting, shaking hands, signing in and loading scripts.
const CONNECT: Duration = Duration::from_secs(2);

/// How often an idle connection is looked at, and how long that may take: a peer that is silently gone (a
/// dropped packet filter's state, a machine without power) is noticed by no one else.
const PING: Duration = Duration::from_secs(1);

/// Answers that stay away this long mean that the store is down. One limiter's short timeout alone does not:
/// others may be content with what comes later.
const LATE: Duration = Duration::from_millis(50);

/// Questions written to the connection but not yet sent; further ones wait within their deadline.
const QUEUE: usize = 1_024;

impl Status {
    pub(crate) fn memory() -> Self {
        Self::new("memory".to_owned(), Reach::Here)
    }

    fn new(backend: String, reach: Reach) -> Self {
        Self { backend, reach, since: SystemTime::now(), last_error: None }
    }
}

impl Link {
    pub(super) fn new(url: &RedisUrl) -> Self {
        Self {
            url: url.clone(),
            phase: watch::Sender::new(Phase::Connecting),
            start: Instant::now(),
            late_since: AtomicU64::new(0),
            status: Mutex::new(Status::new(url.to_string(), Reach::Connecting)),
        }
    }

    /// Known to be down, so that there is no use in asking.
    pub(crate) fn is_down(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Down)
    }

    pub(crate) fn status(&self) -> Status {
        self.status_mut().clone()
    }

    /// Asks, and waits for the answer until the deadline. If this is dropped or late, what was asked may be
    /// done all the same.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        call: Call<T>,
        deadline: Duration,
    ) -> Result<T, Trouble> {
        self.within(deadline, async |connection| call.command.query_async(connection).await).await
    }

    /// Asks several things in one round trip.
    pub(super) async fn all<T: FromRedisValue>(
        &self,
        calls: Pipeline,
        deadline: Duration,
    ) -> Result<T, Trouble> {
        self.within(deadline, async |connection| calls.query_async(connection).await).await
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Trouble> {
        let asked = Instant::now();
        let mut number = None;
        let answer = timeout(deadline, async {
            let mut up = self.up().await?;
            number = Some(up.number);
            Some(ask(&mut up.connection).await)
        });
        match (answer.await, number) {
            (Ok(Some(Ok(answer))), _) => {
                self.is_in_time();
                Ok(answer)
            }
            (Ok(Some(Err(error))), Some(number)) => Err(self.judge(&error, number)),
            (Err(_), Some(number)) => {
                self.is_late(asked, number);
                Err(Trouble::Late)
            }
            (Err(_), None) => Err(Trouble::Late),
            (Ok(_), _) => Err(Trouble::Down),
        }
    }

    /// The connection, when the first attempt to make one has come to an end.
    async fn up(&self) -> Option<Up> {
        if let Phase::Up(up) = &*self.phase.borrow() {
            return Some(up.clone());
        }
        let mut phase = self.phase.subscribe();
        let phase = phase.wait_for(|phase| !matches!(phase, Phase::Connecting)).await.ok()?;
        match &*phase {
            Phase::Up(up) => Some(up.clone()),
            Phase::Connecting | Phase::Down => None,
        }
    }

    /// What an error means to who asked, and whether it means that the connection is of no use.
    fn judge(&self, error: &RedisError, number: u64) -> Trouble {
        use ServerErrorKind::{
            Ask, BusyLoading, ClusterDown, MasterDown, Moved, NoPerm, NoScript, ReadOnly, TryAgain,
        };
        let text = error.to_string();
        match (error.kind(), error.code()) {
            // The server lost the scripts, or is not, or not now, the one to ask: connecting loads them and
            // looks again.
            (
                ErrorKind::Server(
                    NoScript | BusyLoading | ReadOnly | MasterDown | ClusterDown | Moved | Ask | TryAgain
                    | NoPerm,
                ),
                _,
            )
            | (_, Some("NOAUTH" | "BUSY" | "MISCONF")) => {
                self.fail(number, &text);
                Trouble::Down
            }
            (_, Some("OOM")) => {
                self.remember(&text);
                Trouble::Full
            }
            (_, Some("WRONGTYPE")) => Trouble::NotANumber,
            (ErrorKind::Server(ServerErrorKind::ResponseError), _)
                if text.contains("not an integer") || text.contains("would overflow") =>
            {
                Trouble::NotANumber
            }
            (ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType, _) => {
                self.remember(&text);
                Trouble::Refused
            }
            _ => {
                self.fail(number, &text);
                Trouble::Down
            }
        }
    }

    fn is_in_time(&self) {
        // Mostly it is 0, and reading shares the line between processors.
        if self.late_since.load(Ordering::Relaxed) != 0 {
            self.late_since.store(0, Ordering::Relaxed);
        }
    }

    fn is_late(&self, asked: Instant, number: u64) {
        let micros = |time: Instant| {
            u64::try_from(time.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX).max(1)
        };
        let asked = micros(asked);
        let first = self.late_since.compare_exchange(0, asked, Ordering::Relaxed, Ordering::Relaxed);
        let since = first.map_or_else(|since| since, |_| asked);
        if Duration::from_micros(micros(Instant::now()).saturating_sub(since)) >= LATE {
            self.fail(number, &format!("no answer for over {} ms", LATE.as_millis()));
        }
    }

    /// The connection with this number is of no use.
    fn fail(&self, number: u64, error: &str) {
        let is_this = |phase: &Phase| matches!(phase, Phase::Up(up) if up.number == number);
        self.turn(is_this, Phase::Down, Reach::Unreachable, Some(error));
    }

    /// The phase and the status change together, so that they agree whoever else is about to change them.
    fn turn(&self, from: impl FnOnce(&Phase) -> bool, to: Phase, reach: Reach, error: Option<&str>) {
        let error = error.map(|error| self.url.without_secrets(error));
        let mut is_news = false;
        self.phase.send_if_modified(|phase| {
            let turns = from(phase);
            if turns {
                *phase = to;
                let mut status = self.status_mut();
                is_news = status.reach != reach;
                if is_news {
                    (status.reach, status.since) = (reach, SystemTime::now());
                }
                if let Some(error) = &error {
                    status.last_error = Some((SystemTime::now(), error.clone()));
                }
            }
            turns
        });
        match error {
            Some(error) if is_news => warn!(target: "state", "{} cannot be reached: {error}", self.url),
            None if is_news => info!(target: "state", "{} can be reached", self.url),
            _ => {}
        }
    }

    /// Something went wrong that says nothing about the connection.
    fn remember(&self, error: &str) {
        let error = self.url.without_secrets(error);
        self.status_mut().last_error = Some((SystemTime::now(), error));
    }

    fn status_mut(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects, and connects again, for as long as anybody asks.
pub(super) async fn keep(link: Arc<Link>, client: Client, calls: Arc<Calls>) {
    let mut phase = link.phase.subscribe();
    for number in 0.. {
        let begin = Instant::now();
        match connect(&client, &calls).await {
            Ok(connection) => {
                link.late_since.store(0, Ordering::Relaxed);
                link.turn(|_| true, Phase::Up(Up { number, connection }), Reach::Reachable, None);
                tokio::select! {
                    _ = phase.wait_for(|phase| matches!(phase, Phase::Down)) => {}
                    error = first_failure(&link) => link.fail(number, &error),
                }
            }
            Err(error) => link.turn(|_| true, Phase::Down, Reach::Unreachable, Some(&error)),
        }
        sleep_until(begin + RETRY).await;
    }
}

async fn connect(client: &Client, calls: &Calls) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        // Who asks brings a deadline.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let connected = async {
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        calls.prepare().exec_async(&mut connection).await?;
        Ok(connection)
    };
    match timeout(CONNECT, connected).await {
        Ok(connected) => connected.map_err(|error: RedisError| error.to_string()),
        Err(_) => Err(format!("no connection within {} s", CONNECT.as_secs())),
    }
}

/// Looks at the connection now and then, until that fails.
async fn first_failure(link: &Link) -> String {
    loop {
        sleep_until(Instant::now() + PING).await;
        let Some(mut up) = link.up().await else { return "closed".to_owned() };
        match timeout(PING, cmd("PING").query_async::<()>(&mut up.connection)).await {
            Ok(Ok(())) => link.is_in_time(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no answer for over {} s", PING.as_secs()),
        }
    }
}
