//! Numbers and names as people read them on a terminal.

/// Text from elsewhere without what a terminal obeys, or what shows it in another order than it has.
pub(super) fn clean(text: &str) -> String {
    let is_harmful = |char: char| {
        char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|char| if is_harmful(char) { '\u{fffd}' } else { char }).collect()
}

/// A count or a rate: one decimal at most, and thousands by a letter.
pub(super) fn short(mut value: f64) -> String {
    let mut units = ["", "K", "M", "G", "T"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value.abs() >= 10_000.0
        && let Some(next) = units.next()
    {
        (value, unit) = (value / 1000.0, next);
    }
    let text = format!("{value:.1}");
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// A duration in microseconds, to three digits or so.
pub(super) fn duration(micros: f64) -> String {
    match micros {
        micros if micros < 1000.0 => format!("{micros:.0} µs"),
        micros if micros < 1e6 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{:.1} s", micros / 1e6),
    }
}

/// For how long, in one unit.
pub(super) fn span(seconds: f64) -> String {
    match seconds.max(0.0) {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", (seconds / 60.0).floor()),
        seconds if seconds < 172_800.0 => format!("{:.0} h", (seconds / 3600.0).floor()),
        seconds => format!("{:.0} d", (seconds / 86_400.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(
            clean("a\u{1b}[2Jb\r\n\u{9b}c\u{202e}d é"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}d é"
        );
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.0, "0"), (1.25, "1.2"), (9999.0, "9999"), (12_345.0, "12.3K"), (5e6, "5000K")]
        {
            assert_eq!(short(value), text);
        }
        for (micros, text) in [(12.0, "12 µs"), (1500.0, "1.5 ms"), (2e6, "2.0 s")] {
            assert_eq!(duration(micros), text);
        }
        for (seconds, text) in [(5.0, "5 s"), (600.0, "10 min"), (8000.0, "2 h"), (200_000.0, "2 d")] {
            assert_eq!(span(seconds), text);
        }
    }
}
