//! Compares what came of a case with what was to come.

use std::collections::BTreeMap;

use http::HeaderMap;
use tidegate_config::{CaseAsked, Expect, Expected};
use tidegate_plugin_host::{Callout, Retry};

use super::run::Outcome;

/// In the order of the keys, one sentence each.
pub(super) fn differences(expect: &Expect, outcome: &Outcome) -> Vec<String> {
    let mut found = Differences(Vec::new());
    let slot = &outcome.slot;
    if let Some(called) = expect.called
        && called != outcome.is_called
    {
        found.0.push(format!("called: expected {called}, and it is {}", outcome.is_called));
    }
    match (&expect.verdict, &outcome.failure) {
        (Some(verdict), _) if verdict == outcome.verdict => {}
        (Some(verdict), None) => {
            found.0.push(format!("verdict: expected {verdict:?}, got {:?}", outcome.verdict))
        }
        (Some(verdict), Some(why)) => {
            found.0.push(format!("verdict: expected {verdict:?}, got {:?}: {why}", outcome.verdict));
        }
        (None, Some(why)) => found.0.push(format!("the policy failed ({}): {why}", outcome.verdict)),
        (None, None) => {}
    }
    let status = slot.response.as_ref().map(|response| response.status.as_u16());
    let speaks_of_reply = expect.verdict.is_some()
        || expect.status.is_some()
        || expect.body.is_some()
        || expect.body_contains.is_some();
    if outcome.has_replied && !speaks_of_reply {
        found
            .0
            .push(format!("the policy answered itself with {}, which nothing expects", status.unwrap_or(0)));
    }

    let request = &slot.request;
    found.text("route", expect.route.as_deref(), slot.route.as_deref().unwrap_or_default());
    found.text("method", expect.method.as_deref(), request.method.as_str());
    found.text("target", expect.target.as_deref(), request.target().as_str());
    found.text("host", expect.host.as_deref(), &request.authority);
    found.fields("request-headers", &expect.request_headers, &request.headers);
    found.text(
        "request-body",
        expect.request_body.as_deref(),
        &String::from_utf8_lossy(&outcome.request_body),
    );
    if let Some(expected) = expect.status
        && status != Some(expected)
    {
        let got = status.map_or_else(|| "no response".to_owned(), |status| status.to_string());
        found.0.push(format!("status: expected {expected}, got {got}"));
    }
    let none = HeaderMap::new();
    found.fields(
        "headers",
        &expect.headers,
        slot.response.as_ref().map_or(&none, |response| &response.headers),
    );
    let body = String::from_utf8_lossy(&outcome.response_body);
    found.text("body", expect.body.as_deref(), &body);
    if let Some(part) = &expect.body_contains
        && !body.contains(part)
    {
        found.0.push(format!("body-contains: {part:?} is not in {}", shown(&body)));
    }
    for (name, expected) in &expect.attributes {
        found.named("attributes", name, expected, slot.attribute(name).into_iter().collect());
    }
    for (key, expected) in &expect.store {
        let value = outcome.store.get(key).and_then(Option::as_deref).map(String::from_utf8_lossy);
        found.named("store", key, expected, value.as_deref().into_iter().collect());
    }
    if let Some(callouts) = expect.callouts
        && callouts != outcome.callouts
    {
        found.0.push(format!("callouts: expected {callouts}, got {}", outcome.callouts));
    }
    let retry_at = match &slot.retry {
        Retry::At(destination) => destination,
        Retry::Possible | Retry::Impossible => "",
    };
    found.text("retry-at", expect.retry_at.as_deref(), retry_at);
    found.0
}

/// What a callout has to be, beyond where it goes.
pub(super) fn of_callout(asked: &CaseAsked, callout: &Callout) -> Vec<String> {
    let mut found = Differences(Vec::new());
    found.text("method", asked.method.as_deref(), callout.method.as_str());
    found.text("host", asked.host.as_deref(), callout.host.as_deref().unwrap_or_default());
    found.fields("headers", &asked.headers, &callout.headers);
    found.text("body", asked.body.as_deref(), &String::from_utf8_lossy(&callout.body));
    found.0
}

struct Differences(Vec<String>);

impl Differences {
    fn text(&mut self, key: &str, expected: Option<&str>, got: &str) {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            self.0.push(format!("{key}: expected {}, got {}", shown(expected), shown(got)));
        }
    }

    fn fields(&mut self, key: &str, expected: &BTreeMap<String, Expected>, got: &HeaderMap) {
        for (name, expected) in expected {
            let values: Vec<_> = got
                .get_all(name.as_str())
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            self.named(key, name, expected, values.iter().map(|value| &**value).collect());
        }
    }

    fn named(&mut self, key: &str, name: &str, expected: &Expected, got: Vec<&str>) {
        let (fits, expected) = match expected {
            Expected::There(there) => {
                (got.is_empty() != *there, if *there { "one" } else { "none" }.to_owned())
            }
            Expected::One(value) => (got == [value.as_str()], shown(value)),
            Expected::Several(values) => (got == *values, format!("{values:?}")),
        };
        if !fits {
            let got = match got.as_slice() {
                [] => "none".to_owned(),
                [one] => shown(one),
                several => format!("{several:?}"),
            };
            self.0.push(format!("{key}.{name}: expected {expected}, got {got}"));
        }
    }
}

/// Longer texts are cut: the difference is seen all the same, or looked for where the text is.
const LONGEST: usize = 300;

fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?} …", &text[..end]),
        None => format!("{text:?}"),
    }
}
