//! gRPC end to end: a client of tonic, TLS at the edge, a service of tonic on HTTP/2 in clear text.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use tidegate_tests::{Authority, BoxBody, Client, Proxy, Speech, TlsOptions, Upstream, exclusive, within};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::GrpcService;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ClientStreamingService, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status, Streaming};

/// Messages are texts: to a proxy they are bytes between a prefix of five (the protocol's
/// Length-Prefixed-Message), whatever made them.
#[derive(Clone, Copy, Default)]
struct Texts;

impl Codec for Texts {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Texts {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Texts {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| Status::internal("not a text"))
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Texting = Pin<Box<dyn tokio_stream::Stream<Item = Result<String, Status>> + Send>>;

/// The service: says hello, counts, joins and answers, with a few names that do something else.
#[derive(Clone)]
struct Greeter {
    /// Gets a message for each call that a client gave up.
    cancelled: mpsc::UnboundedSender<()>,
}

/// Sends a message when it is dropped before [`Self::finish`].
struct Unfinished(Option<mpsc::UnboundedSender<()>>);

impl Unfinished {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(tell) = &self.0 {
            let _ = tell.send(());
        }
    }
}

impl UnaryService<String> for Greeter {
    type Response = String;
    type Future = Answer<String>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let unfinished = Unfinished(Some(self.cancelled.clone()));
        Box::pin(async move {
            let deadline = request.metadata().get("grpc-timeout").cloned();
            let answer = match request.get_ref().as_str() {
                "nobody" => {
                    let mut status = Status::not_found("there is nobody: é%\n");
                    status.metadata_mut().insert("x-reason", "searched".parse().expect("a value"));
                    Err(status)
                }
                "forever" => std::future::pending().await,
                "deadline" => {
                    let text = deadline.map(|deadline| deadline.to_str().unwrap_or_default().to_owned());
                    Ok(Response::new(text.unwrap_or_else(|| "none".to_owned())))
                }
                "te" => {
                    let te = request.metadata().get("te").and_then(|te| te.to_str().ok());
                    Ok(Response::new(te.unwrap_or("none").to_owned()))
                }
                // A server that looks at the deadline answers like this.
                "late" => {
                    let time =
                        deadline.as_ref().and_then(|deadline| deadline.to_str().ok()).unwrap_or_default();
                    let micros = time.trim_end_matches('u').parse().expect("microseconds");
                    let waited =
                        tokio::time::timeout(Duration::from_micros(micros), std::future::pending::<()>())
                            .await;
                    assert!(waited.is_err());
                    Err(Status::deadline_exceeded("too late"))
                }
                name => {
                    let mut response = Response::new(format!("hello {name}"));
                    response.metadata_mut().insert("x-initial", "yes".parse().expect("a value"));
                    Ok(response)
                }
            };
            unfinished.finish();
            answer
        })
    }
}

impl ServerStreamingService<String> for Greeter {
    type Response = String;
    type ResponseStream = Texting;
    type Future = Answer<Texting>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let unfinished = Unfinished(Some(self.cancelled.clone()));
        Box::pin(async move {
            let text = request.into_inner();
            let texts: Texting = match text.parse::<usize>() {
                Ok(count) => {
                    unfinished.finish();
                    Box::pin(tokio_stream::iter((0..count).map(|n| Ok(n.to_string()))))
                }
                Err(_) if text == "fail" => {
                    unfinished.finish();
                    let one = Ok("one".to_owned());
                    Box::pin(tokio_stream::iter([one, Err(Status::data_loss("after the first"))]))
                }
                // One text, and then nothing until the stream is dropped.
                Err(_) => {
                    let endless = tokio_stream::once(Ok("one".to_owned())).chain(tokio_stream::pending());
                    Box::pin(endless.map(move |text| {
                        let _held = &unfinished;
                        text
                    }))
                }
            };
            Ok(Response::new(texts))
        })
    }
}

impl ClientStreamingService<String> for Greeter {
    type Response = String;
    type Future = Answer<String>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        Box::pin(async move {
            let mut texts = request.into_inner();
            let mut joined = Vec::new();
            while let Some(text) = texts.message().await? {
                joined.push(text);
            }
            Ok(Response::new(joined.join("+")))
        })
    }
}

impl StreamingService<String> for Greeter {
    type Response = String;
    type ResponseStream = Texting;
    type Future = Answer<Texting>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        Box::pin(async move {
            let echoes = request.into_inner().map(|text| text.map(|text| format!("re: {text}")));
            Ok(Response::new(Box::pin(echoes) as Texting))
        })
    }
}

async fn serve(greeter: Greeter, request: http::Request<Incoming>) -> http::Response<BoxBody> {
    let mut grpc = tonic::server::Grpc::new(Texts);
    let response = match request.uri().path() {
        "/test.Greeter/Hello" => grpc.unary(greeter, request).await,
        "/test.Greeter/Count" => grpc.server_streaming(greeter, request).await,
        "/test.Greeter/Join" => grpc.client_streaming(greeter, request).await,
        "/test.Greeter/Talk" => grpc.streaming(greeter, request).await,
        _ => Status::unimplemented("no such method").into_http(),
    };
    response.map(exclusive)
}

/// A connection to the edge, as tonic wants it.
struct Channel(Client);

impl GrpcService<tonic::body::Body> for Channel {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let mut client = self.0.share();
        Box::pin(async move { client.start(request.map(exclusive)).await })
    }
}

/// The service, the proxy in front of it, and what a client needs.
struct Setup {
    service: Upstream,
    proxy: Proxy,
    authority: Authority,
    cancelled: mpsc::UnboundedReceiver<()>,
}

impl Setup {
    async fn start() -> Self {
        let (tell, cancelled) = mpsc::unbounded_channel();
        let greeter = Greeter { cancelled: tell };
        let service = Upstream::builder()
            .speaking(Speech::http2())
            .serve(move |request| serve(greeter.clone(), request))
            .await;
        let authority = Authority::new();
        let leaf = authority.sign(&["edge.test"]);
        let proxy = Proxy::with_app(&format!("servers = [\"{}\"]\nprotocol = \"h2\"", service.address()))
            .tls_listener("secure", &leaf, "")
            .start()
            .await;
        Self { service, proxy, authority, cancelled }
    }

    async fn client(&self) -> tonic::client::Grpc<Channel> {
        let options = TlsOptions::new(&self.authority, "edge.test");
        let client = self.proxy.tls("secure", &options).await.expect("a handshake");
        assert_eq!(client.alpn(), Some("h2"));
        tonic::client::Grpc::new(Channel(client))
    }

    async fn hello(&self, name: &str) -> Result<Response<String>, Status> {
        let request = Request::new(name.to_owned());
        within("the answer", self.client().await.unary(request, method("Hello"), Texts)).await
    }
}

fn method(name: &str) -> PathAndQuery {
    format!("/test.Greeter/{name}").parse().expect("a path")
}

/// A stream that a test feeds.
fn fed() -> (mpsc::UnboundedSender<String>, UnboundedReceiverStream<String>) {
    let (feed, texts) = mpsc::unbounded_channel();
    (feed, UnboundedReceiverStream::new(texts))
}

#[tokio::test]
async fn a_unary_call_brings_its_answer_and_metadata() {
    let setup = Setup::start().await;
    let answer = setup.hello("you").await.expect("an answer");
    assert_eq!(answer.get_ref(), "hello you");
    assert_eq!(answer.metadata().get("x-initial").expect("a field"), "yes");
    let seen = setup.service.only_request();
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.target, "/test.Greeter/Hello");
    assert_eq!(seen.header("content-type"), "application/grpc");
    assert_eq!(seen.authority.as_deref(), Some("example.test"));
}

#[tokio::test]
async fn a_status_comes_with_its_message_and_metadata() {
    let setup = Setup::start().await;
    let status = setup.hello("nobody").await.expect_err("not found");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "there is nobody: é%\n");
    assert_eq!(status.metadata().get("x-reason").expect("a field"), "searched");

    let call = Request::new("x".to_owned());
    let unknown = setup.client().await.unary(call, method("Unknown"), Texts).await;
    let status: Status = unknown.map(|_: Response<String>| ()).expect_err("unimplemented");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn servers_are_told_that_trailers_are_understood() {
    // Some servers refuse calls without this field (gRPC over HTTP/2, Call-Definition: TE).
    let setup = Setup::start().await;
    assert_eq!(setup.hello("te").await.expect("an answer").into_inner(), "trailers");
}

#[tokio::test]
async fn a_server_streams() {
    let setup = Setup::start().await;
    let mut client = setup.client().await;
    let call = Request::new("1000".to_owned());
    let answer = client.server_streaming(call, method("Count"), Texts).await.expect("a stream");
    let texts: Vec<String> =
        within("the stream", answer.into_inner().collect::<Result<_, Status>>()).await.expect("no error");
    assert_eq!(texts.len(), 1000);
    assert!(texts.iter().enumerate().all(|(n, text)| *text == n.to_string()), "in order");
}

#[tokio::test]
async fn a_stream_that_fails_says_so_after_what_it_brought() {
    let setup = Setup::start().await;
    let mut client = setup.client().await;
    let call = Request::new("fail".to_owned());
    let answer = client.server_streaming(call, method("Count"), Texts).await.expect("a stream");
    let mut texts = answer.into_inner();
    assert_eq!(within("a text", texts.message()).await.expect("a text").as_deref(), Some("one"));
    let status = within("the end", texts.message()).await.expect_err("a failure");
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(status.message(), "after the first");
}

#[tokio::test]
async fn a_client_streams() {
    let setup = Setup::start().await;
    let mut client = setup.client().await;
    let texts = tokio_stream::iter(["a", "b", "c"].map(str::to_owned));
    let answer = client.client_streaming(Request::new(texts), method("Join"), Texts).await;
    assert_eq!(answer.expect("an answer").into_inner(), "a+b+c");
}

#[tokio::test]
async fn both_stream_at_once() {
    let setup = Setup::start().await;
    let mut client = setup.client().await;
    let (feed, texts) = fed();
    feed.send("first".to_owned()).expect("a call");
    let call = client.streaming(Request::new(texts), method("Talk"), Texts);
    let mut answers = within("the head", call).await.expect("a stream").into_inner();
    // The client sends each text only when it has the answer to the one before.
    for (answered, next) in
        [("re: first", Some("second")), ("re: second", Some("third")), ("re: third", None)]
    {
        let text = within("an answer", answers.message()).await.expect("a text");
        assert_eq!(text.as_deref(), Some(answered));
        if let Some(next) = next {
            feed.send(next.to_owned()).expect("a call");
        }
    }
    drop(feed);
    assert_eq!(within("the end", answers.message()).await.expect("no error"), None);
}

#[tokio::test]
async fn calls_share_the_connection_to_the_server() {
    let setup = Setup::start().await;
    let mut client = setup.client().await;
    for _ in 0..10 {
        let call = Request::new("you".to_owned());
        let answer: Response<String> = client.unary(call, method("Hello"), Texts).await.expect("an answer");
        assert_eq!(answer.into_inner(), "hello you");
    }
    assert_eq!(setup.service.connections(), 1);
}

#[tokio::test]
async fn a_deadline_reaches_the_server_and_its_status_the_client() {
    let setup = Setup::start().await;
    let mut client = setup.client().await;
    let mut call = Request::new("deadline".to_owned());
    call.set_timeout(Duration::from_secs(7));
    let answer: Response<String> = client.unary(call, method("Hello"), Texts).await.expect("an answer");
    assert_eq!(answer.into_inner(), "7000000u");

    let mut call = Request::new("late".to_owned());
    call.set_timeout(Duration::from_millis(100));
    let answer: Result<Response<String>, Status> =
        within("the deadline", client.unary(call, method("Hello"), Texts)).await;
    let status = answer.expect_err("too late");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "too late");
}

#[tokio::test]
async fn a_call_that_the_client_gives_up_is_cancelled_at_the_server() {
    let mut setup = Setup::start().await;
    let mut client = setup.client().await;
    let call = tokio::spawn(async move {
        let call = Request::new("forever".to_owned());
        let answer: Result<Response<String>, Status> = client.unary(call, method("Hello"), Texts).await;
        answer.is_ok()
    });
    setup.service.until_requests(1).await;
    call.abort();
    within("the server to be told", setup.cancelled.recv()).await.expect("a service");

    // The same in the middle of a stream.
    let mut client = setup.client().await;
    let call = Request::new("endless".to_owned());
    let answer = client.server_streaming(call, method("Count"), Texts).await.expect("a stream");
    let mut texts = answer.into_inner();
    assert_eq!(within("a text", texts.message()).await.expect("a text").as_deref(), Some("one"));
    drop(texts);
    within("the server to be told", setup.cancelled.recv()).await.expect("a service");
    assert_eq!(setup.hello("you").await.expect("an answer").into_inner(), "hello you");
}

#[tokio::test]
async fn a_stream_may_be_silent_and_long_once_it_is_answered() {
    let service = Upstream::builder()
        .speaking(Speech::http2())
        .serve(|request: http::Request<Incoming>| async move {
            let answer = http::Response::builder().header("content-type", "application/grpc");
            let mut body = request.into_body();
            let _ = http_body_util::BodyExt::frame(&mut body).await;
            let body = http_body_util::BodyExt::map_err(body, std::io::Error::other);
            answer.body(http_body_util::BodyExt::boxed(body)).expect("valid")
        })
        .await;
    let lines =
        format!("servers = [\"{}\"]\nprotocol = \"h2\"\ntimeouts = {{ idle = \"300ms\" }}", service.server());
    let proxy = Proxy::with_app(&lines)
        .section("[timeouts]\nbody-idle = \"300ms\"")
        .section("[limits]\nrequest-body = \"1KiB\"")
        .start()
        .await;
    let (feed, upload) = tidegate_tests::chunks();
    let asked = tidegate_tests::request("POST", "/chat")
        .header("content-type", "application/grpc")
        .body(upload)
        .expect("valid");
    let mut client = proxy.http2().await;
    let answer = tokio::spawn(async move { client.start(asked).await });
    assert!(feed.send("begin").await);
    let mut answer = within("the head", answer).await.expect("no panic").expect("an answer").into_body();
    // Longer than anybody else may be silent, one after the other.
    for _ in 0..2 {
        let mut silent = proxy.raw().await;
        silent.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
        assert!(silent.read_head().await.contains(" 408 "));
    }
    for _ in 0..8 {
        assert!(feed.send("x".repeat(512)).await);
        assert_eq!(tidegate_tests::next_chunk(&mut answer).await.len(), 512);
    }
}
