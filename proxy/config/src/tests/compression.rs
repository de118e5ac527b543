//! What `[compression]` means, and what is wrong with one.

use super::{problems, read, with_listener};
use crate::{Coding, Compression, Levels, MediaRange};

fn compression(table: &str) -> Compression {
    let config = read(&with_listener(&format!("compression = {table}"))).expect("the table is valid");
    config.compression.expect("it is given")
}

fn any(prefix: &str, suffix: &str) -> MediaRange {
    MediaRange::Any { prefix: prefix.to_owned(), suffix: suffix.to_owned() }
}

#[test]
fn every_key_arrives() {
    let table = concat!(
        r#"{ codings = ["gzip", "zstd"], types = ["Text/*", "application/*+JSON", "a/b.c+d"], "#,
        r#"min-size = "20B", levels = { zstd = 9, gzip = 1 }, max-in-flight = 7 }"#
    );
    let expected = Compression {
        codings: vec![Coding::Gzip, Coding::Zstd],
        types: vec![any("text/", ""), any("application/", "+json"), MediaRange::Type("a/b.c+d".to_owned())],
        min_size: 20,
        levels: Levels { zstd: 9, br: 4, gzip: 1 },
        max_in_flight: 7,
    };
    assert_eq!(compression(table), expected);
}

#[test]
fn it_is_off_without_a_table_and_has_defaults_with_an_empty_one() {
    assert_eq!(read(&with_listener("")).expect("the text is valid").compression, None);
    let defaults = compression("{}");
    assert_eq!(defaults.codings, [Coding::Zstd, Coding::Br, Coding::Gzip]);
    assert_eq!(defaults.levels, Levels { zstd: 3, br: 4, gzip: 5 });
    assert_eq!((defaults.min_size, defaults.max_in_flight), (1024, 256));
    assert!(defaults.types.contains(&any("text/", "")));
    assert!(defaults.types.contains(&MediaRange::Type("application/json".to_owned())));
}

#[test]
fn an_upstream_can_be_left_out() {
    let text = "[upstream.a]\nservers = [\"a:1\"]\ncompression = false\n[upstream.b]\nservers = [\"b:1\"]\n";
    let upstreams = read(&with_listener(text)).expect("the text is valid").upstreams;
    assert_eq!((upstreams["a"].compression, upstreams["b"].compression), (false, true));
}

#[test]
fn a_mistake_is_reported_at_its_place() {
    let form = r#"write it as in "text/html", "text/*" or "application/*+json""#;
    let cases = [
        (
            r#"{ codings = ["brotli"] }"#,
            r#"1:28: "brotli" is not a value of compression.codings[0]; allowed: "zstd", "br", "gzip""#
                .to_owned(),
        ),
        (r#"{ codings = [] }"#, "1:27: compression.codings must not be empty".to_owned()),
        (r#"{ codings = ["br", "br"] }"#, r#"1:34: "br" stands twice in compression.codings"#.to_owned()),
        (
            r#"{ types = ["text"] }"#,
            format!(
                r#"1:26: compression.types[0]: "text" is not a media type and not a range of them; {form}"#
            ),
        ),
        (
            r#"{ types = ["*/*"] }"#,
            format!(
                r#"1:26: compression.types[0]: "*/*" is not a media type and not a range of them; {form}"#
            ),
        ),
        (
            r#"{ types = ["text/html; charset=utf-8"] }"#,
            concat!(
                r#"1:26: compression.types[0]: "text/html; charset=utf-8" has parameters, "#,
                r#"which are not looked at; write "text/html""#
            )
            .to_owned(),
        ),
        ("{ levels.zstd = 10 }", "1:31: compression.levels.zstd must be at most 9, not 10".to_owned()),
        (
            r#"{ codings = ["gzip"], levels = { br = 5 } }"#,
            concat!(
                r#"1:53: compression.levels.br is of no use, as compression.codings is without "br"; "#,
                r#"add "br" to the codings, or leave the level out"#
            )
            .to_owned(),
        ),
        ("{ max-in-flight = 0 }", "1:33: compression.max-in-flight must be at least 1, not 0".to_owned()),
    ];
    for (table, problem) in cases {
        assert_eq!(problems(&with_listener(&format!("compression = {table}"))), [problem], "{table}");
    }
}

#[test]
fn compression_that_is_asked_for_without_a_table_is_warned_about() {
    let upstream = "[upstream.a]\nservers = [\"a:1\", \"b:1\"]\ncompression = true\n";
    let warnings = |top: &str| {
        let config = read(&with_listener(&format!("{top}{upstream}"))).expect("the text is valid");
        config.warnings(|_| true).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings("compression = {}\n"), [""; 0]);
    assert_eq!(
        warnings(""),
        [concat!(
            "etc/tidegate.toml:3:15: upstream.a: nothing is compressed, as there is no table [compression]; ",
            "add [compression], or leave the key out"
        )]
    );
}
