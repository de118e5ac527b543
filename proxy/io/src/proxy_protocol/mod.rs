//! The PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): whom a connection is made for.
//!
//! A header can claim any address: it is read only from peers that are trusted to speak for others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// What a header says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The peer forwards a connection.
    Proxied {
        /// Its client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
    /// The connection's own addresses hold: the peer speaks for itself (a health check), or it forwards
    /// what has no IP address or no known one (`UNKNOWN`, UNSPEC, Unix sockets, datagrams).
    Local,
}

/// How a header is written; either is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Why no header could be read: the peer's doing, except for `Io`. The connection is of no use after that.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The usual cause: the peer is not told to send one, or is not a proxy.
    #[error("no PROXY header: the connection begins with \"{0}\"")]
    Absent(String),
    /// It breaks the rules of its version.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// More than any honest sender needs.
    #[error("the PROXY header announces {0} bytes of addresses and TLVs; at most {MAX_V2_PAYLOAD} are taken")]
    TooLong(usize),
    /// A port scan or a TCP health check ends like this.
    #[error("the connection ended after {0} bytes, before the end of the PROXY header")]
    Ended(usize),
    /// The peer is slow, or says nothing because it waits for us.
    #[error("no complete PROXY header within {0:?}")]
    Timeout(Duration),
    /// The connection failed.
    #[error("cannot read the PROXY header: {0}")]
    Io(#[from] io::Error),
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// `PROXY UNKNOWN\r\n`, the shortest header there is; one of version 2 has 16 bytes at least (§2.1, §2.2).
const SHORTEST: usize = 15;
/// With the final CRLF (§2.1).
const MAX_V1: usize = 107;
/// The part of fixed size, which ends with the length of the rest (§2.2).
const V2_FIXED: usize = 16;
/// Addresses take 216 bytes at most and senders should stay below 536 in all (§2.2), but the TLVs of a TLS
/// client's names and certificate can pass that. No honest header is longer than a page.
const MAX_V2_PAYLOAD: usize = 4096;

/// Reads a header of either version within `limit`, and not a byte beyond it: what follows may be TLS,
/// which wants to read the stream itself.
///
/// TLVs (§2.2.7) are skipped unseen. That includes the optional CRC32c, which guards against corruption
/// that TCP's checksum and the checks of the other fields already make unlikely, and not against forgery.
/// Dropping the future loses what was read.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> Result<Header, Error> {
    match timeout(limit, read_header(stream)).await {
        Ok(header) => header,
        Err(_) => Err(Error::Timeout(limit)),
    }
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Header, Error> {
    let mut bytes = Vec::with_capacity(MAX_V1);
    loop {
        match parse(&bytes)? {
            Parsed::Header(header) => return Ok(header),
            Parsed::Missing(count) => {
                let before = bytes.len();
                bytes.resize(before + count, 0);
                let read = stream.read(&mut bytes[before..]).await?;
                if read == 0 {
                    return Err(Error::Ended(before));
                }
                bytes.truncate(before + read);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Header(Header),
    /// At least this many bytes are still to come. Version 1 has no length, so its end is approached in
    /// steps of one or two bytes: some forty reads for each connection, and no look ahead, which only bare
    /// TCP could do, without a way to wait for more than it has seen already.
    Missing(usize),
}

fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    if begins(bytes, V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    if begins(bytes, V1_SIGNATURE) {
        return parse_v1(bytes);
    }
    Err(Error::Absent(bytes[..bytes.len().min(SHORTEST)].escape_ascii().to_string()))
}

/// Whether `bytes` begin with `signature`, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, Error> {
    let Some(newline) = bytes.iter().position(|byte| *byte == b'\n') else {
        let carriage_return = bytes.iter().position(|byte| *byte == b'\r');
        if carriage_return.is_some_and(|at| at + 1 < bytes.len()) {
            return Err(Error::Malformed("CR without LF"));
        }
        if bytes.len() >= MAX_V1 {
            return Err(Error::Malformed("no end of line within 107 bytes"));
        }
        let end = if carriage_return.is_some() { 1 } else { 2 };
        // The bound is passed by a byte at most, of a header that is refused then.
        return Ok(Parsed::Missing(end.max(SHORTEST.saturating_sub(bytes.len()))));
    };
    let Some(line) = bytes[..newline].strip_suffix(b"\r").filter(|line| !line.contains(&b'\r')) else {
        return Err(Error::Malformed("LF without CR"));
    };
    if newline >= MAX_V1 {
        return Err(Error::Malformed("no end of line within 107 bytes"));
    }
    let line = std::str::from_utf8(line).map_err(|_| Error::Malformed("not ASCII"))?;
    let fields: Vec<_> = line.split(' ').collect();
    match *fields.as_slice() {
        // Whatever else is there is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Ok(Parsed::Header(Header::Local)),
        ["PROXY", "TCP4", ref addresses @ ..] => parse_addresses::<Ipv4Addr>(addresses),
        ["PROXY", "TCP6", ref addresses @ ..] => parse_addresses::<Ipv6Addr>(addresses),
        _ => Err(Error::Malformed("neither TCP4 nor TCP6 nor UNKNOWN")),
    }
}

fn parse_addresses<A: FromStr + Into<IpAddr>>(fields: &[&str]) -> Result<Parsed, Error> {
    let [source, destination, source_port, destination_port] = *fields else {
        return Err(Error::Malformed("not two addresses and two ports with a space between them"));
    };
    let address = |text: &str| {
        let address = text.parse::<A>().map_err(|_| Error::Malformed("an address is not of its family"))?;
        Ok::<IpAddr, Error>(address.into())
    };
    let port = |text: &str| {
        // The parser takes a sign and leading zeros, the protocol does not.
        let port = text.parse::<u16>().ok().filter(|port| port.to_string() == text);
        port.ok_or(Error::Malformed("a port is not a number from 0 to 65535"))
    };
    let source = SocketAddr::new(address(source)?, port(source_port)?);
    let destination = SocketAddr::new(address(destination)?, port(destination_port)?);
    Ok(Parsed::Header(Header::Proxied { source, destination }))
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, Error> {
    let Some((fixed, payload)) = bytes.split_first_chunk::<V2_FIXED>() else {
        // The shortest header of version 1 is shorter, and cannot be told from this one without a byte.
        let known = if bytes.is_empty() { SHORTEST } else { V2_FIXED };
        return Ok(Parsed::Missing(known - bytes.len()));
    };
    let [.., version_command, family_transport, high, low] = *fixed;
    if version_command >> 4 != 2 {
        return Err(Error::Malformed("the version is not 2"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2_PAYLOAD {
        return Err(Error::TooLong(length));
    }
    if payload.len() < length {
        return Ok(Parsed::Missing(length - payload.len()));
    }
    let payload = &payload[..length];
    match version_command & 0x0f {
        // The family is to be ignored.
        0 => return Ok(Parsed::Header(Header::Local)),
        1 => {}
        _ => return Err(Error::Malformed("the command is neither LOCAL nor PROXY")),
    }
    let proxied = match family_transport {
        // TCP over IPv4, IPv6.
        0x11 => proxied::<4, Ipv4Addr>(payload)?,
        0x21 => proxied::<16, Ipv6Addr>(payload)?,
        // What is valid but of no use here counts as UNSPEC.
        _ if family_transport >> 4 <= 3 && family_transport & 0x0f <= 2 => Header::Local,
        _ => return Err(Error::Malformed("an address family or transport that is not defined")),
    };
    Ok(Parsed::Header(proxied))
}

/// Two addresses and two ports; what follows are TLVs.
fn proxied<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(payload: &[u8]) -> Result<Header, Error> {
    let addresses = || {
        let (source, rest) = payload.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk::<2>()?;
        let (destination_port, _) = rest.split_first_chunk::<2>()?;
        let whole = |address: &[u8; N], port: &[u8; 2]| {
            SocketAddr::new(A::from(*address).into(), u16::from_be_bytes(*port))
        };
        Some(Header::Proxied {
            source: whole(source, source_port),
            destination: whole(destination, destination_port),
        })
    };
    addresses().ok_or(Error::Malformed("too short for the addresses of its family"))
}

/// The header for a connection to an upstream, to be sent before anything else.
///
/// Addresses of two families are both written as IPv6, mapped (RFC 4291 §2.5.5.2), as a header has one
/// family; mapped addresses on both sides are written as the IPv4 addresses they stand for.
pub fn encode(version: Version, header: Header) -> Vec<u8> {
    match version {
        Version::V1 => encode_v1(header).into_bytes(),
        Version::V2 => encode_v2(header),
    }
}

fn encode_v1(header: Header) -> String {
    let Header::Proxied { source, destination } = header else { return "PROXY UNKNOWN\r\n".to_owned() };
    let ports = format!("{} {}", source.port(), destination.port());
    match pair(source.ip(), destination.ip()) {
        Pair::V4(source, destination) => format!("PROXY TCP4 {source} {destination} {ports}\r\n"),
        Pair::V6(source, destination) => format!("PROXY TCP6 {source} {destination} {ports}\r\n"),
    }
}

fn encode_v2(header: Header) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    let Header::Proxied { source, destination } = header else {
        bytes.extend([0x20, 0x00, 0, 0]);
        return bytes;
    };
    match pair(source.ip(), destination.ip()) {
        Pair::V4(source, destination) => {
            bytes.extend([0x21, 0x11, 0, 12]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
        Pair::V6(source, destination) => {
            bytes.extend([0x21, 0x21, 0, 36]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
    }
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes
}

/// Two addresses of one family.
enum Pair {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

fn pair(source: IpAddr, destination: IpAddr) -> Pair {
    let mapped = |address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    match (source.to_canonical(), destination.to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Pair::V4(source, destination),
        (source, destination) => Pair::V6(mapped(source), mapped(destination)),
    }
}

#[cfg(test)]
mod tests;
