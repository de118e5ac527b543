//! PROXY headers that are right, cut short, and corrupt.

use tokio::io::{AsyncWriteExt, duplex};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn proxied(source: &str, destination: &str) -> Header {
    let address = |text: &str| text.parse().expect("an address");
    Header::Proxied { source: address(source), destination: address(destination) }
}

fn v2(version_command: u8, family_transport: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [V2_SIGNATURE, &[version_command, family_transport], &length, payload].concat()
}

/// Headers of every kind, with what they say.
fn valid() -> Vec<(Vec<u8>, Header)> {
    let (v4, v6) =
        (proxied("192.0.2.1:56324", "198.51.100.2:443"), proxied("[2001:db8::1]:56324", "[2001:db8::2]:443"));
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let tlvs = b"\x03\x00\x04abcd\x04\x00\x02..";
    let mut valid = vec![
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Local),
        (b"PROXY UNKNOWN a b c d e f g h\r\n".to_vec(), Header::Local),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(), v4),
        (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".to_vec(), proxied("0.0.0.0:0", "0.0.0.0:0")),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(), v6),
        (
            format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n").into_bytes(),
            proxied(&format!("[{longest}]:65535"), &format!("[{longest}]:65535")),
        ),
        // LOCAL, even with a family that is not defined and too little for it.
        (v2(0x20, 0x00, b""), Header::Local),
        (v2(0x20, 0xff, b"x"), Header::Local),
        (v2(0x20, 0x11, tlvs), Header::Local),
        // UNSPEC, datagrams, Unix sockets.
        (v2(0x21, 0x00, tlvs), Header::Local),
        (v2(0x21, 0x12, &[1; 12]), Header::Local),
        (v2(0x21, 0x31, &[b'/'; 216]), Header::Local),
    ];
    for header in [v4, v6] {
        let mut with_tlvs = encode(Version::V2, header);
        with_tlvs.extend(tlvs);
        with_tlvs[15] += tlvs.len() as u8;
        valid.push((with_tlvs, header));
        for version in [Version::V1, Version::V2] {
            valid.push((encode(version, header), header));
        }
    }
    valid
}

#[tokio::test]
async fn a_header_is_read_and_not_a_byte_beyond_it() {
    for (bytes, header) in valid() {
        for piece in [1, 7, 8192] {
            let (mut peer, mut stream) = duplex(8192);
            let sent = [&bytes[..], b"\x16"].concat();
            let send = async {
                for piece in sent.chunks(piece) {
                    peer.write_all(piece).await.expect("room");
                    tokio::task::yield_now().await;
                }
            };
            let (read, ()) = tokio::join!(read(&mut stream, PATIENCE), send);
            assert_eq!(read.expect("a valid header"), header, "{}", bytes.escape_ascii());
            assert_eq!(stream.read_u8().await.expect("the rest"), 0x16, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn every_prefix_of_a_header_is_incomplete_and_never_asks_for_more_than_the_rest() {
    for (bytes, header) in valid() {
        for length in 0..bytes.len() {
            let rest = bytes.len() - length;
            match parse(&bytes[..length]) {
                Ok(Parsed::Missing(count)) => assert!((1..=rest).contains(&count), "{count} of {rest}"),
                other => panic!("{}: {other:?}", bytes[..length].escape_ascii()),
            }
        }
        assert_eq!(parse(&bytes).expect("a valid header"), Parsed::Header(header));
    }
}

#[tokio::test]
async fn no_byte_that_is_changed_makes_it_panic_or_read_for_ever() {
    for (mut bytes, _) in valid() {
        for at in 0..bytes.len() {
            let original = bytes[at];
            for byte in 0..=u8::MAX {
                bytes[at] = byte;
                // The stream ends after the header: a longer one is cut short.
                let _ = read(&mut &bytes[..], PATIENCE).await;
            }
            bytes[at] = original;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let cases: [(&[u8], &str); 21] = [
        (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header: the connection begins with \"GET / HTTP/1.1\\r\""),
        (
            b"\x16\x03\x01\x02\x00",
            "no PROXY header: the connection begins with \"\\x16\\x03\\x01\\x02\\x00\"",
        ),
        (b"proxy UNKNOWN\r\n", "no PROXY header: the connection begins with \"proxy UNKNOWN\\r\\n\""),
        (b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", "malformed PROXY header: neither TCP4 nor TCP6 nor UNKNOWN"),
        (b"PROXY UNKNOWN\n 34567", "malformed PROXY header: LF without CR"),
        (b"PROXY UNKNOWN\r 34567", "malformed PROXY header: CR without LF"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "not two addresses and two ports with a space between them"),
        (b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", "not two addresses and two ports with a space between them"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", "not two addresses and two ports with a space between them"),
        (b"PROXY TCP4 1.1.1.1 ::1 1 1\r\n", "malformed PROXY header: an address is not of its family"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.01 1 1\r\n", "malformed PROXY header: an address is not of its family"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", "malformed PROXY header: a port is not a number from 0"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 01\r\n", "malformed PROXY header: a port is not a number from 0"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n", "malformed PROXY header: a port is not a number from 0"),
        (&[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(), "no end of line within 107 bytes"),
        (&v2(0x31, 0x11, &[1; 12]), "malformed PROXY header: the version is not 2"),
        (&v2(0x22, 0x11, &[1; 12]), "malformed PROXY header: the command is neither LOCAL nor PROXY"),
        (&v2(0x21, 0x41, &[1; 12]), "malformed PROXY header: an address family or transport that is not"),
        (&v2(0x21, 0x11, &[1; 11]), "malformed PROXY header: too short for the addresses of its family"),
        (&v2(0x21, 0x11, &[1; 5000]), "announces 5000 bytes of addresses and TLVs; at most 4096 are taken"),
        (b"PROXY TCP4 1.1.1", "the connection ended after 16 bytes, before the end of the PROXY header"),
    ];
    for (mut bytes, complaint) in cases {
        let error = read(&mut bytes, PATIENCE).await.expect_err("no valid header").to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stays_silent_is_not_waited_for() {
    let (mut peer, mut stream) = duplex(64);
    peer.write_all(b"PROXY TCP4 192.0.2.1").await.expect("room");
    let error = read(&mut stream, Duration::from_secs(5)).await.expect_err("no complete header");
    assert_eq!(error.to_string(), "no complete PROXY header within 5s");
}

#[test]
fn a_header_has_one_family() {
    let lines = [
        ("[::ffff:192.0.2.1]:1", "198.51.100.2:2", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"),
        ("192.0.2.1:1", "[2001:db8::2]:2", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n"),
        ("[2001:db8::1]:1", "192.0.2.2:2", "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 2\r\n"),
    ];
    for (source, destination, line) in lines {
        let header = proxied(source, destination);
        assert_eq!(encode(Version::V1, header).escape_ascii().to_string(), line.escape_default().to_string());
        // Both versions write the same addresses.
        let read = |bytes: Vec<u8>| parse(&bytes).expect("a valid header");
        assert_eq!(read(encode(Version::V2, header)), read(line.into()));
    }
    assert_eq!(encode(Version::V1, Header::Local), b"PROXY UNKNOWN\r\n");
    assert_eq!(encode(Version::V2, Header::Local), v2(0x20, 0, b""));
}
