//! Heads of HTTP/1.1 messages, as text.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Reads up to and with the empty line after a head.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// The value of a field of a head.
#[must_use]
pub fn head_field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Panics, and shows the message, unless it begins as a response of HTTP/1.1 with this status.
#[track_caller]
pub fn assert_status(message: &str, status: u16) {
    assert!(message.starts_with(&format!("HTTP/1.1 {status} ")), "not {status}: {message:?}");
}
