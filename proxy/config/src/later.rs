//! Keys of the contract that a later version brings. They are refused by name: to ignore them would
//! be to pretend, and to call them unknown would send the operator looking for a typing error.

use toml::de::{DeTable, DeValue};

use crate::report::Report;

/// Keys of `NAME.toml`, dotted. Values that ask for nothing, `false` and `[]`, are taken all the same.
pub(crate) const PLUGIN: &[&str] = &["grants.callout", "grants.metrics", "grants.rate-limit", "grants.store"];

/// Takes every key of `later` out of the table, so that what checks the table need not know them,
/// and reports those that are not supported.
pub(crate) fn take(table: &mut DeTable<'_>, later: &[&str], report: &mut Report<'_>) {
    for path in later {
        let steps: Vec<_> = path.split('.').collect();
        take_from_table(table, &steps, report);
    }
}

fn take_from_table(table: &mut DeTable<'_>, steps: &[&str], report: &mut Report<'_>) {
    match steps {
        [] => {}
        [key] => {
            let Some((written, value)) = table.get_key_value(*key) else { return };
            let asks = match value.get_ref() {
                DeValue::Boolean(asked) => *asked,
                DeValue::Array(items) => !items.is_empty(),
                _ => true,
            };
            if asks {
                let message = format!("{key:?} is not supported by this version of tidegate");
                report.add(written.span().start, message, None);
            }
            table.remove(*key);
        }
        [key, rest @ ..] => {
            if let Some(value) = table.get_mut(*key)
                && let DeValue::Table(inner) = value.get_mut()
            {
                take_from_table(inner, rest, report);
            }
        }
    }
}
