//! Whatever the text, an answer comes back.

use super::{FULL, FULL_PLUGIN, UPSTREAMS, read, read_plugin};

/// Reads the text as both files and looks at the answers.
fn survive(text: &str) {
    for problems in [read(text).err(), read_plugin(text).err()].into_iter().flatten() {
        assert!(!problems.0.is_empty());
        for problem in &problems {
            let shown = problem.to_string();
            assert_eq!(shown.lines().count(), 1, "{shown}");
            if let Some(position) = problem.position {
                assert!((1..=text.split('\n').count()).contains(&position.line), "{shown}");
            }
        }
    }
}

#[test]
fn truncated_files() {
    for text in [FULL, UPSTREAMS, FULL_PLUGIN] {
        for end in 0..=text.len() {
            survive(&text[..end]);
        }
    }
}

#[test]
fn mutated_files() {
    let pieces = [
        "",
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "0",
        "-1",
        "9e999",
        "nan",
        "inf",
        "ä",
        "\u{1}",
        "\\",
        "[[",
        "]]",
        "\"\"\"",
        "\u{feff}",
        " = ",
        "2024-01-01",
        "true",
        "99999999999999999999",
    ];
    // A linear congruential generator: mutations that are the same on every run.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..2000 {
        let mut text = [FULL, FULL_PLUGIN, UPSTREAMS][round % 3].to_owned();
        for _ in 0..=random(3) {
            let start = text.floor_char_boundary(random(text.len() + 1));
            let end = text.floor_char_boundary((start + random(8)).min(text.len())).max(start);
            text.replace_range(start..end, pieces[random(pieces.len())]);
        }
        survive(&text);
    }
}

/// Every value replaced by one of another type: this gets past the syntax.
#[test]
fn values_of_the_wrong_type() {
    for text in [FULL, UPSTREAMS, FULL_PLUGIN] {
        for wrong in [
            "{}",
            "[]",
            "[[]]",
            "[{}]",
            "-1",
            "1.5",
            "true",
            "\"\"",
            "\"\\u0000\\n\"",
            "1979-05-27",
            "0xffffffffffffffffff",
        ] {
            for (index, _) in text.match_indices(" = ") {
                let start = index + 3;
                let end = start + text[start..].find([',', '\n', '}']).unwrap_or(0);
                survive(&format!("{}{wrong}{}", &text[..start], &text[end..]));
            }
        }
    }
}

#[test]
fn nesting_beyond_reason() {
    let braces = format!("a = {}", "{ b = ".repeat(100_000));
    let brackets = format!("config.a = {}", "[".repeat(100_000));
    let dots = format!("{}a = 1", "a.".repeat(100_000));
    // Both within the bounds of the TOML parser, their product far beyond those of a stack.
    let product =
        format!("config = {}1{}", format!("{{ {}c = ", "b.".repeat(70)).repeat(70), " }".repeat(70));
    for text in [braces, brackets, dots, product] {
        survive(&text);
        assert!(read_plugin(&text).is_err());
    }
}

#[test]
fn keys_beyond_reason() {
    let long = "a".repeat(100_000);
    survive(&format!("{long} = 1\n[listener.{long}]\naddress = \"{long}\"\n"));
    survive("\"a\\nb\" = 1\n[listener.\"\\u0000\"]\naddress = \"\\n\"\n[upstream.\"\\n\"]\nx = \"\"\n");
}
