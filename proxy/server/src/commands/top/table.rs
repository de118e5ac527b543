//! Rows and columns: sorted, and as many columns as there is room for.

use std::cmp::Ordering;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{self, Row, Widget as _};

use super::state::Order;
use crate::commands::words::clean;

/// From so many columns of the terminal on, all of a table are shown.
const WIDE: u16 = 110;

pub(super) struct Column {
    pub(super) title: &'static str,
    /// Characters it needs.
    pub(super) width: u16,
    pub(super) form: Form,
    /// Shown where there is room.
    pub(super) is_extra: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// On the right of its column; the greatest first when it is sorted.
    Number,
    Text,
    /// Text that takes the room that is left.
    Long,
}

pub(super) const fn column(title: &'static str, width: u16, form: Form) -> Column {
    Column { title, width, form, is_extra: false }
}

pub(super) const fn extra(title: &'static str, width: u16, form: Form) -> Column {
    Column { title, width, form, is_extra: true }
}

pub(super) struct Cell {
    text: String,
    /// What numbers are sorted by.
    number: f64,
    mood: Mood,
}

/// How it stands with what a cell tells; the words say so too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Plain,
    Good,
    Warn,
    Bad,
}

impl Mood {
    pub(super) fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => Style::new().fg(Color::Green),
            Self::Warn => Style::new().fg(Color::Yellow),
            Self::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self::with(text, Mood::Plain)
    }

    pub(super) fn with(text: &str, mood: Mood) -> Self {
        Self { text: clean(text), number: 0.0, mood }
    }

    /// A number and how it is written.
    pub(super) fn number(number: f64, text: String) -> Self {
        Self { text, number, mood: Mood::Plain }
    }
}

pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Cell>>,
    /// Said in place of rows.
    pub(super) empty: &'static str,
}

impl Table {
    pub(super) fn sorted(mut self, order: Order) -> Self {
        if let Some(index) = order.column {
            match self.columns[index].form {
                Form::Number => self.rows.sort_by(|a, b| b[index].number.total_cmp(&a[index].number)),
                Form::Text | Form::Long => self.rows.sort_by(|a, b| by_text(&a[index], &b[index])),
            }
        }
        if order.is_reversed {
            self.rows.reverse();
        }
        self
    }

    pub(super) fn draw(self, above: usize, order: Order, area: Rect, buffer: &mut Buffer) {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|index| area.width >= WIDE || !self.columns[*index].is_extra)
            .collect();
        let title = |index: usize| {
            let Column { title, form, .. } = self.columns[index];
            let mark = if order.column == Some(index) { "*" } else { "" };
            aligned(form, format!("{title}{mark}"))
        };
        let head = Row::new(shown.iter().map(|index| title(*index)))
            .style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
        let widths = shown.iter().map(|index| match self.columns[*index] {
            Column { form: Form::Long, width, .. } => Constraint::Min(width),
            Column { width, .. } => Constraint::Length(width),
        });
        let widths: Vec<Constraint> = widths.collect();
        if self.rows.is_empty() {
            Line::styled(self.empty, Style::new().add_modifier(Modifier::DIM)).render(area, buffer);
            return;
        }
        let rows = self.rows.iter().skip(above).map(|row| {
            let cell = |index: &usize| {
                let cell = &row[*index];
                widgets::Cell::new(aligned(self.columns[*index].form, cell.text.clone()))
                    .style(cell.mood.style())
            };
            Row::new(shown.iter().map(cell))
        });
        widgets::Table::new(rows, widths).header(head).column_spacing(1).render(area, buffer);
    }
}

fn by_text(a: &Cell, b: &Cell) -> Ordering {
    a.text.cmp(&b.text)
}

fn aligned(form: Form, text: String) -> Line<'static> {
    match form {
        Form::Number => Line::from(text).right_aligned(),
        Form::Text | Form::Long => Line::from(text),
    }
}
