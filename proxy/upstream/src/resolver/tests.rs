//! Names followed through changes and failures of DNS.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::dns::Dns;
use super::*;

/// How long any condition may take; only a test that fails uses it up.
const PATIENCE: Duration = Duration::from_secs(30);

fn ips<const N: usize>(texts: [&str; N]) -> Vec<IpAddr> {
    texts.map(|text| text.parse().expect("an address")).into()
}

fn resolver(dns: &Dns) -> Resolver {
    Resolver::new(&[dns.address()], Duration::from_secs(5)).expect("a resolver")
}

/// A name that is followed, until it is dropped.
struct Followed {
    /// Each publication counts.
    published: watch::Receiver<(usize, Vec<IpAddr>)>,
    task: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    fn new(dns: &Dns, host: &str) -> Self {
        let (sender, published) = watch::channel((0, Vec::new()));
        let publish = move |addresses| {
            sender.send_modify(|(count, last)| {
                *count += 1;
                *last = addresses;
            });
        };
        let task = tokio::spawn(follow(resolver(dns), host.to_owned(), || false, publish));
        Self { published, task }
    }

    async fn becomes<const N: usize>(&mut self, addresses: [&str; N]) {
        let expected = ips(addresses);
        let became = self.published.wait_for(|(_, addresses)| *addresses == expected);
        let became = timeout(PATIENCE, became).await.map(|became| became.is_ok());
        assert_eq!(became, Ok(true), "{:?} instead of {addresses:?}", self.published.borrow().1);
    }

    fn published(&self) -> (usize, Vec<IpAddr>) {
        self.published.borrow().clone()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, holds).await.is_ok(), "waited in vain: {what}");
}

/// Until `count` further rounds of questions are over.
async fn rounds(dns: &Dns, host: &str, count: usize) {
    // Two questions each; one more has begun when the last of them is over.
    let enough = dns.asked(host) + 2 * count + 1;
    until("questions", || dns.asked(host) >= enough).await;
}

/// The log of this thread, on which the test's runtime runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("no panic while writing").clone();
        String::from_utf8(bytes).expect("text").lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic while writing").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_name_is_all_its_addresses_in_order() {
    let dns = Dns::start().await;
    dns.set("app.test", &ips(["10.0.0.2", "2001:db8::1", "10.0.0.1", "10.0.0.2"]), 60);
    Followed::new(&dns, "App.Test").becomes(["10.0.0.1", "10.0.0.2", "2001:db8::1"]).await;
    dns.set("v4.test", &ips(["10.0.0.3"]), 60);
    Followed::new(&dns, "v4.test").becomes(["10.0.0.3"]).await;
    dns.set("under_score.v6.test", &ips(["2001:db8::3"]), 60);
    Followed::new(&dns, "under_score.v6.test").becomes(["2001:db8::3"]).await;
}

#[tokio::test]
async fn localhost_needs_no_server() {
    let dns = Dns::start().await;
    dns.fail(true);
    let mut localhost = Followed::new(&dns, "localhost");
    let found =
        localhost.published.wait_for(|(_, addresses)| addresses.contains(&Ipv4Addr::LOCALHOST.into()));
    assert!(timeout(PATIENCE, found).await.is_ok());
    assert_eq!(dns.asked("localhost"), 0);
}

#[tokio::test]
async fn without_servers_of_its_own_it_does_as_the_system_does() {
    let resolver = Resolver::new(&[], Duration::from_secs(5)).expect("a resolver");
    assert!(matches!(resolver.resolve("localhost").await, Round::Whole(_)));
}

#[tokio::test]
async fn a_change_is_followed_and_no_change_is_not_published() {
    let dns = Dns::start().await;
    dns.set("app.test", &ips(["10.0.0.1"]), 1);
    let mut app = Followed::new(&dns, "app.test");
    app.becomes(["10.0.0.1"]).await;
    rounds(&dns, "app.test", 2).await;
    assert_eq!(app.published().0, 1);
    dns.set("app.test", &ips(["10.0.0.1", "10.0.0.2"]), 0);
    let changed = Instant::now();
    app.becomes(["10.0.0.1", "10.0.0.2"]).await;
    // The TTL was one second.
    assert!(changed.elapsed() < Duration::from_secs(5), "{:?}", changed.elapsed());
    dns.set("app.test", &ips(["10.0.0.2"]), 60);
    app.becomes(["10.0.0.2"]).await;
    assert_eq!(app.published().0, 3);
}

#[tokio::test]
async fn the_last_answer_is_kept_while_dns_fails() {
    let (log, _guard) = Log::capture();
    let dns = Dns::start().await;
    dns.set("app.test", &ips(["10.0.0.1"]), 1);
    let mut app = Followed::new(&dns, "app.test");
    app.becomes(["10.0.0.1"]).await;
    dns.fail(true);
    until("a warning", || log.lines().len() == 1).await;
    // A question that fails is tried three times.
    rounds(&dns, "app.test", 3).await;
    let warning = "WARN resolver: cannot be resolved: DNS error: error response: Server Failure; the last answer is kept host=\"app.test\"";
    assert_eq!(log.lines(), [warning]);
    assert_eq!(app.published(), (1, ips(["10.0.0.1"])));
    dns.fail(false);
    dns.set("app.test", &ips(["10.0.0.2"]), 60);
    app.becomes(["10.0.0.2"]).await;
    // There may be a round between, with one of the two questions answered.
    let good = "INFO resolver: resolves again host=\"app.test\"";
    until("the good news", || log.lines().last().is_some_and(|line| line == good)).await;
}

#[tokio::test]
async fn the_last_answer_is_kept_when_the_name_or_its_addresses_are_removed() {
    let (log, _guard) = Log::capture();
    let dns = Dns::start().await;
    dns.set("app.test", &ips(["10.0.0.1"]), 1);
    let mut app = Followed::new(&dns, "app.test");
    app.becomes(["10.0.0.1"]).await;
    dns.remove("app.test");
    until("a warning", || log.lines().len() == 1).await;
    dns.set("app.test", &[], 1);
    until("another one", || log.lines().len() == 2).await;
    assert_eq!(app.published(), (1, ips(["10.0.0.1"])));
    let expected = [
        "WARN resolver: does not exist any more; the last answer is kept host=\"app.test\"",
        "WARN resolver: has no address any more; the last answer is kept host=\"app.test\"",
    ];
    assert_eq!(log.lines(), expected);
}

#[tokio::test]
async fn a_name_that_never_had_an_address_is_an_error_and_is_found_when_it_has() {
    let (log, _guard) = Log::capture();
    let dns = Dns::start().await;
    let mut app = Followed::new(&dns, "ap.test");
    rounds(&dns, "ap.test", 2).await;
    assert_eq!(app.published(), (1, Vec::new()), "that there are none, once");
    assert_eq!(log.lines(), ["ERROR resolver: does not exist; is it spelt right? host=\"ap.test\""]);
    dns.set("ap.test", &ips(["10.0.0.1"]), 60);
    app.becomes(["10.0.0.1"]).await;
}

#[tokio::test]
async fn a_family_whose_question_fails_keeps_its_addresses() {
    let (log, _guard) = Log::capture();
    let dns = Dns::start().await;
    dns.set("app.test", &ips(["10.0.0.1", "2001:db8::1"]), 1);
    let mut app = Followed::new(&dns, "app.test");
    app.becomes(["10.0.0.1", "2001:db8::1"]).await;
    dns.fail_ipv6(true);
    dns.set("app.test", &ips(["10.0.0.2", "2001:db8::2"]), 1);
    app.becomes(["10.0.0.2", "2001:db8::1"]).await;
    assert!(log.lines()[0].contains("only one of A and AAAA could be resolved"), "{:?}", log.lines());
    dns.fail_ipv6(false);
    app.becomes(["10.0.0.2", "2001:db8::2"]).await;
    // Answered, and there are none any more.
    dns.set("app.test", &ips(["10.0.0.2"]), 60);
    app.becomes(["10.0.0.2"]).await;
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_asked_for_over_tcp() {
    let dns = Dns::start().await;
    let many: Vec<IpAddr> = (0..=255).map(|last| [10, 0, 0, last].into()).collect();
    dns.set("many.test", &many, 60);
    let mut followed = Followed::new(&dns, "many.test");
    let whole = followed.published.wait_for(|(_, addresses)| *addresses == many);
    assert!(timeout(PATIENCE, whole).await.is_ok());
}

#[tokio::test]
async fn a_short_name_is_completed() {
    let dns = Dns::start().await;
    let resolver = resolver(&dns);
    {
        let mut current = resolver.current.lock().expect("no panic");
        let current = Arc::get_mut(&mut current).expect("nobody asks yet");
        current.search = ["a.test", "b.test"].map(|name| Name::from_ascii(name).expect("a name")).into();
        current.ndots = 2;
    }
    let candidates = |host: &str| -> Vec<String> {
        let names = resolver.candidates(host).expect("a name");
        names.iter().map(Name::to_string).collect()
    };
    assert_eq!(candidates("app"), ["app.a.test.", "app.b.test.", "app."]);
    assert_eq!(candidates("app.x"), ["app.x.a.test.", "app.x.b.test.", "app.x."]);
    assert_eq!(candidates("app.x.y"), ["app.x.y.", "app.x.y.a.test.", "app.x.y.b.test."]);
    assert_eq!(candidates("app."), ["app."]);
    assert_eq!(candidates("localhost")[0], "localhost.");

    // The first name with addresses is the one, for both families.
    dns.set("app.b.test", &ips(["10.0.0.1"]), 60);
    dns.set("app", &ips(["10.0.0.2", "2001:db8::2"]), 60);
    let Round::Whole(answer) = resolver.resolve("app").await else { panic!("no answer") };
    assert_eq!((answer.v4, answer.v6), (Some(ips(["10.0.0.1"])), Some(Vec::new())));
    // A failure is not the same as a name that does not exist.
    dns.fail(true);
    assert!(matches!(resolver.resolve("app").await, Round::Failed(_)));
    assert_eq!(dns.asked("app"), 0);
}

#[tokio::test]
async fn servers_that_do_not_answer_are_got_past() {
    let dns = Dns::start().await;
    dns.set("app.test", &ips(["10.0.0.1"]), 60);
    // Bound, so that nobody else answers; silent.
    let dead = [0, 1].map(|_| std::net::UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let [first, second] = dead.each_ref().map(|socket| socket.local_addr().expect("a bound socket"));
    let resolver =
        Resolver::new(&[first, second, dns.address()], Duration::from_millis(300)).expect("a resolver");
    assert!(matches!(resolver.resolve("app.test").await, Round::Whole(_)));
}
