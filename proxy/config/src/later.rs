//! Keys of the contract that a later version brings. They are refused by name: to ignore them would
//! be to pretend, and to call them unknown would send the operator looking for a typing error.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::Report;

/// A key, or values of a key, that this version does not support.
#[derive(Debug)]
pub(crate) struct Later {
    /// Dotted; `*` is any key and `[]` any item.
    pub(crate) path: &'static str,
    when: When,
}

/// What of a key is not supported.
#[derive(Debug)]
enum When {
    /// The key, whatever its value.
    Written,
    /// Only these values.
    Is(&'static [&'static str]),
    /// Every value but those that ask for nothing: `false` and `[]`.
    Asked,
}

pub(crate) const CONFIG: &[Later] = &[
    Later { path: "compression", when: When::Written },
    Later { path: "files", when: When::Written },
    Later { path: "resolver", when: When::Written },
    Later { path: "limits.policy-body", when: When::Written },
    Later { path: "listener.*.proxy-protocol", when: When::Written },
    Later { path: "listener.*.tcp", when: When::Written },
    Later { path: "listener.*.tls-passthrough", when: When::Written },
    Later { path: "upstream.*.balance", when: When::Is(&["least-requests", "random-two", "hash"]) },
    Later { path: "upstream.*.buffer", when: When::Written },
    Later { path: "upstream.*.buffer-requests", when: When::Written },
    Later { path: "upstream.*.eject", when: When::Written },
    Later { path: "upstream.*.health", when: When::Written },
    Later { path: "upstream.*.max-in-flight", when: When::Written },
    Later { path: "upstream.*.max-queued", when: When::Written },
    Later { path: "upstream.*.protocol", when: When::Written },
    Later { path: "upstream.*.servers.[].backup", when: When::Written },
    Later { path: "upstream.*.slow-start", when: When::Written },
    Later { path: "upstream.*.tls", when: When::Written },
];

pub(crate) const PLUGIN: &[Later] = &[
    Later { path: "body-overflow", when: When::Written },
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
            let unsupported = match when {
                When::Written => Some((written.span().start, format!("{key:?}"))),
                When::Is(values) => match value.get_ref().as_str() {
                    Some(text) if values.contains(&text) => {
                        Some((value.span().start, format!("{key} = {text:?}")))
                    }
                    _ => return,
                },
                When::Asked => {
                    let nothing = match value.get_ref() {
                        DeValue::Boolean(asked) => !asked,
                        DeValue::Array(items) => items.is_empty(),
                        _ => false,
                    };
                    (!nothing).then(|| (written.span().start, format!("{key:?}")))
                }
            };
            if let Some((at, what)) = unsupported {
                report.add(at, format!("{what} is not supported by this version of tidegate"), None);
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
    match (value.get_mut(), steps) {
        (DeValue::Table(table), _) => take_from_table(table, steps, when, report),
        (DeValue::Array(items), ["[]", rest @ ..]) => {
            for item in items.iter_mut() {
                take_from_value(item, rest, when, report);
            }
        }
        _ => {}
    }
}
