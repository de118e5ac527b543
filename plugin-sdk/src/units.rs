//! Durations as operators write them in `tidegate.toml` and `NAME.toml`, for the `[config]` of a policy.

use std::time::Duration;

/// Units in milliseconds, from large to small.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `"5s"`, `"250ms"` or `"1h30m"`: whole numbers with the units `h`, `m`, `s` and `ms`, from large to small.
///
/// # Errors
///
/// Says what is wrong and how to write it; give it to [`Error::at`](crate::Error::at) with the key.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |reason: &str| format!("{text:?} {reason}; write it as in \"1m\" or \"1h30m\"");
    let mut milliseconds = 0_u64;
    let mut units = UNITS.iter();
    let mut rest = text;
    while milliseconds == 0 && rest == text || !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = &tail[..tail.find(|char: char| char.is_ascii_digit()).unwrap_or(tail.len())];
        if number.is_empty() || unit.is_empty() {
            return Err(wrong("is not a whole number with a unit"));
        }
        let Some((_, factor)) = units.find(|(name, _)| *name == unit) else {
            return Err(wrong("does not have the units `h`, `m`, `s`, `ms` from large to small"));
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        let sum = part.and_then(|part| milliseconds.checked_add(part));
        milliseconds = sum.ok_or_else(|| wrong("is too large"))?;
        rest = &tail[unit.len()..];
    }
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_proxy_reads_them() {
        for (text, milliseconds) in
            [("5s", 5_000), ("250ms", 250), ("1h30m", 5_400_000), ("1m15s", 75_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for (text, reason) in [
            ("", "is not a whole number"),
            ("5", "is not a whole number with a unit"),
            ("s", "is not a whole number"),
            ("-5s", "is not a whole number"),
            ("1.5s", "does not have the units"),
            ("5 s", "does not have the units"),
            ("5é", "does not have the units"),
            ("1s1m", "does not have the units"),
            ("1s1s", "does not have the units"),
            ("99999999999999999999s", "is too large"),
            ("9999999999999999h", "is too large"),
        ] {
            let error = duration(text).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }
}
