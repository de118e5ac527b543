//! What stands on the screen, of what the proxy tells.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::state::{About, Flow, Message, State};
use super::view;

fn event() -> Value {
    let server = |address: &str, state: &str, rate: f64| {
        json!({
            "address": address, "state": state, "weight": 1, "in-flight": 2, "rate": rate, "p50-us": 900, "p99-us": 12_000,
            "failures": 3, "last-failure": { "at": 990, "failure": "connect" },
        })
    };
    json!({
        "at": 1000, "rate": 12_345.6, "errors": 1.5, "p50-us": 950, "p99-us": 2_500_000, "in-flight": 7, "connections": 40,
        "sent": 2_000_000.0, "received": 100.0, "draining": false, "reasons": [], "reload": null,
        "listeners": [{ "name": "web", "address": "127.0.0.1:8080", "rate": 5.0, "connections": 1, "in-flight": 0, "refused": 0.5 }],
        "upstreams": [{
            "name": "app", "rate": 10.0, "errors": 0.0, "p50-us": null, "p99-us": null, "in-flight": 2, "queued": 0, "retries": 0.0,
            "idle": 4, "ejections": 0,
            "servers": [server("10.0.0.1:80", "up", 1.0), server("10.0.0.2:80", "down", 9.0), server("10.0.0.3:80", "up", 4.0)],
        }],
        "policies": [{
            "name": "10-router", "state": "quarantined", "generation": 2, "error": "it failed: \u{1b}[31mred\u{1b}]0;title\u{7}",
            "last-good": false, "calls": 100.0, "us-per-second": 50.0, "p99-us": 8, "verdicts": {}, "faults": { "trap": 4 },
            "shadow": { "compared": 10, "differed": 3 },
        }],
        "last-failures": [{
            "at": 940, "id": "0000000000000001", "listener": "web", "method": "GET", "path": "/\u{202e}x", "status": 503,
            "failure": "connect", "route": "app", "server": "10.0.0.2:80",
        }],
    })
}

fn state() -> State {
    let mut state = State::new("127.0.0.1:9900".to_owned());
    state.take(Message::Event(event()));
    let points: Vec<Value> = (0..30).map(|at| json!({ "rate": f64::from(at), "p99-us": 1000 })).collect();
    state.take(Message::About(About {
        status: json!({ "version": "0.1.0", "generation": 3, "uptime-s": 700 }),
        history: json!({ "points": points }),
        reloads: json!([
            { "at": 400, "result": "changed", "generation": 3, "problems": [] },
            { "at": 880, "result": "refused", "generation": 3, "problems": ["tidegate.toml:1:1: no"] },
        ]),
    }));
    state
}

fn press(state: &mut State, code: KeyCode) -> Flow {
    state.take(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a buffer");
    terminal.draw(|frame| view::draw(state, frame)).expect("a drawing");
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(width.into()).map(|line| {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_small_terminal_has_room_for_every_view() {
    let mut state = state();
    let told = screen(&state, 80, 24);
    assert!(told.starts_with("tidegate 0.1.0, generation 3, up 11 min at 127.0.0.1:9900: ready\n"), "{told}");
    for (key, texts) in [
        (
            '1',
            &["12.3K", "950 µs", "2.5 s", "2000KB/s", "requests/s in the last hour, at most 29", "█", "app "]
                [..],
        ),
        ('2', &["LISTENER", "REFUSED/S", "web", "127.0.0.1:8080", "0.5"]),
        ('3', &["10.0.0.2:80", "down", "12.0 ms", "FAILED"]),
        ('4', &["10-router", "quarantined", "100 %", "8 µs", "it failed: "]),
        ('5', &["60 s", "connect", "503", "GET /", "10.0.0.2:80"]),
        ('6', &["2 min", "refused", "tidegate.toml:1:1: no"]),
    ] {
        assert_eq!(press(&mut state, KeyCode::Char(key)), Flow::Draw);
        let told = screen(&state, 80, 24);
        for text in texts {
            assert!(told.contains(text), "no {text:?} in view {key}:\n{told}");
        }
        assert!(told.lines().last().is_some_and(|line| line.starts_with("q quit")), "{told}");
        // Whatever the room, nothing panics.
        for (width, height) in [(1, 1), (10, 3), (200, 5), (300, 100)] {
            screen(&state, width, height);
        }
    }
    assert!(screen(&state, 160, 40).contains("PROBLEMS"));
}

#[test]
fn names_and_messages_are_text() {
    let mut state = state();
    for (key, text) in [('4', "it failed: \u{fffd}[31mred"), ('5', "GET /\u{fffd}x")] {
        press(&mut state, KeyCode::Char(key));
        let told = screen(&state, 200, 30);
        assert!(told.contains(text), "{told}");
        assert!(!told.contains(|char: char| char.is_control() && char != '\n'), "{told:?}");
    }
}

#[test]
fn rows_are_sorted_and_scrolled_by_keys() {
    let mut state = state();
    press(&mut state, KeyCode::Char('3'));
    let order = |state: &State| {
        let told = screen(state, 120, 24);
        let rows =
            told.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with("10.0.0.")));
        rows.map(|row| row.as_bytes()[7] - b'0').collect::<Vec<_>>()
    };
    assert_eq!(order(&state), [1, 2, 3], "as the proxy tells them");
    // By upstream, server, state, rate.
    for _ in 0..4 {
        press(&mut state, KeyCode::Char('s'));
    }
    assert_eq!(order(&state), [2, 3, 1], "the busiest first");
    assert!(screen(&state, 120, 24).contains("by REQ/S"));
    press(&mut state, KeyCode::Char('r'));
    assert_eq!(order(&state), [1, 3, 2]);
    press(&mut state, KeyCode::End);
    let told = screen(&state, 120, 6);
    assert!(told.contains("2 above, 0 below") && told.contains("10.0.0.2:80"), "{told}");
    assert_eq!(press(&mut state, KeyCode::Char('x')), Flow::Same);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Flow::Quit);
}

#[test]
fn a_proxy_that_is_out_of_reach_is_said_to_be() {
    let mut state = state();
    state.take(Message::Lost("the admin interface at 127.0.0.1:9900: refused".to_owned()));
    let told = screen(&state, 80, 24);
    assert!(told.contains(": out of reach\n") && told.contains("\nthe admin interface at"), "{told}");
    let mut event = event();
    event["reasons"] = json!(["upstream app: no server is up", "draining"]);
    state.take(Message::Event(event));
    assert!(screen(&state, 80, 24).contains("\nupstream app: no server is up (and 1 more)\n"));
}
