//! A running proxy as commands see it: where its admin interface is, and how it is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use rustls::ClientConfig;
use serde_json::Value;
use tidegate_config::{Admin, Problems};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::words::clean;
use super::{block_on, configuration, read};
use crate::sources::Sources;
use crate::tls::{self, Believes};
use crate::{outbound, regular};

/// For the whole of a request: what is asked for here is done at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// Beyond `timeouts.upgrade`, for all that comes before and after that wait.
const UPGRADE_BESIDE: Duration = Duration::from_secs(60);
/// Where that is not known: its longest.
const LONGEST_UPGRADE: Duration = Duration::from_secs(240);
/// For the next event: there is one each second.
const SILENCE: Duration = Duration::from_secs(15);
/// Bytes of one event: some ten thousand servers.
const LARGEST_EVENT: usize = 16 << 20;

/// Which proxy is asked.
#[derive(Args)]
pub(super) struct Remote {
    /// The configuration of the proxy: says where its admin interface is, and what has to be known.
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml", global = true)]
    config: PathBuf,
    /// The admin interface, IP:port, https://HOST:port or unix:PATH, in place of what the configuration says.
    #[arg(long, value_name = "ADDRESS", global = true)]
    admin: Option<String>,
    /// A file with the token, in place of what the configuration says.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// A PEM file of the authorities that sign the interface's certificate; without it the one in the configuration is
    /// believed, or with --admin those whom this machine believes.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// A PEM file with a certificate of the interface's client-ca, to be shown to it.
    #[arg(long, value_name = "FILE", global = true, requires = "key")]
    certificate: Option<PathBuf>,
    /// A PEM file with the key of that certificate.
    #[arg(long, value_name = "FILE", global = true, requires = "certificate")]
    key: Option<PathBuf>,
}

/// Where an admin interface is.
enum Place {
    Network(SocketAddr),
    Secure { host: String, port: u16, tls: Arc<ClientConfig> },
    Socket(PathBuf),
}

/// An admin interface, and what has to be known to ask it.
pub(super) struct Interface {
    place: Place,
    token: Option<String>,
}

impl Remote {
    /// The answer to a request below `/api/v1/`; the error says why there is none.
    pub(super) fn ask(&self, method: &Method, path: &str, content: Option<&Value>) -> Result<Value, String> {
        let interface = self.interface()?;
        block_on(interface.ask(method, path, content))?
    }

    /// Waits until another process serves, or the one that runs goes on; the answer as it is.
    pub(super) fn upgrade(&self) -> Result<(StatusCode, Bytes), String> {
        let config = configuration(&self.config).ok();
        let timeout = config.map_or(LONGEST_UPGRADE, |config| config.timeouts.upgrade);
        let interface = self.interface()?;
        block_on(interface.answer(&Method::POST, "upgrade", None, timeout + UPGRADE_BESIDE))?
    }

    /// What the arguments and the configuration lead to.
    pub(super) fn interface(&self) -> Result<Interface, String> {
        let token = |file: &Path| read(file, regular::read_to_string).map(|text| text.trim().to_owned());
        let named = self.token_file.as_deref().map(token).transpose()?;
        if let Some(admin) = &self.admin {
            return Ok(Interface { place: self.named(admin)?, token: named });
        }
        let Some(admin) = self.admin_of_configuration()? else {
            return Err(format!(
                "{} has no [admin]: add it, or name the interface with --admin",
                self.config.display()
            ));
        };
        // Its owner needs no token there.
        if let Some(socket) = admin.socket.filter(|socket| socket.exists()) {
            return Ok(Interface { place: Place::Socket(socket), token: named });
        }
        let token = match (named, &admin.token_file) {
            (None, Some(file)) => Some(token(file)?),
            (named, _) => named,
        };
        let address = match admin.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let port = admin.address.port();
        let place = match &admin.tls {
            None => Place::Network(SocketAddr::new(address, port)),
            Some(tls) => {
                let own = tls.certificates.first().map(|certificate| &*certificate.chain);
                Place::Secure { host: address.to_string(), port, tls: self.tls(own)? }
            }
        };
        Ok(Interface { place, token })
    }

    /// A mistake in the files is no reason not to reach a proxy that runs, by those of before.
    fn admin_of_configuration(&self) -> Result<Option<Admin>, String> {
        let shown = |problems| Problems(problems).to_string();
        let sources = Sources::read(&self.config).map_err(shown)?;
        match sources.parse() {
            Ok(config) => Ok(config.admin),
            Err(problems) => sources.admin().map(Some).ok_or_else(|| shown(problems)),
        }
    }

    /// What `--admin` names.
    fn named(&self, admin: &str) -> Result<Place, String> {
        let wrong = || format!("{admin:?} is neither IP:port nor https://HOST:port nor unix:PATH");
        if let Some(path) = admin.strip_prefix("unix:") {
            return Ok(Place::Socket(path.into()));
        }
        let Some(authority) = admin.strip_prefix("https://") else {
            return Ok(Place::Network(admin.parse().map_err(|_| wrong())?));
        };
        let (host, port) = authority.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        Ok(Place::Secure { host: host.to_owned(), port, tls: self.tls(None)? })
    }

    /// How it is spoken to; `own` has its certificate, if that is known.
    fn tls(&self, own: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
        let believes = match (&self.ca, own) {
            (Some(ca), _) => Believes::Authority(ca),
            (None, Some(own)) => Believes::Certificate(own),
            (None, None) => Believes::System,
        };
        tls::as_client(believes, self.certificate.as_deref().zip(self.key.as_deref()))
    }
}

impl Interface {
    /// The answer to a request below `/api/v1/`; the error says why there is none.
    pub(super) async fn ask(
        &self,
        method: &Method,
        path: &str,
        content: Option<&Value>,
    ) -> Result<Value, String> {
        let (status, bytes) = self.answer(method, path, content, PATIENCE).await?;
        let said = clean(String::from_utf8_lossy(&bytes).trim_end());
        if !status.is_success() {
            let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let problems: Option<Vec<_>> =
                answer["problems"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect());
            let said = problems.map_or(said, |problems| clean(&problems.join("; ")));
            return Err(format!("the admin interface answered {status}: {said}"));
        }
        serde_json::from_slice(&bytes).map_err(|_| format!("this is no answer of an admin interface: {said}"))
    }

    /// The answer as it is.
    async fn answer(
        &self,
        method: &Method,
        path: &str,
        content: Option<&Value>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let asking = async {
            let response = self.send(method, path, content).await?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| self.unreachable(error))?;
            Ok((status, body.to_bytes()))
        };
        self.in_time(patience, asking).await
    }

    /// What changes, each second, until the connection ends.
    pub(super) async fn follow(&self) -> Result<Events<'_>, String> {
        let response = self.in_time(PATIENCE, self.send(&Method::GET, "events", None)).await?;
        let status = response.status();
        match status.is_success() {
            true => Ok(Events { interface: self, body: response.into_body(), come: Vec::new() }),
            false => Err(format!("the admin interface answered {status} to who wants to follow it")),
        }
    }

    async fn in_time<T>(
        &self,
        patience: Duration,
        asking: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        timeout(patience, asking).await.unwrap_or_else(|_| Err(self.unreachable("no answer in time")))
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        content: Option<&Value>,
    ) -> Result<Response<Incoming>, String> {
        let content = content.map_or_else(String::new, Value::to_string);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(content))).map_err(|error| error.to_string())?;
        let mut sender = self.connect().await.map_err(|error| self.unreachable(error))?;
        sender.send_request(request).await.map_err(|error| self.unreachable(error))
    }

    async fn connect(&self) -> Result<outbound::Sender, String> {
        let text = |error: std::io::Error| error.to_string();
        match &self.place {
            Place::Network(address) => {
                outbound::speak(TcpStream::connect(address).await.map_err(text)?).await
            }
            Place::Secure { host, port, tls } => outbound::connect(Some(tls.clone()), host, *port).await,
            Place::Socket(path) => outbound::speak(UnixStream::connect(path).await.map_err(text)?).await,
        }
    }

    fn unreachable(&self, error: impl std::fmt::Display) -> String {
        format!("the admin interface at {}: {error}", self.place)
    }
}

impl std::fmt::Display for Interface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.place.fmt(f)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Secure { host, port, .. } if host.contains(':') && !host.starts_with('[') => {
                write!(f, "https://[{host}]:{port}")
            }
            Self::Secure { host, port, .. } => write!(f, "https://{host}:{port}"),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// Server-sent events, as far as the admin interface uses them: an object of JSON each.
pub(super) struct Events<'a> {
    interface: &'a Interface,
    body: Incoming,
    /// What has come of the next one.
    come: Vec<u8>,
}

impl Events<'_> {
    /// The next one; the error says why there is no other.
    pub(super) async fn next(&mut self) -> Result<Value, String> {
        loop {
            if let Some(end) = self.come.windows(2).position(|bytes| bytes == b"\n\n") {
                let event: Vec<u8> = self.come.drain(..end + 2).collect();
                let lines = event.split(|byte| *byte == b'\n');
                let data: Vec<&[u8]> = lines.filter_map(|line| line.strip_prefix(b"data: ")).collect();
                if data.is_empty() {
                    continue;
                }
                return serde_json::from_slice(&data.concat())
                    .map_err(|_| self.interface.unreachable("this is no event"));
            }
            let frame = timeout(SILENCE, self.body.frame()).await;
            let data = match frame.map_err(|_| self.interface.unreachable("it is silent"))? {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(self.interface.unreachable(error)),
                None => return Err(self.interface.unreachable("it ended the connection")),
            };
            if self.come.len() + data.len() > LARGEST_EVENT {
                return Err(self.interface.unreachable("this is no event"));
            }
            self.come.extend_from_slice(&data);
        }
    }
}
