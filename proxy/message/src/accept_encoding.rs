//! What a client accepts: `Accept-Encoding` (RFC 9110 §12.5.3).

use http::{HeaderMap, header};

use crate::coding::Coding;

/// The codings a client takes, each with its weight.
///
/// A client that says nothing accepts everything by the letter of the RFC. Those that say nothing do not
/// decode, though, so it counts as accepting none. A member that cannot be read is as good as absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct AcceptEncoding {
    // Weights in thousandths; `None` = not listed.
    brotli: Option<u16>,
    deflate: Option<u16>,
    gzip: Option<u16>,
    zstd: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl AcceptEncoding {
    /// Over all lines of the field.
    pub fn of(headers: &HeaderMap) -> Self {
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
                &mut accepted.brotli
            } else if is("gzip") || is("x-gzip") {
                &mut accepted.gzip
            } else if is("deflate") {
                &mut accepted.deflate
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

    /// The coding out of `offered` that the client likes best, the first of several it likes equally. `None` if
    /// it accepts none of them, or likes the response better as it is.
    pub fn best(&self, offered: &[Coding]) -> Option<Coding> {
        let mut best = None;
        for &coding in offered {
            let weight = self.weight(coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        best.map(|(coding, _)| coding)
    }

    /// Those out of `offered` that the client takes, the one it likes best first; `None` fills the rest. Codings
    /// that it likes equally stay in their order.
    pub fn preferred<const N: usize>(&self, offered: [Coding; N]) -> [Option<Coding>; N] {
        let mut wanted = offered.map(|coding| (self.weight(coding), coding));
        wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        wanted.map(|(weight, coding)| (weight > 0).then_some(coding))
    }

    /// 0 if the client does not take the coding, or likes the response better as it is.
    fn weight(&self, coding: Coding) -> u16 {
        let listed = match coding {
            Coding::Brotli => self.brotli,
            Coding::Deflate => self.deflate,
            Coding::Gzip => self.gzip,
            Coding::Zstd => self.zstd,
        };
        let weight = listed.or(self.any).unwrap_or(0);
        if weight >= self.identity.unwrap_or(0) { weight } else { 0 }
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::coding::Coding::{Brotli, Deflate, Gzip, Zstd};

    fn accepted(lines: &[&'static str]) -> AcceptEncoding {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        AcceptEncoding::of(&headers)
    }

    #[test]
    fn a_client_gets_what_it_likes_best() {
        let cases: [(&[&'static str], Option<Coding>); 32] = [
            (&[], None),
            (&[""], None),
            (&["gzip"], Some(Gzip)),
            (&["GZip"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["deflate"], None),
            (&["compress, snappy"], None),
            (&["gzip;q=1.0, br;q=0.9"], Some(Gzip)),
            (&["gzip;q=0.5, br;q=0.501"], Some(Brotli)),
            (&["gzip ; q=0.8 , br\t;\tq=0.9"], Some(Brotli)),
            (&["br;Q=0.9, gzip;q=0.1"], Some(Brotli)),
            // Several lines are one list.
            (&["gzip;q=0.5", "br;q=0.7"], Some(Brotli)),
            (&["*"], Some(Zstd)),
            (&["*;q=0.1"], Some(Zstd)),
            (&["gzip;q=0.5, *;q=0.1"], Some(Gzip)),
            (&["zstd;q=0, *"], Some(Brotli)),
            (&["*;q=0"], None),
            (&["*;q=0, gzip"], Some(Gzip)),
            (&["identity"], None),
            (&["identity;q=0, gzip"], Some(Gzip)),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000, br;q=0.001"], Some(Brotli)),
            // What cannot be read is left out.
            (&["gzip;q=2, br;q=0.1"], Some(Brotli)),
            (&["gzip;q=1.001, br;q=0.1"], Some(Brotli)),
            (&["gzip;q=0.1234, br;q=."], None),
            (&["gzip;level=9, br;q=-1, zstd;q=1e3"], None),
            (&[",,;q=1,=,gzip,;;,"], Some(Gzip)),
            (&["gzip;q=0.2, gzip;q=0.8, br;q=0.5"], Some(Gzip)),
        ];
        for (lines, expected) in cases {
            assert_eq!(accepted(lines).best(&[Zstd, Brotli, Gzip]), expected, "{lines:?}");
        }
    }

    #[test]
    fn only_what_is_offered_is_chosen_and_its_order_decides() {
        let browser = accepted(&["gzip, deflate, br, zstd"]);
        assert_eq!(browser.best(&[Gzip]), Some(Gzip));
        assert_eq!(browser.best(&[Brotli, Zstd, Gzip]), Some(Brotli));
        assert_eq!(browser.best(&[Deflate]), Some(Deflate));
        assert_eq!(accepted(&["zstd"]).best(&[Gzip]), None);
    }

    #[test]
    fn what_the_client_takes_is_in_its_order_and_then_in_ours() {
        for (lines, expected) in [
            (&[][..], ""),
            (&[""], ""),
            (&["gzip, deflate, br, zstd"], "br zstd gzip"),
            (&["gzip"], "gzip"),
            (&["x-gzip"], "gzip"),
            (&["GZIP;Q=0.5, BR;q=0.2"], "gzip br"),
            (&["gzip;q=1.0", "br;q=0.999"], "gzip br"),
            (&["*"], "br zstd gzip"),
            (&["*, br;q=0"], "zstd gzip"),
            (&["br;q=0, zstd;q=0.000, gzip;q=0.001"], "gzip"),
            (&["identity, gzip;q=0.5"], ""),
            (&["identity;q=0.5, gzip, br;q=0.1"], "gzip"),
            (&["identity;q=0, gzip"], "gzip"),
            (&["deflate, compress"], ""),
            (&["gzip ; q=0.5 , br ;q=nan"], "gzip"),
            (&["br;level=9, ,;q=1, gzip"], "gzip"),
        ] {
            let preferred = accepted(lines).preferred([Brotli, Zstd, Gzip]);
            let names: Vec<_> = preferred.into_iter().flatten().map(Coding::name).collect();
            assert_eq!(names.join(" "), expected, "{lines:?}");
        }
    }
}
