//! A table for each case, in Markdown.

use super::{Figure, Row, by_case, ratio};

pub(super) fn of(rows: &[Row]) -> String {
    by_case(rows).map(one).collect::<Vec<_>>().join("\n")
}

fn one(rows: &[Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    // A row may have more figures than the first one.
    let columns = rows.iter().map(|row| &row.figures).max_by_key(|figures| figures.len());
    let columns = columns.unwrap_or(&first.figures);
    let has_ratio = rows.iter().any(|row| row.is_baseline);
    let mut head = vec![first.case.to_owned()];
    for (number, figure) in columns.iter().enumerate() {
        head.push(format!("{}, {}", figure.what, figure.unit));
        if number == 0 {
            head.push("min–max".to_owned());
            head.extend(has_ratio.then(|| "× nginx".to_owned()));
        }
    }
    let mut table = line(&head) + &line(&vec!["---".to_owned(); head.len()]);
    for row in rows {
        let mut cells = vec![row.proxy.clone()];
        for (number, column) in columns.iter().enumerate() {
            let figure = row.figures.iter().find(|figure| figure.what == column.what);
            cells.push(figure.map_or_else(none, |figure| Figure::shown(figure.median)));
            if number == 0 {
                cells.push(figure.map_or_else(none, |figure| {
                    format!("{}–{}", Figure::shown(figure.lowest), Figure::shown(figure.highest))
                }));
                if has_ratio {
                    cells.push(ratio(row, rows).map_or_else(none, |ratio| format!("{ratio:.2}")));
                }
            }
        }
        table += &line(&cells);
    }
    table
}

fn none() -> String {
    "–".to_owned()
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}
