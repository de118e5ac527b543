//! Has DNS records set by a program or by something that listens for HTTP.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use serde_json::json;
use tidegate_acme::{RecordFuture, Records, Transport};
use tidegate_config::{DnsHook, HookBy};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::transport::Http;
use crate::tls;

/// Bytes of what a program says that are kept.
const SAID: u64 = 4 << 10;
/// Between two looks whether a program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The hook as the operator has it.
pub(super) fn open(hook: &DnsHook) -> Result<Arc<dyn Records>, String> {
    let limit = hook.timeout;
    Ok(match &hook.by {
        HookBy::Command(words) => Arc::new(Program { words: words.clone(), limit }),
        HookBy::Url(url) => {
            let url: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
            let is_secure = url.scheme_str() == Some("https");
            let tls = is_secure.then(|| tls::for_own_requests(None)).transpose()?;
            Arc::new(Listener { url, transport: Arc::new(Http::new(tls)), limit })
        }
    })
}

struct Program {
    words: Vec<String>,
    limit: Duration,
}

impl Program {
    fn run(&self, action: &'static str, name: &str, value: &str) -> RecordFuture {
        let mut words = self.words.iter();
        let program = words.next().cloned().unwrap_or_default();
        let mut command = Command::new(&program);
        command.args(words).args([action, name, value]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let limit = self.limit;
        // It may take a minute, and ends within its limit, whoever waits for it.
        let ended = move || run(command, limit).map_err(|error| format!("{program} {action}: {error}"));
        Box::pin(async {
            spawn_blocking(ended).await.unwrap_or_else(|_| Err("the proxy is stopping".to_owned()))
        })
    }
}

/// Waits for the end of a program; the error has the last line of what it said.
fn run(mut command: Command, limit: Duration) -> Result<(), String> {
    let mut child = command.spawn().map_err(|error| format!("it cannot be run: {error}"))?;
    let (told, said) = channel();
    if let Some(mut stderr) = child.stderr.take() {
        // To its end and beside it, or the program would wait.
        std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.by_ref().take(SAID).read_to_end(&mut said);
            let _ = told.send(said);
            let _ = io::copy(&mut stderr, &mut io::sink());
        });
    }
    let until = Instant::now() + limit;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() < until => std::thread::sleep(LOOK),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not end within {} s", limit.as_secs()));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    // What it has started may have it open yet.
    let said = said.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    Err(format!("{status}: {}", said.trim().lines().next_back().unwrap_or_default()))
}

impl Records for Program {
    fn set(&self, name: &str, value: &str) -> RecordFuture {
        self.run("set", name, value)
    }

    fn remove(&self, name: &str, value: &str) -> RecordFuture {
        self.run("remove", name, value)
    }
}

struct Listener {
    url: Uri,
    transport: Arc<Http>,
    limit: Duration,
}

impl Listener {
    fn post(&self, action: &'static str, name: &str, value: &str) -> RecordFuture {
        let body = json!({ "action": action, "name": name, "value": value }).to_string();
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (answer, limit) = (self.transport.send(request), self.limit);
        Box::pin(async move {
            match timeout(limit, answer).await {
                Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
                Ok(Ok(answer)) => Err(format!("acme.dns.endpoint answered {}", answer.status())),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(format!("acme.dns.endpoint gave no answer within {} s", limit.as_secs())),
            }
        })
    }
}

impl Records for Listener {
    fn set(&self, name: &str, value: &str) -> RecordFuture {
        self.post("set", name, value)
    }

    fn remove(&self, name: &str, value: &str) -> RecordFuture {
        self.post("remove", name, value)
    }
}
