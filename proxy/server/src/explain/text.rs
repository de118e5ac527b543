//! What was kept of a request, in words.

use std::fmt::Write as _;

use tidegate_plugin_host::{Account, Seen};

use super::Recorded;

/// What a policy made of a request, and what it asked and did.
pub(crate) fn call(text: &mut String, account: &Account) {
    let Account { policy, phase, verdict, error, us, pure, remembered, seen } = account;
    let _ = write!(text, "\n{policy}  ");
    if !phase.is_empty() {
        let _ = write!(text, "{phase}: ");
    }
    text.push_str(verdict);
    if let Some(error) = error {
        let _ = write!(text, " ({error})");
    }
    let how = match (remembered, pure) {
        (true, _) => ", remembered",
        (false, true) => ", pure",
        (false, false) => "",
    };
    let _ = match phase.is_empty() {
        true => writeln!(text),
        false => writeln!(text, "  ({us} µs{how})"),
    };
    for Seen { what, answer } in seen {
        let _ = match answer {
            Some(answer) => writeln!(text, "    {what} -> {answer}"),
            None => writeln!(text, "    {what}"),
        };
    }
}

/// All of it.
pub(crate) fn of(recorded: &Recorded) -> String {
    let mut text = format!("{}\n", recorded.line());
    let Recorded { id, time, listener, client, .. } = recorded;
    let _ = writeln!(text, "   {time}, id {id}, listener {listener}, client {client}");
    for (name, values) in recorded.headers.iter().flatten() {
        for value in values {
            let _ = writeln!(text, "   {name}: {value}");
        }
    }
    recorded.explained.iter().for_each(|account| call(&mut text, account));
    let _ = write!(text, "\n=> {} after {} µs", recorded.status, recorded.duration_us);
    let told = [("to", &recorded.route), ("by", &recorded.server), ("failure", &recorded.failure)];
    for (what, value) in told {
        if let Some(value) = value {
            let _ = write!(text, ", {what} {value}");
        }
    }
    if let Some(cache) = &recorded.cache {
        let _ = write!(text, "\n   cache: {cache}");
        if let Some(reason) = &recorded.cache_reason {
            let _ = write!(text, " ({reason})");
        }
    }
    text.push('\n');
    // What clients send is not to speak to the terminal.
    text.replace(|character: char| character.is_control() && character != '\n', "\u{fffd}")
}
