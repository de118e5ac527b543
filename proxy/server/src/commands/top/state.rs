//! What is known of the proxy, and what of it is looked at.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use super::rows;

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Traffic,
    Listeners,
    Servers,
    Policies,
    Failures,
    Reloads,
}

impl View {
    pub(super) const ALL: [Self; 6] =
        [Self::Traffic, Self::Listeners, Self::Servers, Self::Policies, Self::Failures, Self::Reloads];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Traffic => "Traffic",
            Self::Listeners => "Listeners",
            Self::Servers => "Servers",
            Self::Policies => "Policies",
            Self::Failures => "Failures",
            Self::Reloads => "Reloads",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }

    fn step(self, by: usize) -> Self {
        Self::ALL[(self.index() + by) % Self::ALL.len()]
    }
}

/// The order of the rows of a table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Order {
    /// `None`: as the proxy tells them.
    pub(super) column: Option<usize>,
    pub(super) is_reversed: bool,
}

/// What events do not tell.
pub(super) struct About {
    pub(super) status: Value,
    pub(super) history: Value,
    pub(super) reloads: Value,
}

pub(super) enum Message {
    Key(KeyEvent),
    Resized,
    Event(Value),
    About(About),
    /// The proxy is out of reach.
    Lost(String),
    /// Put the terminal back and end.
    Stop,
}

/// What follows a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Same,
    Draw,
    Quit,
}

pub(super) struct State {
    /// Where the interface is.
    pub(super) place: String,
    /// The last one; null before the first.
    pub(super) event: Value,
    pub(super) about: About,
    /// Why there is nothing newer.
    pub(super) lost: Option<String>,
    pub(super) view: View,
    orders: [Order; View::ALL.len()],
    /// Rows above the first one that is shown.
    pub(super) above: usize,
}

/// Rows that a page moves by.
const PAGE: usize = 10;

impl State {
    pub(super) fn new(place: String) -> Self {
        Self {
            place,
            event: Value::Null,
            about: About { status: Value::Null, history: Value::Null, reloads: Value::Null },
            lost: None,
            view: View::Traffic,
            orders: [Order::default(); View::ALL.len()],
            above: 0,
        }
    }

    pub(super) fn order(&self) -> Order {
        self.orders[self.view.index()]
    }

    pub(super) fn take(&mut self, message: Message) -> Flow {
        match message {
            Message::Key(key) => return self.press(key),
            Message::Resized => {}
            Message::Event(event) => (self.event, self.lost) = (event, None),
            Message::About(about) => self.about = about,
            Message::Lost(error) => self.lost = Some(error),
            Message::Stop => return Flow::Quit,
        }
        Flow::Draw
    }

    fn press(&mut self, key: KeyEvent) -> Flow {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        let last = rows::table(self).rows.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return Flow::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return Flow::Quit,
            KeyCode::Char(digit @ '1'..='6') => self.look_at(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.look_at(self.view.step(1)),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.look_at(self.view.step(View::ALL.len() - 1));
            }
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('r') => {
                let order = &mut self.orders[self.view.index()];
                order.is_reversed = !order.is_reversed;
            }
            KeyCode::Down | KeyCode::Char('j') => self.above = (self.above + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.above = self.above.saturating_sub(1),
            KeyCode::PageDown => self.above = (self.above + PAGE).min(last),
            KeyCode::PageUp => self.above = self.above.saturating_sub(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.above = 0,
            KeyCode::End | KeyCode::Char('G') => self.above = last,
            _ => return Flow::Same,
        }
        Flow::Draw
    }

    fn look_at(&mut self, view: View) {
        (self.view, self.above) = (view, 0);
    }

    fn sort_by_next(&mut self) {
        let columns = rows::table(self).columns.len();
        let order = &mut self.orders[self.view.index()];
        let next = order.column.map_or(0, |column| column + 1);
        *order = Order { column: (next < columns).then_some(next), is_reversed: false };
        self.above = 0;
    }
}
