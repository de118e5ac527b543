//! The table in the guide, which later counts are compared with.

use std::fs;
use std::path::PathBuf;

use super::Count;
use crate::files;
use crate::terminal::{Result, say};

/// By which a row may grow.
const GROWTH: f64 = 0.05;
const END: &str = "<!-- end -->";

pub(super) fn table(counts: &[Count]) -> String {
    let mut table = "| what | proxy | instructions per request | × nginx |\n|---|---|---|---|\n".to_owned();
    for count in counts {
        let baseline = counts.iter().find(|other| other.is_baseline && other.kind == count.kind);
        let ratio =
            baseline.map_or_else(|| "–".to_owned(), |baseline| format!("{:.2}", count.each / baseline.each));
        let each = with_commas(count.each);
        table += &format!("| {} | {} | {each} | {ratio} |\n", count.kind, count.name);
    }
    table
}

/// Puts the table into the guide, in place of the one for binaries built in the same way.
pub(super) fn write(counts: &[Count], profile: &str) -> Result<()> {
    let (page, text) = read()?;
    let (before, _, after) = parts(&text, profile)?;
    // An empty line, or Markdown takes it for part of the comment.
    let text = format!("{before}\n{}{after}", table(counts));
    fs::write(&page, text).map_err(|error| files::of(&page, &error))
}

/// Fails when a row takes more than the guide says. Other proxies and the floor are none of ours.
pub(super) fn check(counts: &[Count], profile: &str) -> Result<()> {
    let (_, text) = read()?;
    let (_, table, _) = parts(&text, profile)?;
    let mut grown = Vec::new();
    for count in counts.iter().filter(|count| count.name.starts_with("tidegate")) {
        let Some(kept) = kept(table, count.kind, &count.name) else {
            return Err(format!(
                "the guide has no row for {}, {}: --write puts it there",
                count.kind, count.name
            ));
        };
        let change = count.each / kept - 1.0;
        say(&format!("{:<20} {:<45} {:+.1} %", count.kind, count.name, change * 100.0));
        if change > GROWTH {
            grown.push(format!("{}, {}: {:.0} in place of {kept:.0}", count.kind, count.name, count.each));
        }
    }
    match grown.is_empty() {
        true => Ok(()),
        false => Err(format!("more instructions than the guide says:\n{}", grown.join("\n"))),
    }
}

fn kept(table: &str, kind: &str, name: &str) -> Option<f64> {
    let start = format!("| {kind} | {name} | ");
    let rest = table.lines().find_map(|line| line.strip_prefix(&start))?;
    rest.split_once(' ')?.0.replace(',', "").parse().ok()
}

fn read() -> Result<(PathBuf, String)> {
    let page = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.md"));
    let text = fs::read_to_string(&page).map_err(|error| files::of(&page, &error))?;
    Ok((page, text))
}

/// What is before the table, the table, and what follows.
fn parts<'a>(text: &'a str, profile: &str) -> Result<(&'a str, &'a str, &'a str)> {
    let start = format!("<!-- instructions: {profile} build -->\n");
    let missing = || format!("the guide has no block {}", start.trim());
    let at = text.find(&start).ok_or_else(missing)? + start.len();
    let end = at + text[at..].find(END).ok_or_else(missing)?;
    Ok((&text[..at], &text[at..end], &text[end..]))
}

fn with_commas(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, is_baseline: bool, each: f64) -> Count {
        Count { kind: "TLS", name: name.to_owned(), is_baseline, each }
    }

    #[test]
    fn a_row_is_found_again() {
        let table =
            table(&[count("nginx", true, 22_940.4), count("tidegate, no policy", false, 1_041_512.0)]);
        assert!(table.contains("| TLS | tidegate, no policy | 1,041,512 | 45.40 |"), "{table}");
        assert_eq!(kept(&table, "TLS", "tidegate, no policy"), Some(1_041_512.0));
        assert_eq!(kept(&table, "TLS", "tidegate"), None);
    }

    #[test]
    fn a_block_is_that_of_the_build() {
        let text = "a\n<!-- instructions: quick build -->\nb\n<!-- end -->\nc\n";
        let (before, table, after) = parts(text, "quick").expect("a block");
        assert_eq!((before.ends_with("-->\n"), table, after), (true, "b\n", "<!-- end -->\nc\n"));
        assert!(parts(text, "release").is_err());
    }
}
