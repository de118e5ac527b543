//! ClientHellos whole, in pieces, and none.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncWriteExt, duplex};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn config() -> ClientConfig {
    ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

/// What a client of this configuration sends first.
fn hello(config: ClientConfig, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("room in memory");
    }
    bytes
}

/// The same handshake message, in records of `length` bytes.
fn in_records(hello: &[u8], length: usize) -> Vec<u8> {
    let (header, message) = hello.split_at(5);
    message
        .chunks(length)
        .flat_map(|piece| [&header[..3], &(piece.len() as u16).to_be_bytes(), piece].concat())
        .collect()
}

async fn peek_at(mut bytes: &[u8]) -> Result<Hello, Error> {
    peek(&mut bytes, PATIENCE).await
}

#[tokio::test]
async fn the_server_name_is_read_and_the_bytes_are_kept() {
    let bytes = hello(config(), "App.Example.COM");
    let hello = peek_at(&bytes).await.expect("a ClientHello");
    assert_eq!(hello.server_name.as_deref(), Some("app.example.com"));
    assert_eq!(hello.bytes, bytes);
}

#[tokio::test]
async fn a_hello_may_come_in_any_pieces() {
    let whole = hello(config(), "a.test");
    assert!(whole.len() > 1400, "the post-quantum key share does not fit one segment: {}", whole.len());
    for bytes in [whole.clone(), in_records(&whole, 1), in_records(&whole, 700)] {
        let (mut client, mut stream) = duplex(1);
        let send = async {
            client.write_all(&bytes).await.expect("a reader");
        };
        let (hello, ()) = tokio::join!(peek(&mut stream, PATIENCE), send);
        let hello = hello.expect("a ClientHello");
        assert_eq!(hello.server_name.as_deref(), Some("a.test"));
        assert_eq!(hello.bytes, bytes);
    }
}

#[tokio::test]
async fn what_follows_the_hello_is_kept_as_well() {
    let mut bytes = hello(config(), "a.test");
    // Early data, as in RFC 8446 §4.2.10.
    bytes.extend(b"\x17\x03\x03\x00\x04data");
    let hello = peek_at(&bytes).await.expect("a ClientHello");
    assert_eq!(hello.server_name.as_deref(), Some("a.test"));
    assert_eq!(hello.bytes, bytes);
}

#[tokio::test]
async fn a_client_may_name_no_server() {
    let mut silent = config();
    silent.enable_sni = false;
    for bytes in [hello(silent, "a.test"), hello(config(), "192.0.2.1")] {
        let hello = peek_at(&bytes).await.expect("a ClientHello");
        assert_eq!(hello.server_name, None);
        assert_eq!(hello.bytes, bytes);
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let hello = hello(config(), "a.test");
    let half = &hello[..hello.len() / 2];
    let ended = format!("the connection ended after {} bytes, before the end", half.len());
    // A message of 65,535 bytes, in records.
    let endless = in_records(&[&b"\x16\x03\x01\x00\x00\x01\x00\xff\xff"[..], &[0; 0xffff]].concat(), 16384);
    let cases: [(&[u8], &str); 6] = [
        (
            b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n",
            "not TLS: the connection begins with \"GET / HTTP/1.1\\r\\n\"",
        ),
        (b"", "the connection ended after 0 bytes"),
        (half, &ended),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "not a valid ClientHello: "),
        (b"\x16\x09\x09\x09\x09\x09\x09\x09\x09", "not a valid ClientHello: "),
        (&endless, "the ClientHello is longer than 16384 bytes"),
    ];
    for (bytes, complaint) in cases {
        let error = peek_at(bytes).await.expect_err("no ClientHello").to_string();
        assert!(error.starts_with(complaint), "{error}");
    }
}

#[tokio::test]
async fn no_byte_that_is_changed_makes_it_panic() {
    let mut bytes = hello(config(), "a.test");
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            let _ = peek_at(&bytes).await;
            bytes[at] ^= flip;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stays_silent_is_not_waited_for() {
    let (mut client, mut stream) = duplex(64);
    client.write_all(b"\x16\x03\x01").await.expect("room");
    let error = peek(&mut stream, Duration::from_secs(5)).await.expect_err("no ClientHello");
    assert_eq!(error.to_string(), "no complete ClientHello within 5s");
}

#[test]
fn the_alert_is_one_that_clients_understand() {
    let name = ServerName::try_from("a.test").expect("a server name");
    let mut client = ClientConnection::new(Arc::new(config()), name).expect("a client");
    client.read_tls(&mut &UNRECOGNIZED_NAME[..]).expect("bytes in memory");
    let error = client.process_new_packets().expect_err("an alert");
    assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::UnrecognisedName));
}
