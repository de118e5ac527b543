//! Half-close, silence, back-pressure and broken ends of a tunnel.

use std::future::pending;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

const IDLE: Duration = Duration::from_secs(60);

/// What the streams of [`tunnel`] hold in each direction.
const PIPE: usize = 1024;

/// A client and a server, and the tunnel between them.
fn tunnel(prefix: &'static str) -> (DuplexStream, DuplexStream, impl Future<Output = Carried>) {
    let (client, near) = duplex(PIPE);
    let (server, far) = duplex(PIPE);
    (client, server, carry(near, prefix.into(), far, IDLE, pending()))
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound socket");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.expect("a connection"), accepted.expect("a connection").0)
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an end in order");
    text
}

#[tokio::test]
async fn each_direction_ends_by_itself_and_what_was_read_before_goes_first() {
    let (mut client, mut server, tunnel) = tunnel("hello, ");
    let ends = async {
        client.write_all(b"server").await.expect("room");
        client.shutdown().await.expect("an open stream");
        assert_eq!(read_to_end(&mut server).await, "hello, server");
        // The client has ended its direction, this one is still open.
        server.write_all(b"hello, client").await.expect("room");
        server.shutdown().await.expect("an open stream");
        assert_eq!(read_to_end(&mut client).await, "hello, client");
    };
    let (carried, ()) = tokio::join!(tunnel, ends);
    assert_eq!(carried.end, End::Complete);
    assert_eq!((carried.from_client, carried.to_client), (13, 13));
}

#[tokio::test]
async fn a_server_may_end_first() {
    let (mut client, mut server, tunnel) = tunnel("");
    let ends = async {
        server.write_all(b"bye").await.expect("room");
        server.shutdown().await.expect("an open stream");
        assert_eq!(read_to_end(&mut client).await, "bye");
        client.write_all(b"not yet").await.expect("room");
        client.shutdown().await.expect("an open stream");
        assert_eq!(read_to_end(&mut server).await, "not yet");
    };
    let (carried, ()) = tokio::join!(tunnel, ends);
    assert_eq!(carried.end, End::Complete);
    assert_eq!((carried.from_client, carried.to_client), (7, 3));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_it_and_a_byte_either_way_is_none() {
    let (mut client, mut server, tunnel) = tunnel("");
    let start = Instant::now();
    let bytes = async {
        sleep(IDLE - Duration::from_secs(1)).await;
        client.write_all(b"a").await.expect("room");
        sleep(IDLE - Duration::from_secs(1)).await;
        server.write_all(b"b").await.expect("room");
    };
    let (carried, ()) = tokio::join!(tunnel, bytes);
    assert_eq!(carried.end, End::Idle);
    assert_eq!((carried.from_client, carried.to_client), (1, 1));
    let lasted = start.elapsed();
    let expected = IDLE * 3 - Duration::from_secs(2);
    assert!(lasted >= expected && lasted < expected + Duration::from_secs(1), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_direction_that_was_ended_does_not_keep_the_other_open_for_ever() {
    let (mut client, _server, tunnel) = tunnel("");
    client.shutdown().await.expect("an open stream");
    assert_eq!(tunnel.await.end, End::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_stops_the_client_and_not_the_other_direction() {
    let (mut client, mut server, tunnel) = tunnel("");
    let mut taken = 0;
    let ends = async {
        // The clock moves only when nothing else does: a write that takes a second is blocked.
        while let Ok(count) = timeout(Duration::from_secs(1), client.write(&[b'x'; 4096])).await {
            taken += count.expect("an open stream");
        }
        server.write_all(b"still here").await.expect("room");
        let mut text = [0; 10];
        client.read_exact(&mut text).await.expect("an open stream");
        assert_eq!(&text, b"still here");
    };
    let (carried, ()) = tokio::join!(tunnel, ends);
    let bound = PIPE + BUFFER + PIPE;
    assert!(taken <= bound, "{taken} bytes are more than both streams and one piece hold");
    assert_eq!(carried.end, End::Idle);
    assert_eq!((carried.from_client, carried.to_client), (PIPE as u64, 10));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_a_silent_one() {
    let (mut client, mut server, tunnel) = tunnel("");
    let text = [b'x'; 4 * PIPE];
    let ends = async {
        client.write_all(&text).await.expect("a reader");
        client.shutdown().await.expect("an open stream");
    };
    let reading = async {
        let mut read = 0;
        // The rest is in the stream already: nothing that the tunnel could see moves any more.
        while read < text.len() - PIPE {
            sleep(IDLE / 2).await;
            read += server.read(&mut [0; PIPE / 4]).await.expect("an open stream");
        }
        assert_eq!(read + read_to_end(&mut server).await.len(), text.len());
        server.shutdown().await.expect("an open stream");
    };
    let (carried, (), ()) = tokio::join!(tunnel, ends, reading);
    assert_eq!(carried.end, End::Complete);
    assert_eq!(carried.from_client, text.len() as u64);
}

#[tokio::test]
async fn a_side_that_breaks_off_ends_both() {
    for aborting in [Side::Client, Side::Server] {
        let (client, near) = tcp().await;
        let (server, far) = tcp().await;
        let (aborted, mut other) = match aborting {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        let ends = async {
            // Closed without lingering, a socket is reset.
            aborted.set_zero_linger().expect("an open socket");
            drop(aborted);
            assert_eq!(read_to_end(&mut other).await, "");
        };
        let (carried, ()) = tokio::join!(carry(near, Bytes::new(), far, IDLE, pending()), ends);
        assert_eq!(carried.end, End::Broken { side: aborting, error: io::ErrorKind::ConnectionReset });
    }
}

#[tokio::test]
async fn tls_and_unix_streams_are_carried_alike() {
    let certified = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).expect("a certificate");
    let server_config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a certificate and its key");
    let client_config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (client, near) = tcp().await;
    let (mut server, far) = UnixStream::pair().expect("two sockets");

    let name = ServerName::try_from("a.test").expect("a name");
    let (client, near) = tokio::join!(
        TlsConnector::from(Arc::new(client_config)).connect(name, client),
        TlsAcceptor::from(Arc::new(server_config)).accept(near),
    );
    let (mut client, near) = (client.expect("a handshake"), near.expect("a handshake"));
    let text = "more than one piece ".repeat(BUFFER / 10);
    let ends = async {
        let sent = async {
            client.write_all(text.as_bytes()).await.expect("a reader");
            client.shutdown().await.expect("an open stream");
        };
        let ((), received) = tokio::join!(sent, read_to_end(&mut server));
        assert_eq!(received, text);
        server.write_all(b"thanks").await.expect("room");
        server.shutdown().await.expect("an open stream");
        // With close_notify: the client can tell that nothing is missing.
        assert_eq!(read_to_end(&mut client).await, "thanks");
    };
    let (carried, ()) = tokio::join!(carry(near, Bytes::new(), far, IDLE, pending()), ends);
    assert_eq!(carried.end, End::Complete);
    assert_eq!((carried.from_client, carried.to_client), (text.len() as u64, 6));
}
