//! Has DNS records set by a program or by something that listens for HTTP.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use serde_json::json;
use tidegate_acme::{RecordFuture, Records, Transport};
use tidegate_config::{DnsHook, HookBy};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::transport::Http;
use crate::tls;

/// Bytes of what a program says that are kept.
const SAID: u64 = 4 << 10;

/// The hook as the operator has it.
pub(super) fn open(hook: &DnsHook) -> Result<Arc<dyn Records>, String> {
    let limit = hook.timeout;
    Ok(match &hook.by {
        HookBy::Command(words) => Arc::new(Program { words: words.clone(), limit }),
        HookBy::Url(url) => {
            let url: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
            let is_secure = url.scheme_str() == Some("https");
            let tls = is_secure.then(|| tls::for_authority(None)).transpose()?;
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
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let limit = self.limit;
        Box::pin(async move {
            let ended = async {
                let mut child = command.spawn().map_err(|error| format!("cannot run {program}: {error}"))?;
                let mut said = Vec::new();
                if let Some(mut stderr) = child.stderr.take() {
                    // To its end, or the program would wait.
                    let _ = (&mut stderr).take(SAID).read_to_end(&mut said).await;
                    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
                }
                let status = child.wait().await.map_err(|error| format!("{program}: {error}"))?;
                if status.success() {
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&said);
                let last = said.trim().lines().next_back().unwrap_or_default().to_owned();
                Err(format!("{program} {action}: {status}: {last}"))
            };
            match timeout(limit, ended).await {
                Ok(result) => result,
                Err(_) => Err(format!("{program} {action} did not end within {} s", limit.as_secs())),
            }
        })
    }
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
