//! What each table has, out of what the proxy tells.

use serde_json::Value;

use super::state::{State, View};
use super::table::{Cell, Column, Form, Mood, Table, column, extra};
use crate::commands::words::{duration, short, span};

const UPSTREAMS: &[Column] = &[
    column("UPSTREAM", 16, Form::Long),
    column("REQ/S", 9, Form::Number),
    column("5XX/S", 8, Form::Number),
    column("P50", 9, Form::Number),
    column("P99", 9, Form::Number),
    column("IN FLIGHT", 10, Form::Number),
    column("RETRIES/S", 10, Form::Number),
    extra("QUEUED", 8, Form::Number),
    extra("IDLE", 8, Form::Number),
    extra("EJECTIONS", 10, Form::Number),
];

const LISTENERS: &[Column] = &[
    column("LISTENER", 14, Form::Long),
    column("ADDRESS", 22, Form::Text),
    column("REQ/S", 9, Form::Number),
    column("CONNECTED", 10, Form::Number),
    column("IN FLIGHT", 10, Form::Number),
    column("REFUSED/S", 10, Form::Number),
];

const SERVERS: &[Column] = &[
    column("UPSTREAM", 12, Form::Long),
    column("SERVER", 21, Form::Text),
    column("STATE", 8, Form::Text),
    column("REQ/S", 8, Form::Number),
    column("IN FLIGHT", 9, Form::Number),
    column("P99", 8, Form::Number),
    column("FAILED", 7, Form::Number),
    extra("P50", 8, Form::Number),
    extra("LAST FAILURE", 26, Form::Text),
];

const POLICIES: &[Column] = &[
    column("POLICY", 16, Form::Text),
    column("STATE", 11, Form::Text),
    column("CALLS/S", 8, Form::Number),
    column("TIME", 5, Form::Number),
    column("P99", 8, Form::Number),
    column("FAULTS", 7, Form::Number),
    column("NOTE", 14, Form::Long),
    extra("GEN", 5, Form::Number),
];

const FAILURES: &[Column] = &[
    column("AGO", 7, Form::Text),
    column("FAILURE", 17, Form::Text),
    column("STATUS", 6, Form::Number),
    column("REQUEST", 20, Form::Long),
    column("TO", 22, Form::Text),
    extra("LISTENER", 12, Form::Text),
    extra("ID", 16, Form::Text),
];

const RELOADS: &[Column] = &[
    column("AGO", 7, Form::Text),
    column("RESULT", 11, Form::Text),
    column("GENERATION", 10, Form::Number),
    column("PROBLEMS", 20, Form::Long),
];

/// What is looked at, in the order that was chosen.
pub(super) fn table(state: &State) -> Table {
    let event = &state.event;
    let now = event["at"].as_f64().unwrap_or_default();
    let table = match state.view {
        View::Traffic => Table {
            columns: UPSTREAMS,
            rows: list(&event["upstreams"]).iter().map(upstream).collect(),
            empty: "There is no upstream.",
        },
        View::Listeners => Table {
            columns: LISTENERS,
            rows: list(&event["listeners"]).iter().map(listener).collect(),
            empty: "There is no listener.",
        },
        View::Servers => Table {
            columns: SERVERS,
            rows: list(&event["upstreams"]).iter().flat_map(|upstream| servers(upstream, now)).collect(),
            empty: "No upstream has a server.",
        },
        View::Policies => {
            let all = list(&event["policies"]);
            let time: f64 = all.iter().map(|policy| real(&policy["us-per-second"])).sum();
            let rows = all.iter().map(|one| policy(one, time)).collect();
            Table { columns: POLICIES, rows, empty: "The directory has no policy." }
        }
        View::Failures => Table {
            columns: FAILURES,
            rows: list(&event["last-failures"]).iter().rev().map(|one| failure(one, now)).collect(),
            empty: "None since the start.",
        },
        View::Reloads => Table {
            columns: RELOADS,
            rows: list(&state.about.reloads).iter().rev().map(|one| reload(one, now)).collect(),
            empty: "None yet.",
        },
    };
    table.sorted(state.order())
}

fn upstream(one: &Value) -> Vec<Cell> {
    vec![
        name(&one["name"]),
        count(&one["rate"]),
        count(&one["errors"]),
        time(&one["p50-us"]),
        time(&one["p99-us"]),
        count(&one["in-flight"]),
        count(&one["retries"]),
        count(&one["queued"]),
        count(&one["idle"]),
        count(&one["ejections"]),
    ]
}

fn listener(one: &Value) -> Vec<Cell> {
    vec![
        name(&one["name"]),
        name(&one["address"]),
        count(&one["rate"]),
        count(&one["connections"]),
        count(&one["in-flight"]),
        count(&one["refused"]),
    ]
}

fn servers(upstream: &Value, now: f64) -> Vec<Vec<Cell>> {
    let server = |one: &Value| {
        let last = &one["last-failure"];
        let last = match last["failure"].as_str() {
            Some(failure) => format!("{failure}, {} ago", span(now - real(&last["at"]))),
            None => "-".to_owned(),
        };
        vec![
            name(&upstream["name"]),
            name(&one["address"]),
            state(&one["state"]),
            count(&one["rate"]),
            count(&one["in-flight"]),
            time(&one["p99-us"]),
            count(&one["failures"]),
            time(&one["p50-us"]),
            Cell::text(&last),
        ]
    };
    list(&upstream["servers"]).iter().map(server).collect()
}

/// `time` is that of all policies.
fn policy(one: &Value, all: f64) -> Vec<Cell> {
    let share = if all > 0.0 { real(&one["us-per-second"]) / all } else { 0.0 };
    let faults: f64 = one["faults"].as_object().into_iter().flatten().map(|(_, count)| real(count)).sum();
    let mut notes = Vec::new();
    if one["last-good"] == true {
        notes.push("an older version serves".to_owned());
    }
    notes.extend(one["error"].as_str().map(str::to_owned));
    let shadow = &one["shadow"];
    if !shadow.is_null() {
        let figure = |key: &str| short(real(&shadow[key]));
        notes.push(format!("shadow: {} of {} differ", figure("differed"), figure("compared")));
    }
    vec![
        name(&one["name"]),
        state(&one["state"]),
        count(&one["calls"]),
        Cell::number(share, format!("{:.0} %", share * 100.0)),
        time(&one["p99-us"]),
        Cell::number(faults, short(faults)),
        Cell::text(&notes.join("; ")),
        count(&one["generation"]),
    ]
}

fn failure(one: &Value, now: f64) -> Vec<Cell> {
    let text = |key: &str| one[key].as_str();
    let request: Vec<&str> = [text("method"), text("path")].into_iter().flatten().collect();
    let to = text("server").or(text("route")).unwrap_or("-");
    vec![
        Cell::text(&span(now - real(&one["at"]))),
        Cell::with(text("failure").unwrap_or_default(), Mood::Bad),
        count(&one["status"]),
        Cell::text(&request.join(" ")),
        Cell::text(to),
        name(&one["listener"]),
        name(&one["id"]),
    ]
}

fn reload(one: &Value, now: f64) -> Vec<Cell> {
    let problems: Vec<&str> = list(&one["problems"]).iter().filter_map(Value::as_str).collect();
    let mood = if problems.is_empty() { Mood::Good } else { Mood::Bad };
    vec![
        Cell::text(&span(now - real(&one["at"]))),
        Cell::with(one["result"].as_str().unwrap_or_default(), mood),
        count(&one["generation"]),
        Cell::text(&problems.join("; ")),
    ]
}

fn name(value: &Value) -> Cell {
    Cell::text(value.as_str().unwrap_or("-"))
}

fn state(value: &Value) -> Cell {
    let word = value.as_str().unwrap_or("-");
    let mood = match word {
        "up" | "serving" => Mood::Good,
        "ejected" | "draining" | "disabled" => Mood::Warn,
        _ => Mood::Bad,
    };
    Cell::with(word, mood)
}

fn count(value: &Value) -> Cell {
    match value.as_f64() {
        Some(number) => Cell::number(number, short(number)),
        None => Cell::number(-1.0, "-".to_owned()),
    }
}

/// In microseconds.
fn time(value: &Value) -> Cell {
    match value.as_f64() {
        Some(micros) => Cell::number(micros, duration(micros)),
        None => Cell::number(-1.0, "-".to_owned()),
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn real(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}
