//! Files that are there in a compressed form as well, and which form a client gets (RFC 9110 §12.5.3).

use http::{HeaderMap, HeaderValue, header};

/// How a sibling of a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

impl Coding {
    /// In the order in which they are preferred when the client likes them alike: the smallest first.
    pub(super) const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// What the sibling's name adds to that of the file.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// The value of `Content-Encoding`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// The codings a client prefers to the file as it is, best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Preferences([Option<Coding>; 3]);

impl Preferences {
    /// Of a client that does not say what it takes: nothing.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let (mut named, mut any, mut identity) = ([None; 3], None, 0);
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        for member in lines.flat_map(|line| line.split(',')) {
            let (name, parameter) = member.split_once(';').unwrap_or((member, ""));
            let (name, weight) = (name.trim(), weight(parameter));
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("*") {
                any = Some(weight);
            } else if is("identity") {
                identity = weight;
            } else if let Some(at) = Coding::ALL.iter().position(|coding| is(coding.name())) {
                named[at] = Some(weight);
            } else if is("x-gzip") {
                named[2] = named[2].or(Some(weight));
            }
        }
        let mut wanted: Vec<(u16, Coding)> = named
            .into_iter()
            .zip(Coding::ALL)
            .map(|(weight, coding)| (weight.or(any).unwrap_or(0), coding))
            .filter(|(weight, _)| *weight > 0 && *weight >= identity)
            .collect();
        // Stable: equal weights stay in our order.
        wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let mut best = [None; 3];
        for (place, (_, coding)) in best.iter_mut().zip(wanted) {
            *place = Some(coding);
        }
        Self(best)
    }

    pub(super) fn has(self, coding: Coding) -> bool {
        self.0.contains(&Some(coding))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }
}

/// `q` in thousandths (RFC 9110 §12.4.2). What is no weight counts as 1, as a parameter of later times would.
fn weight(parameter: &str) -> u16 {
    let parameter = parameter.trim();
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
    let Some(number) = value.and_then(|value| value.parse::<f32>().ok()) else { return 1000 };
    // Saturates, and NaN is 0.
    (number.clamp(0.0, 1.0) * 1000.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        Preferences::of(&headers).iter().map(Coding::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_client_decides_and_then_we_do() {
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
            (&["br;level=9, ,;q=1"], "br"),
        ] {
            assert_eq!(preferred(lines), expected, "{lines:?}");
        }
    }
}
