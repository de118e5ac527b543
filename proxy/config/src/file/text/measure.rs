//! Numbers with a unit.

use std::time::Duration;

use schemars::Schema;

use super::{Complaint, Form};
use crate::units;

/// The name `duration` belongs to ISO 8601 in JSON Schema.
impl Form for Duration {
    const FORMAT: &'static str = "time-span";
    const EXAMPLE: &'static str = "5s";
    const NAME: &'static str = "duration";
    const RULE: &'static str =
        "Whole numbers with the units `h`, `m`, `s` and `ms`, from large to small, as in `\"1h30m\"`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        units::parse_duration(text).map_err(|error| Complaint::unit(&error, Self::EXAMPLE))
    }

    fn print(&self) -> String {
        units::print_duration(*self)
    }

    /// A wait of nothing makes no sense unless a field says so. One of more than a year is no
    /// bound, and far larger ones do not fit the clock.
    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$".into());
        schema.insert("minLength".to_owned(), 1.into());
        schema.insert("x-minimum".to_owned(), "1ms".into());
        schema.insert("x-maximum".to_owned(), "8760h".into());
    }
}

/// A number of bytes.
#[derive(Debug)]
pub(crate) struct Size(pub u64);

impl Size {
    /// As a size of something in memory, where more than the address space is everything.
    pub(crate) fn in_memory(&self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Form for Size {
    const FORMAT: &'static str = "byte-size";
    const EXAMPLE: &'static str = "16KiB";
    const NAME: &'static str = "size";
    const RULE: &'static str = "A whole number with a unit: `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `kB`, `MB`, `GB`, \
         `TB` (powers of 1000)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        units::parse_size(text).map(Self).map_err(|error| Complaint::unit(&error, Self::EXAMPLE))
    }

    fn print(&self) -> String {
        units::print_size(self.0)
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[0-9]+([KMGT]i|[kMGT])?B$".into());
    }
}

/// A share of a hundred.
#[derive(Debug)]
pub(crate) struct Percent(pub u32);

impl Form for Percent {
    const FORMAT: &'static str = "percentage";
    const EXAMPLE: &'static str = "20%";
    const NAME: &'static str = "percentage";
    const RULE: &'static str = "A whole number from `0%` to `100%`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let number = text.strip_suffix('%').unwrap_or(text);
        if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit()) {
            return Err(Complaint::new(format!("{text:?} is not a whole number of percent"))
                .help(format!("write it as in {:?}", Self::EXAMPLE)));
        }
        if number == text {
            return Err(Complaint::new(format!("{text:?} has no unit")).help(format!("write \"{text}%\"")));
        }
        match number.parse() {
            Ok(percent) if percent <= 100 => Ok(Self(percent)),
            _ => Err(Complaint::new(format!("{text:?} is more than \"100%\""))),
        }
    }

    fn print(&self) -> String {
        format!("{}%", self.0)
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[0-9]+%$".into());
    }
}
