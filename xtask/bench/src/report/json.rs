//! Everything, for programs.

use serde_json::{Map, Value, json};

use super::{Row, ratio};

pub(super) fn of(rows: &[Row], profile: &str) -> String {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let figures: Map<String, Value> = row
                .figures
                .iter()
                .map(|figure| {
                    let value = json!({
                        "unit": figure.unit,
                        "median": figure.median,
                        "min": figure.lowest,
                        "max": figure.highest,
                    });
                    (figure.what.to_owned(), value)
                })
                .collect();
            json!({ "case": row.case, "proxy": row.proxy, "ratio": ratio(row, rows), "figures": figures })
        })
        .collect();
    format!("{:#}\n", json!({ "profile": profile, "rows": rows }))
}
