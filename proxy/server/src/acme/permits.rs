//! Decides which names get a certificate because a client asks for them: something that listens for HTTP, or a file.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use tidegate_acme::{Permit, PermitFuture, Transport};
use tidegate_config::AllowedBy;
use tokio::time::timeout;

use super::transport::Http;
use crate::{regular, tls};

/// For an answer. A client waits for it.
const ANSWER: Duration = Duration::from_secs(5);

/// Whoever it is as the operator has it. The error is a key and what is wrong with it.
pub(super) fn open(by: &AllowedBy) -> Result<Arc<dyn Permit>, (&'static str, String)> {
    Ok(match by {
        AllowedBy::Url(url) => {
            let is_secure = url.starts_with("https://");
            let tls = is_secure.then(|| tls::for_own_requests(None)).transpose();
            let tls = tls.map_err(|message| ("ask", message))?;
            let transport = Arc::new(Http::new(tls));
            Arc::new(Asked { url: url.clone(), transport })
        }
        AllowedBy::Names(file) => Arc::new(Listed(read(file).map_err(|message| ("names", message))?)),
    })
}

struct Asked {
    url: String,
    transport: Arc<Http>,
}

impl Permit for Asked {
    fn allows(&self, name: &str) -> PermitFuture {
        // A name has no character that a URL cannot have.
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}domain={name}", self.url).parse::<Uri>();
        let transport = self.transport.clone();
        Box::pin(async move {
            let url = url.map_err(|error| format!("acme.on-demand.ask: {error}"))?;
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = url;
            match timeout(ANSWER, transport.send(request)).await {
                Ok(Ok(answer)) if answer.status().is_success() => Ok(true),
                Ok(Ok(answer)) if answer.status().is_client_error() => Ok(false),
                Ok(Ok(answer)) => Err(format!("acme.on-demand.ask answered {}", answer.status())),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(format!("acme.on-demand.ask gave no answer within {} s", ANSWER.as_secs())),
            }
        })
    }
}

struct Listed(HashSet<String>);

impl Permit for Listed {
    fn allows(&self, name: &str) -> PermitFuture {
        let below = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let allows = self.0.contains(name) || below.is_some_and(|below| self.0.contains(&below));
        Box::pin(async move { Ok(allows) })
    }
}

/// The names of a file, in lower case.
fn read(file: &Path) -> Result<HashSet<String>, String> {
    let text =
        regular::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let lines = text.lines().map(str::trim).enumerate();
    let names = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let names = names.map(|(index, line)| {
        let host = line.strip_prefix("*.").unwrap_or(line);
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
        if is_name && host.contains('.') {
            return Ok(line.to_ascii_lowercase());
        }
        let line_number = index + 1;
        Err(format!(
            "{}, line {line_number}: {line:?} is no host name; write one on each line, as in \"www.example.com\" or \"*.example.com\"",
            file.display()
        ))
    });
    names.collect()
}
