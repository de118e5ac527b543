//! What clients ask for, and what the answers have to be.

use std::rc::Rc;

use bytes::Bytes;

/// Bytes of a response body of the server, unless the work asks for others.
pub(crate) const BODY: usize = 1024;
/// The file of [`Work::compressed`].
pub(crate) const TEXT: &str = "text.md";
/// Whom clients ask, if that does not matter.
pub(crate) const HOST: &str = "www.example.com";

/// Legacy paths that clients ask for: more than one, which a proxy could remember, and no more than a site has that
/// clients ask for again and again.
const ARTICLES: usize = 100;
/// More paths than those for which the proxy remembers what a policy decided.
const MANY_ARTICLES: usize = 10_000;
/// What browsers take.
const CODINGS: &str = "gzip, deflate, br";
/// A message of gRPC: not compressed, of so many bytes (gRPC over HTTP/2, "Length-Prefixed-Message").
const GRPC_PREFIX: [u8; 5] = [0, 0, 0, (BODY >> 8) as u8, BODY as u8];

/// Requests, asked in turn.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) requests: Rc<[Asked]>,
    /// Bytes of each answer's body; `None` where the proxy codes it.
    pub(crate) answer: Option<usize>,
    /// Whether the server behind the proxy answers, and with so many bytes.
    pub(crate) is_forwarded: bool,
}

/// A request, whatever the version of HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) host: Rc<str>,
    pub(crate) target: String,
    pub(crate) codings: &'static str,
    pub(crate) body: Bytes,
    /// A call of gRPC; its answer ends with a status.
    pub(crate) is_grpc: bool,
}

impl Work {
    /// From the server, answers of so many bytes: something for each rule to decide, and nothing that ends at the proxy.
    pub(crate) fn forwarded(bytes: usize) -> Self {
        Self::of(targets(ARTICLES).map(Asked::get), Some(bytes))
    }

    /// The same with so many targets that the proxy calls the policies for most of them.
    pub(crate) fn varied() -> Self {
        Self::of(targets(MANY_ARTICLES).map(Asked::get), Some(BODY))
    }

    /// Requests with a body of so many bytes.
    pub(crate) fn upload(bytes: usize) -> Self {
        let body = Bytes::from(vec![b'x'; bytes]);
        let asked = Asked { method: "POST", body, ..Asked::get("/api/v1/orders".to_owned()) };
        Self::of([asked].into_iter(), Some(BODY))
    }

    /// A file of so many bytes, from the proxy itself.
    pub(crate) fn file(bytes: usize) -> Self {
        let is_forwarded = false;
        Self { is_forwarded, ..Self::of([Asked::get(format!("/{bytes}"))].into_iter(), Some(bytes)) }
    }

    /// The file [`TEXT`], which the proxy compresses, in several codings.
    pub(crate) fn compressed() -> Self {
        let asked = |codings| Asked { codings, ..Asked::get(format!("/{TEXT}")) };
        Self::of(["gzip", "br", "zstd"].into_iter().map(asked), None)
    }

    /// Calls of gRPC with one small message each way.
    pub(crate) fn grpc() -> Self {
        let body = grpc_message();
        let (answer, target) = (body.len(), "/bench.Orders/Get".to_owned());
        let asked = Asked { method: "POST", body, is_grpc: true, codings: "identity", ..Asked::get(target) };
        Self::of([asked].into_iter(), Some(answer))
    }

    /// These targets, from the server.
    pub(crate) fn paths(targets: impl Iterator<Item = String>) -> Self {
        Self::of(targets.map(Asked::get), Some(BODY))
    }

    /// These hosts, from the server.
    pub(crate) fn hosts(hosts: impl Iterator<Item = String>) -> Self {
        let asked = |host: String| Asked { host: host.into(), ..Asked::get("/".to_owned()) };
        Self::of(hosts.map(asked), Some(BODY))
    }

    fn of(requests: impl Iterator<Item = Asked>, answer: Option<usize>) -> Self {
        Self { requests: requests.collect(), answer, is_forwarded: true }
    }

    /// Whether answers are so large that parts of them count.
    pub(crate) fn is_large(&self) -> bool {
        self.answer.is_some_and(|bytes| bytes > 1 << 20)
    }
}

impl Asked {
    fn get(target: String) -> Self {
        Self {
            method: "GET",
            host: HOST.into(),
            target,
            codings: CODINGS,
            body: Bytes::new(),
            is_grpc: false,
        }
    }

    /// Its fields but for those that HTTP itself adds: those that browsers send.
    pub(crate) fn fields(&self) -> Vec<(&'static str, &'static str)> {
        let mut fields =
            vec![("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")];
        match self.is_grpc {
            true => fields.extend([("content-type", "application/grpc"), ("te", "trailers")]),
            false => fields.extend([
                ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
                ("accept-language", "en-US,en;q=0.5"),
                ("accept-encoding", self.codings),
            ]),
        }
        fields
    }
}

/// A message of gRPC of [`BODY`] bytes.
pub(crate) fn grpc_message() -> Bytes {
    [&GRPC_PREFIX[..], &[b'x'; BODY]].concat().into()
}

/// Something for each rule to decide, and nothing that ends at the proxy.
fn targets(articles: usize) -> impl Iterator<Item = String> {
    let round = |article: usize| {
        let article = format!("/old/articles/{article}");
        ["/".to_owned(), "/images/logo.png?v=3".to_owned(), article, "/api/v1/orders".to_owned()]
    };
    (0..articles).flat_map(round)
}
