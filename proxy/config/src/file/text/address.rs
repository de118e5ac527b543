//! Addresses of machines and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::host::host_name;
use super::{Complaint, Form};
use crate::Address;

impl Form for IpNet {
    const FORMAT: &'static str = "ip-network";
    const EXAMPLE: &'static str = "10.0.0.0/8";
    const NAME: &'static str = "network";
    const RULE: &'static str = "A network, or a single IP address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        text.parse::<Self>().map(|network| network.trunc()).map_err(|_| {
            Complaint::new(format!("{text:?} is not a network and not an address"))
                .help("write it as in \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.1\"")
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Form for SocketAddr {
    const FORMAT: &'static str = "socket-address";
    const EXAMPLE: &'static str = "0.0.0.0:8080";
    const NAME: &'static str = "socket address";
    const RULE: &'static str = "An IP address and a port; IPv6 in brackets, as in `\"[::1]:8080\"`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let complaint = Complaint::new(format!("{text:?} is not an IP address with a port"));
        if text.parse::<u16>().is_ok() {
            return Err(complaint.help(format!("write \"0.0.0.0:{text}\" for every address of the machine")));
        }
        if text.parse::<IpAddr>().is_ok() {
            let (open, close) = if text.contains(':') { ("[", "]") } else { ("", "") };
            return Err(complaint.help(format!("write the port, as in \"{open}{text}{close}:8080\"")));
        }
        Err(match text.rsplit_once(':') {
            Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
                complaint.help(format!("write \"0.0.0.0:{port}\" for every address of the machine"))
            }
            Some((host, port)) if port.parse::<u16>().is_ok() && host.parse::<Ipv6Addr>().is_ok() => {
                complaint.help(format!("write \"[{host}]:{port}\""))
            }
            Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
                complaint.help(format!("write \"127.0.0.1:{port}\""))
            }
            _ => complaint.help("write it as in \"0.0.0.0:8080\" or \"[::]:8080\""),
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// `host:port`, `IP:port` or `unix:PATH`; a relative path is still as it was written.
#[derive(Debug)]
pub(crate) struct ServerAddress(pub Address);

impl Form for ServerAddress {
    const FORMAT: &'static str = "server-address";
    const EXAMPLE: &'static str = "127.0.0.1:9001";
    const NAME: &'static str = "server address";
    const RULE: &'static str =
        "A host name or an IP address with a port, or `unix:` and the path of a socket";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(Complaint::new(format!("{text:?} has no path of a socket"))
                    .help("write it as in \"unix:/run/app.sock\""));
            }
            return Ok(Self(Address::Unix(PathBuf::from(path))));
        }
        if text.starts_with(['/', '.']) {
            return Err(Complaint::new(format!("{text:?} is a path"))
                .help(format!("write \"unix:{text}\" if it is that of a socket")));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let address = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let address = if Self::parse(address).is_ok() { address } else { "host:port" };
            return Err(Complaint::new(format!("{text:?} is a URL, and a server is an address"))
                .help(format!("write {address:?} without \"{scheme}://\"")));
        }
        if let Some(at) = text.find(['/', '?', '#']) {
            return Err(Complaint::new(format!("{text:?} has more than a host and a port"))
                .help(format!("write it without {:?}", &text[at..])));
        }
        if text.matches(':').count() > 1 && !text.starts_with('[') {
            let complaint = Complaint::new(format!("{text:?} is an IPv6 address without brackets"));
            return Err(match text.rsplit_once(':') {
                Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() => {
                    complaint.help(format!("write \"[{host}]:{port}\""))
                }
                _ => complaint.help("write \"[address]:port\""),
            });
        }
        let no_port = || {
            Complaint::new(format!("{text:?} has no port"))
                .help(format!("write it as in \"{}:80\"", text.trim_end_matches(':')))
        };
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && !port.ends_with(']') => (host, port),
            _ => return Err(no_port()),
        };
        let port = match port.parse::<u16>() {
            Ok(0) => return Err(Complaint::new(format!("{text:?} has port 0, where no server can be"))),
            Ok(number) if !port.starts_with('+') => number,
            _ => {
                return Err(Complaint::new(format!("{port:?} in {text:?} is not a port"))
                    .help("ports go from 1 to 65535"));
            }
        };
        if let Some(address) = host.strip_prefix('[') {
            let address = address.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
            return match address {
                Some(address) => Ok(Self(Address::Ip((address, port).into()))),
                None => Err(Complaint::new(format!("{host:?} in {text:?} is not an IPv6 address"))),
            };
        }
        let host = host_name(host, text)?;
        Ok(Self(match host.parse::<Ipv4Addr>() {
            Ok(address) => Address::Ip((address, port).into()),
            Err(_) => Address::Host { host, port },
        }))
    }

    fn print(&self) -> String {
        self.0.to_string()
    }
}

/// An IP address, with a port if it is not 53.
#[derive(Debug)]
pub(crate) struct DnsServer(pub SocketAddr);

impl Form for DnsServer {
    const FORMAT: &'static str = "dns-server";
    const EXAMPLE: &'static str = "10.0.0.2";
    const NAME: &'static str = "DNS server";
    const RULE: &'static str = "An IP address, with a port unless that is 53";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
            (Ok(address), _) => return Ok(Self((address, 53).into())),
            (_, Ok(address)) if address.port() != 0 => return Ok(Self(address)),
            (_, Ok(_)) => Complaint::new(format!("{text:?} has port 0, where no server can be")),
            _ => Complaint::new(format!("{text:?} is not an IP address, with or without a port")),
        };
        Err(complaint.help("write it as in \"10.0.0.2\", \"127.0.0.1:5353\" or \"[fd00::1]:5353\""))
    }

    fn print(&self) -> String {
        self.0.to_string()
    }
}
