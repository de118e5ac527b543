//! What a client accepts: `Accept-Encoding` (RFC 9110 §12.5.3).

use http::{HeaderMap, header};
use tidegate_config::Coding;

/// The coding out of `offered` that the client likes best, the first of several it likes equally. `None` if
/// it accepts none of them, or likes the response better as it is.
///
/// A client that says nothing accepts everything by the letter of the RFC. Those that say nothing do not
/// decode, though, so nothing is compressed for them. A member that cannot be read is as good as absent.
pub(super) fn choose(headers: &HeaderMap, offered: &[Coding]) -> Option<Coding> {
    let accepted = Accepted::read(headers);
    let mut best = None;
    for &coding in offered {
        let weight = accepted.of(coding);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    best.filter(|(_, weight)| *weight >= accepted.identity.unwrap_or(0)).map(|(coding, _)| coding)
}

/// Weights in thousandths; `None` = not listed.
#[derive(Default)]
struct Accepted {
    zstd: Option<u16>,
    br: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Accepted {
    fn read(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        for member in lines.flat_map(|line| line.split(',')) {
            let (name, parameters) = match member.split_once(';') {
                Some((name, parameters)) => (name, Some(parameters)),
                None => (member, None),
            };
            let Some(weight) = parameters.map_or(Some(1000), weight) else { continue };
            let name = trim(name);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let place = if is("zstd") {
                &mut accepted.zstd
            } else if is("br") {
                &mut accepted.br
            } else if is("gzip") || is("x-gzip") {
                &mut accepted.gzip
            } else if is("identity") {
                &mut accepted.identity
            } else if is("*") {
                &mut accepted.any
            } else {
                continue;
            };
            *place = (*place).max(Some(weight));
        }
        accepted
    }

    fn of(&self, coding: Coding) -> u16 {
        let listed = match coding {
            Coding::Zstd => self.zstd,
            Coding::Br => self.br,
            Coding::Gzip => self.gzip,
        };
        listed.or(self.any).unwrap_or(0)
    }
}

/// `q=0.5` (RFC 9110 §12.4.2) in thousandths.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !trim(name).eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = match trim(value).split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (trim(value), ""),
    };
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}
