//! Texts that are not TOML.

use super::{FULL, problems, read};

#[test]
fn a_mistake_has_its_place() {
    assert_eq!(problems("workers = 1\nworkers = 2\n"), ["2:1: duplicate key"]);
    assert_eq!(problems("[log]\n[log]\n"), ["2:2: duplicate key"]);
    let found = problems("a = foo\nb = \"x\"\nc = 10ms\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("1:5: ") && found[0].ends_with("a value that is text stands in quotes"));
    assert!(found[1].starts_with("3:5: "));
}

#[test]
fn echoes_are_cut_off() {
    let text = format!("a = [1,\n{}", "b = 2\n".repeat(100));
    assert!((1..=5).contains(&problems(&text).len()));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let windows = format!("\u{feff}{}", FULL.replace('\n', "\r\n"));
    assert_eq!(read(&windows).expect("the example is valid"), read(FULL).expect("the example is valid"));
    assert_eq!(
        problems("\u{feff}worker = 1\r\nworkerz = 1\r\n"),
        [
            r#"1:1: unknown key "worker"; did you mean "workers"?"#,
            r#"2:1: unknown key "workerz"; did you mean "workers"?"#
        ]
    );
}
