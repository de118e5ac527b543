//! `tidegate status`, `upstream …`, `plugin list`: what the admin interface of a running proxy says, for people and
//! scripts.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{block_on, configuration, print, read};
use crate::{outbound, regular};

/// For the whole of a request: what is asked for here is done at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which proxy is asked.
#[derive(Args)]
pub(super) struct Remote {
    /// The configuration of the proxy: says where its admin interface is, and what has to be known.
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml", global = true)]
    config: PathBuf,
    /// The admin interface, IP:port or unix:PATH, in place of what the configuration says.
    #[arg(long, value_name = "ADDRESS", global = true)]
    admin: Option<String>,
    /// A file with the token, in place of what the configuration says.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Print what the interface answers.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
pub(super) enum UpstreamCommand {
    /// Show all upstreams with their servers.
    List,
    /// Send a server no new requests; it finishes those it has.
    Drain(OneServer),
    /// The same, shown as disabled.
    Disable(OneServer),
    /// Send a server requests again.
    Enable(OneServer),
    /// Give a server another share of the requests.
    Weight {
        #[command(flatten)]
        one: OneServer,
        /// From 1 to 1000.
        #[arg(value_name = "WEIGHT")]
        weight: u32,
    },
}

#[derive(Args)]
pub(super) struct OneServer {
    /// The upstream.
    #[arg(value_name = "NAME")]
    upstream: String,
    /// The server, as `upstream list` shows it.
    #[arg(value_name = "SERVER")]
    server: String,
}

pub(super) fn status(remote: &Remote) -> Result<ExitCode, String> {
    let status = remote.ask(&Method::GET, "status", None)?;
    let ready = status["ready"] == true;
    if remote.json {
        print(&format!("{status:#}"))?;
    } else {
        print(&in_words(&status))?;
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_words(status: &Value) -> String {
    let word = if status["ready"] == true { "ready" } else { "not ready" };
    let (version, generation) = (text(&status["version"]), &status["generation"]);
    let up = status["uptime-s"].as_u64().unwrap_or_default();
    let mut lines = format!("tidegate {version}, generation {generation}, up for {up} s: {word}\n");
    for reason in list(&status["reasons"]) {
        // A String takes all text.
        let _ = writeln!(lines, "  {}", text(reason));
    }
    let rows = list(&status["listeners"]).iter().map(|listener| {
        let count = |key: &str| listener[key].to_string();
        [
            text(&listener["name"]),
            text(&listener["address"]),
            count("requests"),
            count("connections"),
            count("in-flight"),
        ]
    });
    let head = ["LISTENER", "ADDRESS", "REQUESTS", "CONNECTIONS", "IN FLIGHT"].map(str::to_owned);
    lines + &table(std::iter::once(head).chain(rows))
}

pub(super) fn plugins(remote: &Remote) -> Result<ExitCode, String> {
    let plugins = remote.ask(&Method::GET, "plugins", None)?;
    if remote.json {
        print(&format!("{plugins:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = list(&plugins).iter().map(|plugin| {
        let generation = plugin["generation"].as_u64().map_or_else(|| "-".to_owned(), |it| it.to_string());
        [text(&plugin["name"]), text(&plugin["state"]), generation, text(&plugin["error"])]
    });
    let head = ["POLICY", "STATE", "GENERATION", "ERROR"].map(str::to_owned);
    print(table(std::iter::once(head).chain(rows)).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn upstream(remote: &Remote, command: &UpstreamCommand) -> Result<ExitCode, String> {
    let answer = match command {
        UpstreamCommand::List => remote.ask(&Method::GET, "upstreams", None)?,
        UpstreamCommand::Drain(one) => remote.ask(&Method::POST, &one.path("drain"), None)?,
        UpstreamCommand::Disable(one) => remote.ask(&Method::POST, &one.path("disable"), None)?,
        UpstreamCommand::Enable(one) => remote.ask(&Method::POST, &one.path("enable"), None)?,
        UpstreamCommand::Weight { one, weight } => {
            remote.ask(&Method::PUT, &one.path("weight"), Some(&json!({ "weight": weight })))?
        }
    };
    if remote.json {
        print(&format!("{answer:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let one = [answer.clone()];
    let upstreams = answer.as_array().map_or(&one[..], Vec::as_slice);
    let rows = upstreams.iter().flat_map(|upstream| {
        list(&upstream["servers"]).iter().map(|server| {
            let number = |key: &str| server[key].to_string();
            [
                text(&upstream["name"]),
                text(&server["address"]),
                text(&server["state"]),
                number("weight"),
                number("in-flight"),
            ]
        })
    });
    let head = ["UPSTREAM", "SERVER", "STATE", "WEIGHT", "IN FLIGHT"].map(str::to_owned);
    print(table(std::iter::once(head).chain(rows)).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

impl OneServer {
    fn path(&self, order: &str) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!("upstreams/{}/servers/{}/{order}", encoded(&self.upstream), encoded(&self.server))
    }
}

/// Where an admin interface is.
enum Place {
    Network(SocketAddr),
    Socket(PathBuf),
}

impl Remote {
    /// The answer to a request below `/api/v1/`; the error says why there is none.
    fn ask(&self, method: &Method, path: &str, content: Option<&Value>) -> Result<Value, String> {
        let (place, token) = self.place()?;
        let content = content.map_or_else(String::new, Value::to_string);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(content))).map_err(|error| error.to_string())?;
        let asking = async {
            timeout(PATIENCE, place.send(request))
                .await
                .unwrap_or_else(|_| Err("no answer in time".to_owned()))
        };
        let answer = block_on(asking)?;
        let (status, bytes) = answer.map_err(|error| format!("the admin interface at {place}: {error}"))?;
        let said = String::from_utf8_lossy(&bytes);
        if !status.is_success() {
            return Err(format!("the admin interface answered {status}: {}", said.trim_end()));
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| format!("this is no answer of an admin interface: {}", said.trim_end()))
    }

    /// Where it is, and what has to be known.
    fn place(&self) -> Result<(Place, Option<String>), String> {
        let token = |file: &Path| read(file, regular::read_to_string).map(|text| text.trim().to_owned());
        let named = self.token_file.as_deref().map(token).transpose()?;
        if let Some(admin) = &self.admin {
            let place = match admin.strip_prefix("unix:") {
                Some(path) => Place::Socket(path.into()),
                None => Place::Network(
                    admin.parse().map_err(|_| format!("{admin:?} is neither IP:port nor unix:PATH"))?,
                ),
            };
            return Ok((place, named));
        }
        let config = configuration(&self.config)?;
        let Some(admin) = config.admin else {
            return Err(format!(
                "{} has no [admin]: add it, or name the interface with --admin",
                self.config.display()
            ));
        };
        // Its owner needs no token there.
        if let Some(socket) = admin.socket.filter(|socket| socket.exists()) {
            return Ok((Place::Socket(socket), named));
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
        Ok((Place::Network(SocketAddr::new(address, admin.address.port())), token))
    }
}

impl Place {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        match self {
            Self::Network(address) => {
                exchange(TcpStream::connect(address).await.map_err(|error| error.to_string())?, request).await
            }
            Self::Socket(path) => {
                exchange(UnixStream::connect(path).await.map_err(|error| error.to_string())?, request).await
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let mut sender = outbound::speak(stream).await?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Columns as wide as they have to be; the last one is not filled up.
fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let mut widths = [0; N];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // A String takes all text.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
