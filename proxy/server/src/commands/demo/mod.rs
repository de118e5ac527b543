//! `tidegate demo`: the main job on one machine, with nothing to set up.

mod authority;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};

use self::authority::{Authority, NAME};
use super::print;
use super::stock::Stock;
use crate::server;

/// The origins, and with them the upstreams, of the demo.
const ORIGINS: [&str; 3] = ["site", "api", "images"];

/// The chain of the demo: file, stock policy, settings.
const CHAIN: [(&str, &str, &str); 3] = [
    (
        "10-access",
        "access-control",
        r#"# Only clients of the internal network may see /admin.
[config]
rules = [
  { paths = ["/admin/**"], allow = ["10.0.0.0/8"] },
  { user-agents = ["EvilBot"], deny = true },
]
"#,
    ),
    (
        "20-rewrite",
        "rewrite",
        r#"# Old URLs keep working.
[config]
rules = [
  { path = "^/old/(.*)$", to = "/new/$1" },
  { path = "^/go/(.*)$", redirect = "https://example.com/$1", status = 301 },
]
response-headers = { set = { x-served-by = "tidegate" } }
"#,
    ),
    (
        "30-router",
        "router",
        r#"# The path decides where a request goes; what no rule matches goes to the default upstream.
[config]
rules = [
  { paths = ["/api/**"], to = "api" },
  { paths = ["/images/**"], to = "images" },
]
"#,
    ),
];

/// A policy to drop in and take away again: access control that lets nobody pass.
const SPARE: (&str, &str, &str) =
    ("05-closed", "access-control", "[config]\nrules = [{ deny = true }]\nstatus = 503\n");

/// Sets up a directory, starts the origins, says what to try, and serves until it is stopped.
/// With `acme`, an authority of this machine signs the certificate.
pub(crate) fn run(plugins: Option<PathBuf>, port: u16, acme: bool) -> Result<ExitCode, String> {
    let stock = Stock::find(plugins)?;
    let directory =
        tempfile::Builder::new().prefix("tidegate-demo-").tempdir().map_err(|error| error.to_string())?;
    let root = directory.path();
    let origins = start_origins().map_err(|error| format!("cannot start the origins: {error}"))?;
    let port = choose_port(port).map_err(|error| format!("cannot use port {port}: {error}; try --port 0"))?;
    let clear = choose_port(0).map_err(|error| error.to_string())?;
    let authority = acme.then(|| Authority::start(&root.join("authority"), clear, port)).transpose()?;
    let edge = match &authority {
        None => own_certificate(root, port),
        Some(authority) => Ok(obtained_certificate(authority, clear, port)),
    };
    edge.and_then(|edge| lay_out(root, &stock, edge, &origins))
        .map_err(|error| format!("cannot set up {}: {error}", root.display()))?;
    print(&what_to_try(root, port, authority.as_ref()))?;
    server::run(root.join("tidegate.toml"), None).map_err(|error| error.to_string())
}

fn choose_port(port: u16) -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", port))?.local_addr()?.port())
}

/// One thread for all three; each says who it is and what it was asked.
fn start_origins() -> io::Result<Vec<(&'static str, SocketAddr)>> {
    let mut listeners = Vec::new();
    for name in ORIGINS {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        listeners.push((name, listener));
    }
    let addresses = listeners.iter().map(|(name, listener)| Ok((*name, listener.local_addr()?)));
    let addresses = addresses.collect::<io::Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("origins".to_owned()).spawn(move || {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for (name, listener) in listeners {
                tasks.spawn(serve_origin(name, listener));
            }
            tasks.join_all().await;
        });
    })?;
    Ok(addresses)
}

async fn serve_origin(name: &'static str, listener: TcpListener) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let service = service_fn(move |request| async move { Ok::<_, Infallible>(describe(name, &request)) });
        tokio::spawn(async move {
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await)
        });
    }
}

fn describe(origin: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let body = json!({
        "origin": origin,
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers,
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{body:#}\n"))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The listener, with a certificate that the demo signs itself.
fn own_certificate(root: &Path, port: u16) -> io::Result<String> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    fs::write(root.join("certificate.pem"), certificate.cert.pem())?;
    fs::write(root.join("certificate.key"), certificate.signing_key.serialize_pem())?;
    Ok(format!(
        r#"[listener.secure]
address = "127.0.0.1:{port}"
tls = {{ certificates = [{{ chain = "certificate.pem", key = "certificate.key" }}] }}
"#
    ))
}

/// The listeners, with a certificate that the authority signs.
fn obtained_certificate(authority: &Authority, clear: u16, port: u16) -> String {
    let directory = &authority.directory;
    format!(
        r#"[listener.web]
address = "127.0.0.1:{clear}"

[listener.secure]
address = "127.0.0.1:{port}"
tls = {{ acme = ["{NAME}"] }}

[acme]
directory = "{directory}"
ca = "authority/authority.pem"
"#
    )
}

fn lay_out(root: &Path, stock: &Stock, edge: String, origins: &[(&str, SocketAddr)]) -> io::Result<()> {
    let (plugins, spare) = (root.join("plugins"), root.join("spare"));
    fs::create_dir(&plugins)?;
    fs::create_dir(&spare)?;
    for (name, policy, settings) in CHAIN {
        install(&plugins, stock, name, policy, settings)?;
    }
    let (name, policy, settings) = SPARE;
    install(&spare, stock, name, policy, settings)?;

    let mut config = format!("default-upstream = \"site\"\n\n{edge}");
    for (name, address) in origins {
        config.push_str(&format!(
            "\n[upstream.{name}]\nservers = [\"{address}\"]\nhealth = {{ tcp = true }}\n"
        ));
    }
    fs::write(root.join("tidegate.toml"), config)
}

fn install(directory: &Path, stock: &Stock, name: &str, policy: &str, settings: &str) -> io::Result<()> {
    let wasm = stock.wasm(policy).map_err(io::Error::other)?;
    fs::write(directory.join(format!("{name}.wasm")), wasm)?;
    fs::write(directory.join(format!("{name}.toml")), settings)
}

fn what_to_try(root: &Path, port: u16, authority: Option<&Authority>) -> String {
    let root = root.display();
    let host = if authority.is_some() { NAME } else { "localhost" };
    let url = format!("https://{host}:{port}");
    let trust = match authority {
        None => "(-k because the certificate is the demo's own; --http1.1 works as well):\n".to_owned(),
        Some(authority) => format!(
            "(the certificate is from pebble, which signs for tests; this is whom to trust, in place of -k):\n\n  \
             curl -sk {} > {root}/root.pem\n  curl --cacert {root}/root.pem {url}/\n",
            authority.root
        ),
    };
    format!(
        r"tidegate demo: three origins behind {url}, and a chain of three policies in
  {root}/plugins

In another terminal {trust}
  curl -k {url}/                   the site, by default
  curl -k {url}/api/users          the path decides: the api
  curl -k {url}/images/logo.png    … the images
  curl -k {url}/admin              403: you are not on the internal network
  curl -k {url}/old/page           rewritten: the site is asked for /new/page
  curl -ki {url}/go/away           301 to https://example.com/away

Then change the chain while it serves:

  cp {root}/spare/05-closed.* {root}/plugins/   every answer is 503
  rm {root}/plugins/05-closed.*                 and back

  edit {root}/plugins/30-router.toml: what a mistake does to it is in the log below.

Stop with Ctrl-C. Below are the proxy's log and one JSON line for each request.
"
    )
}
