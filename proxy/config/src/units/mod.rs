//! Numbers with a unit: durations such as `"1h30m"` and sizes such as `"16KiB"`.

use std::fmt::Write as _;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Why a text is not a duration or not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// There is no number where one must stand.
    #[error("{0:?} is not a whole number with a unit")]
    Number(String),
    /// A number without a unit.
    #[error("{0:?} has no unit")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("{unit:?} in {text:?} is not a unit")]
    Unit {
        /// All that was given.
        text: String,
        /// The part that should be a unit.
        unit: String,
    },
    /// `30m1h`, `1s1s`.
    #[error("the units in {0:?} must go from large to small")]
    Order(String),
    /// More than 2^64 - 1 milliseconds or bytes.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Reads a duration: whole numbers with the units `h`, `m`, `s` and `ms`, from large to small, as in
/// `"5s"`, `"250ms"` and `"1h30m"`. `"0s"` is one too.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut milliseconds = 0u64;
    let mut rest = text;
    let mut smaller = &DURATION[..];
    loop {
        let (number, unit, tail) = next_part(text, rest)?;
        let (_, factor) = find(&DURATION, text, unit)?;
        let place = smaller.iter().position(|(name, _)| *name == unit);
        smaller = &smaller[place.ok_or_else(|| UnitError::Order(text.to_owned()))? + 1..];
        milliseconds = number
            .checked_mul(*factor)
            .and_then(|part| milliseconds.checked_add(part))
            .ok_or_else(|| UnitError::TooLarge(text.to_owned()))?;
        rest = tail;
        if rest.is_empty() {
            return Ok(Duration::from_millis(milliseconds));
        }
    }
}

/// Writes a duration as [`parse_duration`] reads it. What is finer than a millisecond is cut off.
pub fn print_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, factor) in DURATION {
        let number = left / u128::from(factor);
        if number > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, "{number}{unit}");
            left %= u128::from(factor);
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads a number of bytes: a whole number with one of the units `B`, `KiB`, `MiB`, `GiB`, `TiB`
/// (powers of 1024) and `kB`, `MB`, `GB`, `TB` (powers of 1000).
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit, rest) = next_part(text, text)?;
    let (_, factor) = find(&SIZE, text, unit)?;
    if !rest.is_empty() {
        return Err(UnitError::Unit { text: text.to_owned(), unit: rest.to_owned() });
    }
    number.checked_mul(*factor).ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

/// Writes a number of bytes as [`parse_size`] reads it, in the unit that gives the smallest whole
/// number.
pub fn print_size(bytes: u64) -> String {
    let (unit, factor) = SIZE
        .iter()
        .filter(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

impl UnitError {
    /// What to write instead, if that can be told. `example` is a correct value of the same kind.
    pub(crate) fn help(&self, example: &str) -> Option<String> {
        match self {
            Self::NoUnit(_) => Some(format!("write the unit, as in {example:?}")),
            Self::Number(_) => Some(format!("write it as in {example:?}")),
            Self::Unit { unit, .. } => {
                let unit = unit.trim();
                let units = DURATION.iter().chain(&SIZE).map(|(name, _)| *name);
                let meant = match unit.to_ascii_lowercase().as_str() {
                    // The kind is told by the example: sizes are in bytes.
                    "k" if example.ends_with('B') => Some("KiB"),
                    "m" if example.ends_with('B') => Some("MiB"),
                    "g" if example.ends_with('B') => Some("GiB"),
                    "sec" | "second" | "seconds" => Some("s"),
                    "min" | "minute" | "minutes" => Some("m"),
                    "hour" | "hours" => Some("h"),
                    lower => units.into_iter().find(|name| name.eq_ignore_ascii_case(lower)),
                };
                Some(match meant {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("write it as in {example:?}"),
                })
            }
            Self::Order(_) | Self::TooLarge(_) => None,
        }
    }
}

/// Units of durations in milliseconds, from large to small.
const DURATION: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of sizes in bytes.
const SIZE: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// The number and the unit at the start of `rest`, and what follows. `text` is for errors.
fn next_part<'a>(text: &str, rest: &'a str) -> Result<(u64, &'a str, &'a str), UnitError> {
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = rest.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::Number(text.to_owned()));
    }
    if rest.is_empty() {
        return Err(UnitError::NoUnit(text.to_owned()));
    }
    if rest.starts_with(['.', ',', '_']) {
        return Err(UnitError::Number(text.to_owned()));
    }
    let number = number.parse().map_err(|_| UnitError::TooLarge(text.to_owned()))?;
    let (unit, rest) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
    Ok((number, unit, rest))
}

fn find<'u>(units: &'u [(&str, u64)], text: &str, unit: &str) -> Result<&'u (&'u str, u64), UnitError> {
    let unknown = || UnitError::Unit { text: text.to_owned(), unit: unit.to_owned() };
    units.iter().find(|(name, _)| *name == unit).ok_or_else(unknown)
}
