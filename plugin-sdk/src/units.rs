//! Values with a unit in configurations, written as in `tidegate.toml`: `"1h30m"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A duration as operators write it: whole numbers with the units `h`, `m`, `s` and `ms`, from large to small, each at
/// most once. `"0s"` is one: a policy that needs more says so.
///
/// ```
/// use std::time::Duration;
/// use tidegate_plugin_sdk::units;
///
/// let written: units::Duration = "1m30s".parse().unwrap();
/// assert_eq!(written.get(), Duration::from_secs(90));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

/// The text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a duration is whole numbers with the units `h`, `m`, `s` and `ms`, from large to small: `5s`, `1h30m`"
)]
pub struct NotADuration;

/// From large to small, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Duration {
    /// For defaults.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// Whole milliseconds.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let (mut rest, mut units, mut total) = (text, &UNITS[..], 0_u64);
        while !rest.is_empty() || total == 0 && units.len() == UNITS.len() {
            let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or(NotADuration)?;
            let number: u64 = rest[..digits].parse().map_err(|_| NotADuration)?;
            let unit = rest[digits..].find(|character: char| character.is_ascii_digit());
            let (name, after) = rest[digits..].split_at(unit.unwrap_or(rest.len() - digits));
            let at = units.iter().position(|(known, _)| *known == name).ok_or(NotADuration)?;
            let part = number.checked_mul(units[at].1).ok_or(NotADuration)?;
            total = total.checked_add(part).ok_or(NotADuration)?;
            (rest, units) = (after, &units[at + 1..]);
        }
        Ok(Self(std::time::Duration::from_millis(total)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, millis) in UNITS {
            if rest >= millis {
                write!(f, "{}{name}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(|error| de::Error::custom(format_args!("`{text}`: {error}")))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_in_the_configuration_of_the_proxy() {
        for (text, millis) in
            [("1ms", 1), ("5s", 5000), ("1h30m", 5_400_000), ("1m1s1ms", 61_001), ("0s", 0), ("90s", 90_000)]
        {
            let duration: Duration = text.parse().expect(text);
            assert_eq!(duration.get().as_millis(), millis, "{text}");
            assert_eq!(duration.to_string().parse(), Ok(duration), "{text}");
        }
        assert_eq!(Duration::from_secs(5400).to_string(), "1h30m");
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "5", "s", "1.5s", "-1s", "1s1h", "1s1s", "1 s", "1d", "99999999999999999999s", "1sx"]
        {
            assert_eq!(text.parse::<Duration>(), Err(NotADuration), "{text}");
        }
        let error = serde_json::from_str::<Duration>("\"5\"").expect_err("no unit").to_string();
        assert!(error.starts_with("`5`: a duration is whole numbers with the units"), "{error}");
        assert!(serde_json::from_str::<Duration>("5").is_err());
    }
}
