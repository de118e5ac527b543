//! One layout for what operators write: `tidegate fmt`.
//!
//! A text is read with all that stands between its values, and written anew: tables with a blank line between them, `key = value`,
//! comments in columns, lists on one line where they fit and were on one. What it says stays, comments and order among it.

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, Key, RawString, Table, TomlError, Value};

/// A list that would be longer with its key stands on a line for each item.
const WIDTH: usize = 120;

/// Comments behind lines that are longer do not push those of the others to the right.
const COLUMN: usize = 80;

/// The same text, laid out.
///
/// # Errors
///
/// It is not TOML.
pub(crate) fn lay_out(text: &str) -> Result<String, TomlError> {
    let document: DocumentMut = text.parse()?;
    let mut tables = Vec::new();
    collect(document.as_table(), &mut Vec::new(), false, &mut tables);
    // As they stand in the text; a table within another may stand before others of that.
    tables.sort_by_key(|section: &Section<'_>| (!section.path.is_empty(), section.position));
    let mut lines = Vec::new();
    for section in &tables {
        section.print(&mut lines);
    }
    comments(raw(Some(document.trailing())), 0, &mut lines);
    while lines.last().is_some_and(Line::is_blank) {
        lines.pop();
    }
    Ok(written(lines))
}

/// A table with its header.
struct Section<'d> {
    path: Vec<&'d Key>,
    table: &'d Table,
    is_item: bool,
    position: Option<isize>,
}

fn collect<'d>(table: &'d Table, path: &mut Vec<&'d Key>, is_item: bool, sections: &mut Vec<Section<'d>>) {
    if !table.is_dotted() {
        let last = sections.last().and_then(|section| section.position);
        let position = table.position().or(last);
        sections.push(Section { path: path.clone(), table, is_item, position });
    }
    for (name, item) in table {
        let Some(key) = table.key(name) else { continue };
        path.push(key);
        match item {
            Item::Table(inner) => collect(inner, path, false, sections),
            Item::ArrayOfTables(items) => items.iter().for_each(|inner| collect(inner, path, true, sections)),
            _ => {}
        }
        path.pop();
    }
}

impl Section<'_> {
    fn print(&self, lines: &mut Vec<Line>) {
        let entries = self.table.get_values();
        let is_shown = !self.table.is_implicit() || !entries.is_empty();
        if is_shown && !self.path.is_empty() {
            let before = lines.len();
            comments(raw(self.table.decor().prefix()), 0, lines);
            // A comment that follows the table above without a blank line belongs to that.
            let is_apart = lines[before..].iter().any(Line::is_blank);
            if before > 0 && !is_apart {
                lines.insert(before, Line::default());
            }
            let (open, close) = if self.is_item { ("[[", "]]") } else { ("[", "]") };
            lines.push(Line {
                code: format!("{open}{}{close}", dotted(&self.path)),
                comment: comment(raw(self.table.decor().suffix())),
                is_entry: false,
            });
        }
        for (path, value) in entries {
            entry(&path, value, 0, lines);
        }
    }
}

/// One `key = value` with the comments above it.
fn entry(path: &[&Key], value: &Value, indent: usize, lines: &mut Vec<Line>) {
    let above = path.last().map(|key| raw(key.leaf_decor().prefix())).unwrap_or_default();
    comments(above, indent, lines);
    item(&format!("{} = ", dotted(path)), value, indent, lines);
    if let Some(line) = lines.last_mut() {
        line.comment = comment(raw(value.decor().suffix()));
    }
}

/// A value with what stands before it on its line.
fn item(before: &str, value: &Value, indent: usize, lines: &mut Vec<Line>) {
    let start = format!("{:indent$}{before}", "");
    let is_spread = match value {
        Value::Array(items) if items.is_empty() => raw(Some(items.trailing())).contains('#'),
        Value::Array(_) => is_spread(value) || length(&start) + length(&on_one_line(value)) > WIDTH,
        _ => is_spread(value),
    };
    if !is_spread {
        return lines.push(Line::entry(start + &on_one_line(value)));
    }
    match value {
        Value::Array(items) => spread_list(&start, items, indent, lines),
        Value::InlineTable(table) => spread_table(&start, table, indent, lines),
        // A text over several lines is as it is.
        other => lines.push(Line::entry(start + &on_one_line(other))),
    }
}

fn spread_list(start: &str, items: &Array, indent: usize, lines: &mut Vec<Line>) {
    lines.push(Line::entry(format!("{start}[")));
    for value in items {
        behind_and_above(raw(value.decor().prefix()), indent + 2, lines);
        item("", value, indent + 2, lines);
        ended(raw(value.decor().suffix()), indent + 2, lines);
    }
    behind_and_above(raw(Some(items.trailing())), indent + 2, lines);
    closed(format!("{:indent$}]", ""), lines);
}

fn spread_table(start: &str, table: &InlineTable, indent: usize, lines: &mut Vec<Line>) {
    lines.push(Line::entry(format!("{start}{{")));
    for (path, value) in table.get_values() {
        let above = path.last().map(|key| raw(key.leaf_decor().prefix())).unwrap_or_default();
        behind_and_above(above, indent + 2, lines);
        item(&format!("{} = ", dotted(&path)), value, indent + 2, lines);
        ended(raw(value.decor().suffix()), indent + 2, lines);
    }
    behind_and_above(raw(Some(table.trailing())), indent + 2, lines);
    closed(format!("{:indent$}}}", ""), lines);
}

/// The bracket at the end.
fn closed(code: String, lines: &mut Vec<Line>) {
    while lines.last().is_some_and(Line::is_blank) {
        lines.pop();
    }
    lines.push(Line::entry(code));
}

/// The comma of an item, and the comments before that.
fn ended(suffix: &str, indent: usize, lines: &mut Vec<Line>) {
    let (first, rest) = suffix.split_once('\n').unwrap_or((suffix, ""));
    if let Some(line) = lines.last_mut() {
        line.code.push(',');
        line.comment = comment(first);
    }
    comments(rest, indent, lines);
}

/// What stands before an item: the end of the line above it, and lines of its own.
fn behind_and_above(prefix: &str, indent: usize, lines: &mut Vec<Line>) {
    let Some((behind, above)) = prefix.split_once('\n') else { return };
    match (comment(behind), lines.last_mut()) {
        (Some(text), Some(line)) if line.comment.is_none() && !line.code.is_empty() => {
            line.comment = Some(text);
        }
        (Some(text), _) => lines.push(Line { code: format!("{:indent$}{text}", ""), ..Line::default() }),
        (None, _) => {}
    }
    let is_first = lines.last().is_some_and(|line| line.code.ends_with(['[', '{']));
    let before = lines.len();
    comments(above, indent, lines);
    if is_first && lines.get(before).is_some_and(Line::is_blank) {
        lines.remove(before);
    }
}

/// Comments on lines of their own, with the blank lines that part them, each but once.
fn comments(raw: &str, indent: usize, lines: &mut Vec<Line>) {
    // Behind the last line break is what the comments stand before.
    let Some((above, last)) = raw.rsplit_once('\n') else {
        return lines.extend(comment(raw).map(|text| Line { code: text, ..Line::default() }));
    };
    let last = Some(last).filter(|last| !last.trim().is_empty());
    for text in above.split('\n').chain(last).map(str::trim) {
        let is_doubled = lines.last().is_none_or(|line| line.is_blank() || line.is_header());
        if !text.is_empty() {
            lines.push(Line { code: format!("{:indent$}{text}", ""), ..Line::default() });
        } else if !is_doubled {
            lines.push(Line::default());
        }
    }
}

/// Whether a value is to stand on several lines: it does, or a comment in it has to.
fn is_spread(value: &Value) -> bool {
    match value {
        Value::Array(_) => has_inside(value, '\n'),
        // Before TOML 1.1 that was a mistake: it is not made of what was on one line, but for the lists in it.
        Value::InlineTable(table) => {
            let is_spread = |value: &Value| !matches!(value, Value::Array(_)) && is_spread(value);
            has_between(table, '\n')
                || has_inside(value, '#')
                || table.get_values().iter().any(|(_, value)| is_spread(value))
        }
        Value::String(text) => text.display_repr().contains('\n'),
        _ => false,
    }
}

/// Whether this stands between what a value is made of.
fn has_inside(value: &Value, sign: char) -> bool {
    match value {
        Value::Array(items) => {
            raw(Some(items.trailing())).contains(sign)
                || items.iter().any(|item| breaks(item.decor(), sign) || has_inside(item, sign))
        }
        Value::InlineTable(table) => {
            has_between(table, sign) || table.get_values().iter().any(|(_, value)| has_inside(value, sign))
        }
        Value::String(text) => sign == '\n' && text.display_repr().contains(sign),
        _ => false,
    }
}

/// Whether this stands between the entries of a table.
fn has_between(table: &InlineTable, sign: char) -> bool {
    raw(Some(table.trailing())).contains(sign)
        || table.get_values().iter().any(|(path, value)| {
            breaks(value.decor(), sign) || path.iter().any(|key| breaks(key.leaf_decor(), sign))
        })
}

fn breaks(decor: &Decor, sign: char) -> bool {
    [decor.prefix(), decor.suffix()].into_iter().any(|part| raw(part).contains(sign))
}

fn on_one_line(value: &Value) -> String {
    let scalar = match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(on_one_line).collect();
            return format!("[{}]", items.join(", "));
        }
        Value::InlineTable(table) => {
            let entries: Vec<_> = table
                .get_values()
                .iter()
                .map(|(path, value)| format!("{} = {}", dotted(path), on_one_line(value)))
                .collect();
            return if entries.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", entries.join(", "))
            };
        }
        Value::String(text) => text.display_repr(),
        Value::Integer(number) => number.display_repr(),
        Value::Float(number) => number.display_repr(),
        Value::Boolean(switch) => switch.display_repr(),
        Value::Datetime(time) => time.display_repr(),
    };
    scalar.into_owned()
}

fn dotted(path: &[&Key]) -> String {
    path.iter().map(|key| key.display_repr()).collect::<Vec<_>>().join(".")
}

fn raw(part: Option<&RawString>) -> &str {
    part.and_then(RawString::as_str).unwrap_or_default()
}

fn comment(raw: &str) -> Option<String> {
    let text = raw.trim();
    text.starts_with('#').then(|| text.to_owned())
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A line, or the lines of a text.
#[derive(Default)]
struct Line {
    code: String,
    /// What stands behind it.
    comment: Option<String>,
    /// Whether its comment is in one column with those of the lines around it.
    is_entry: bool,
}

impl Line {
    fn entry(code: String) -> Self {
        Self { is_entry: !code.contains('\n'), code, comment: None }
    }

    fn is_blank(&self) -> bool {
        self.code.is_empty()
    }

    fn is_header(&self) -> bool {
        !self.is_entry && self.code.starts_with('[')
    }
}

fn written(lines: Vec<Line>) -> String {
    let mut text = String::new();
    for group in lines.chunk_by(|one, next| one.is_entry && next.is_entry) {
        let commented = group.iter().filter(|line| line.comment.is_some());
        let lengths = commented.map(|line| length(&line.code)).filter(|length| *length <= COLUMN);
        let column = lengths.max().unwrap_or_default();
        for line in group {
            text += &line.code;
            if let Some(comment) = &line.comment {
                let width = length(&line.code);
                let column = if line.is_entry { column.max(width) } else { width };
                text.extend(std::iter::repeat_n(' ', column - width + 1));
                text += comment;
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"

# The first.
include=["a.toml"]   # more


workers   =   0 # as many as there are
[plugins]

directory = 'plugins'
#compile-cache = "off"

# Of the world.

[ listener . "web" ]   # in the clear
  address="0.0.0.0:80"
   timeouts . idle = "1m"
  text = """
  a  # none
b"""
[[ rule ]]
list = [ 1,2 , 3 ]
empty = [
]
table = {a=1,b.c={ }}
lines = [ # of them
 "one" , "two"   # the second

   # the third
   , [ "three",
   "four" ] ] # all
long = ["aaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccccccccccc", "ddddddddddddddddd"]
# The end.
"#;

    const LAID_OUT: &str = r#"# The first.
include = ["a.toml"] # more

workers = 0 # as many as there are

[plugins]
directory = 'plugins'
#compile-cache = "off"

# Of the world.

[listener."web"] # in the clear
address = "0.0.0.0:80"
timeouts.idle = "1m"
text = """
  a  # none
b"""

[[rule]]
list = [1, 2, 3]
empty = []
table = { a = 1, b.c = {} }
lines = [ # of them
  "one",
  "two",  # the second

  # the third
  [
    "three",
    "four",
  ],
] # all
long = [
  "aaaaaaaaaaaaaaaaaaaaaaaaa",
  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
  "cccccccccccccccccccccccccccc",
  "ddddddddddddddddd",
]
# The end.
"#;

    #[test]
    fn a_text_is_laid_out() {
        assert_eq!(lay_out(WRITTEN).expect("it is TOML"), LAID_OUT);
    }

    #[test]
    fn it_says_the_same_and_is_laid_out_then() {
        let full = include_str!("tests/full.toml");
        for text in [
            WRITTEN,
            full,
            "",
            "# nothing",
            "a = 1 # b\r\n\r\n\r\n[c]\r\n",
            "a = [1, # b\n2]",
            "a = {b = 1,\n# c\n}",
        ] {
            let laid_out = lay_out(text).expect("it is TOML");
            assert_eq!(lay_out(&laid_out).as_ref(), Ok(&laid_out));
            let said = |text: &str| text.parse::<toml::Table>().expect("it is TOML");
            assert_eq!(said(&laid_out), said(text));
            let comments = |text: &str| text.matches('#').count();
            assert_eq!(comments(&laid_out), comments(text), "{laid_out}");
        }
    }
}
