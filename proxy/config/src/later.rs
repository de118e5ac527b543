//! Keys of the contract that a later version brings. They are refused by name: to ignore them would
//! be to pretend, and to call them unknown would send the operator looking for a typing error.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::Report;

/// A key that this version does not support.
#[derive(Debug)]
pub(crate) struct Later {
    /// Dotted; `*` is any key.
    pub(crate) path: &'static str,
    when: When,
}

/// What of a key is not supported.
#[derive(Debug)]
enum When {
    /// The key, whatever its value.
    Written,
    /// Every value but those that ask for nothing: `false` and `[]`.
    Asked,
}

pub(crate) const CONFIG: &[Later] = &[
    Later { path: "compression", when: When::Written },
];

pub(crate) const PLUGIN: &[Later] = &[
    Later { path: "grants.callout", when: When::Asked },
    Later { path: "grants.metrics", when: When::Asked },
    Later { path: "grants.rate-limit", when: When::Asked },
    Later { path: "grants.store", when: When::Asked },
];

/// Takes every key of `later` out of the table, so that what checks the table need not know them,
/// and reports those that are not supported.
pub(crate) fn take(table: &mut DeTable<'_>, later: &[Later], report: &mut Report<'_>) {
    for entry in later {
        let steps: Vec<_> = entry.path.split('.').collect();
        take_from_table(table, &steps, &entry.when, report);
    }
}

fn take_from_table(table: &mut DeTable<'_>, steps: &[&str], when: &When, report: &mut Report<'_>) {
    match steps {
        [] => {}
        [key] => {
            let Some((written, value)) = table.get_key_value(*key) else { return };
            let nothing = match value.get_ref() {
                DeValue::Boolean(asked) => !asked,
                DeValue::Array(items) => items.is_empty(),
                _ => false,
            };
            if !(nothing && matches!(when, When::Asked)) {
                let message = format!("{key:?} is not supported by this version of tidegate");
                report.add(written.span().start, message, None);
            }
            table.remove(*key);
        }
        ["*", rest @ ..] => {
            for (_, value) in table.iter_mut() {
                take_from_value(value, rest, when, report);
            }
        }
        [key, rest @ ..] => {
            if let Some(value) = table.get_mut(*key) {
                take_from_value(value, rest, when, report);
            }
        }
    }
}

fn take_from_value(value: &mut Spanned<DeValue<'_>>, steps: &[&str], when: &When, report: &mut Report<'_>) {
    if let DeValue::Table(table) = value.get_mut() {
        take_from_table(table, steps, when, report);
    }
}
