//! `tidegate top`: what the dashboard shows, in a terminal.
//!
//! `follow` asks the proxy, on a thread of its own, `state` is what is known and chosen, `rows` what the tables have, and
//! `view` draws all of it.

mod follow;
mod rows;
mod state;
mod table;
mod view;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use http::Method;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::state::{Flow, Message, State};
use super::block_on;
use super::remote::Remote;

/// Messages that may wait to be drawn; whoever has more waits.
const QUEUE: usize = 64;

pub(super) fn run(remote: &Remote) -> Result<ExitCode, String> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(
            "top draws on a terminal, and this is none: for scripts there is `tidegate status --json`"
                .to_owned(),
        );
    }
    let interface = remote.interface()?;
    // Whatever keeps it from being asked is said before anything is drawn.
    block_on(interface.ask(&Method::GET, "status", None))??;
    let mut state = State::new(interface.to_string());
    let (messages, come) = sync_channel(QUEUE);
    follow::start(interface, messages.clone()).map_err(|error| error.to_string())?;
    // It puts the terminal back when something panics.
    let mut terminal =
        ratatui::try_init().map_err(|error| format!("cannot draw on this terminal: {error}"))?;
    std::thread::spawn(move || read_keys(&messages));
    let drawn = draw(&mut terminal, &mut state, &come);
    ratatui::restore();
    drawn.map_err(|error| format!("cannot draw on this terminal: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Draws until somebody has seen enough.
fn draw(terminal: &mut DefaultTerminal, state: &mut State, come: &Receiver<Message>) -> io::Result<()> {
    loop {
        terminal.draw(|frame| view::draw(state, frame))?;
        loop {
            // Nobody is left to send one: not while the keyboard is read.
            let Ok(message) = come.recv() else { return Ok(()) };
            match state.take(message) {
                Flow::Same => {}
                Flow::Draw => break,
                Flow::Quit => return Ok(()),
            }
        }
    }
}

/// Ends with the process: nothing wakes who waits for a key.
fn read_keys(messages: &SyncSender<Message>) {
    loop {
        let message = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Message::Key(key),
            Ok(Event::Resize(..)) => Message::Resized,
            Ok(_) => continue,
            // The terminal is gone.
            Err(_) => Message::Stop,
        };
        if messages.send(message).is_err() {
            return;
        }
    }
}
