//! What `tidegate check` says of the names whose certificates the proxy obtains: whether they lead here, and what there is.

use std::net::{IpAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tidegate_acme::{At, Certificates};
use tidegate_config::{AllowedBy, Config};

/// For all names together.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Names that are looked up; of thousands, an operator reads no more.
const MOST: usize = 50;
/// Names that are looked up at a time.
const AT_ONCE: usize = 16;

/// A line each, and one for those that are left out.
pub(super) fn lines(config: &Config, obtained: &Certificates) -> Vec<String> {
    let names: Vec<String> = config.acme_names().into_iter().cloned().collect();
    let directories: Vec<_> =
        config.acme.authorities.iter().map(|authority| authority.directory.as_str()).collect();
    let found = look_up(&names[..names.len().min(MOST)]);
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(name, leads)| {
            let days = |until: At| until.since(At::now()).as_secs() / (24 * 3600);
            let what = match obtained.get(&name) {
                Some(known) if known.not_after() > At::now() => {
                    format!("its certificate is valid for {} days", days(known.not_after()))
                }
                Some(_) => "its certificate has expired".to_owned(),
                None => format!("to be asked for at {}", directories.join(", then ")),
            };
            format!("certificate for {name}: {what}; {leads}")
        })
        .collect();
    if names.len() > MOST {
        lines.push(format!("certificates for {} further names", names.len() - MOST));
    }
    if let Some(allowed) = config.on_demand() {
        let by = match &allowed.by {
            AllowedBy::Url(url) => url.clone(),
            AllowedBy::Names(file) => file.display().to_string(),
        };
        lines.push(format!(
            "certificates on demand: for at most {} names, of those that {by} allows",
            allowed.limit
        ));
    }
    lines
}

/// Where each name leads, in order.
fn look_up(names: &[String]) -> Vec<(String, String)> {
    let (found, results) = channel();
    let mut leads: Vec<Option<String>> = vec![None; names.len()];
    let until = Instant::now() + LOOK_UP;
    for lot in (0..names.len()).collect::<Vec<_>>().chunks(AT_ONCE) {
        for &index in lot {
            let (found, name) = (found.clone(), names[index].clone());
            // The system's look-up has no bound; what is not back in time is not waited for.
            std::thread::spawn(move || drop(found.send((index, where_to(&name)))));
        }
        for _ in lot {
            match results.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((index, lead)) => leads[index] = Some(lead),
                Err(_) => break,
            }
        }
    }
    let unknown = || format!("where it leads was not found out within {} s", LOOK_UP.as_secs());
    names.iter().cloned().zip(leads.into_iter().map(|lead| lead.unwrap_or_else(unknown))).collect()
}

fn where_to(name: &str) -> String {
    let mut addresses: Vec<IpAddr> = match (name, 443).to_socket_addrs() {
        Ok(addresses) => addresses.map(|address| address.ip()).collect(),
        Err(_) => Vec::new(),
    };
    addresses.sort_unstable();
    addresses.dedup();
    let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match addresses.iter().filter(|address| is_here(**address)).count() {
        _ if addresses.is_empty() => "it leads nowhere (no address in DNS)".to_owned(),
        0 => format!("it leads to {shown}, which is not this machine (or its address outside)"),
        count if count == addresses.len() => format!("it leads here ({shown})"),
        _ => format!("it leads to {shown}, which is not this machine alone"),
    }
}

/// Whether this machine has the address.
fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}
