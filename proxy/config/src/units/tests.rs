//! Numbers with a unit, there and back.

use std::time::Duration;

use super::{UnitError, parse_duration, parse_size, print_duration, print_size};

#[test]
fn durations() {
    for (text, milliseconds) in [
        ("0s", 0),
        ("1ms", 1),
        ("250ms", 250),
        ("5s", 5000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("1h30m", 5_400_000),
        ("1h2m3s4ms", 3_723_004),
    ] {
        let duration = Duration::from_millis(milliseconds);
        assert_eq!(parse_duration(text), Ok(duration), "{text}");
        assert_eq!(print_duration(duration), text);
    }
    assert_eq!(parse_duration("90m"), Ok(Duration::from_secs(5400)));
    assert_eq!(print_duration(Duration::from_micros(1500)), "1ms");
}

#[test]
fn what_is_not_a_duration() {
    let unit = |text: &str, unit: &str| UnitError::Unit { text: text.to_owned(), unit: unit.to_owned() };
    assert_eq!(parse_duration("5"), Err(UnitError::NoUnit("5".to_owned())));
    assert_eq!(parse_duration("1h30"), Err(UnitError::NoUnit("1h30".to_owned())));
    for text in ["", "s", "-1s", "1.5s", " 1s", "1_000s"] {
        assert_eq!(parse_duration(text), Err(UnitError::Number(text.to_owned())));
    }
    assert_eq!(parse_duration("1 s"), Err(unit("1 s", " s")));
    assert_eq!(parse_duration("1sec"), Err(unit("1sec", "sec")));
    assert_eq!(parse_duration("1KiB"), Err(unit("1KiB", "KiB")));
    assert_eq!(parse_duration("30m1h"), Err(UnitError::Order("30m1h".to_owned())));
    assert_eq!(parse_duration("1s1s"), Err(UnitError::Order("1s1s".to_owned())));
    for text in ["18446744073709551616ms", "18446744073709551615s", "99999999999999999999999h"] {
        assert_eq!(parse_duration(text), Err(UnitError::TooLarge(text.to_owned())));
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0B", 0),
        ("512B", 512),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("16KiB", 16 << 10),
        ("2MB", 2_000_000),
        ("1MiB", 1 << 20),
        ("3GB", 3_000_000_000),
        ("1GiB", 1 << 30),
        ("1TiB", 1 << 40),
        ("1TB", 1_000_000_000_000),
        ("1025B", 1025),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
        assert_eq!(print_size(bytes), text);
    }
    assert_eq!(parse_size(&print_size(u64::MAX)), Ok(u64::MAX));
}

#[test]
fn what_is_not_a_size() {
    assert_eq!(parse_size("16"), Err(UnitError::NoUnit("16".to_owned())));
    for text in ["", "KiB", "-1B", "1.5KiB"] {
        assert_eq!(parse_size(text), Err(UnitError::Number(text.to_owned())));
    }
    for (text, unit) in [("1kib", "kib"), ("1K", "K"), ("1KiB1B", "1B"), ("1 KiB", " KiB"), ("1s", "s")] {
        let expected = UnitError::Unit { text: text.to_owned(), unit: unit.to_owned() };
        assert_eq!(parse_size(text), Err(expected));
    }
    assert_eq!(parse_size("16777216TiB"), Err(UnitError::TooLarge("16777216TiB".to_owned())));
}

#[test]
fn errors_say_what_to_write() {
    let help = |error: UnitError, example: &str| error.help(example).unwrap_or_default();
    let of_size = |text: &str| help(parse_size(text).expect_err("not a size"), "16KiB");
    assert_eq!(of_size("16"), "write the unit, as in \"16KiB\"");
    assert_eq!(of_size("1kib"), "did you mean \"KiB\"?");
    assert_eq!(of_size("1m"), "did you mean \"MiB\"?");
    assert_eq!(of_size("1 KiB"), "did you mean \"KiB\"?");
    assert_eq!(of_size("1x"), "write it as in \"16KiB\"");
    let of_duration = |text: &str| help(parse_duration(text).expect_err("not a duration"), "5s");
    assert_eq!(of_duration("1min"), "did you mean \"m\"?");
    assert_eq!(of_duration("1MS"), "did you mean \"ms\"?");
}
