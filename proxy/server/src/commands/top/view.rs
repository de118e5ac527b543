//! Draws what is known: a pure function of the state and the room there is.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Sparkline, Widget as _};

use super::rows::{self, list, real};
use super::state::{State, View};
use super::table::Mood;
use crate::commands::words::{clean, duration, short, span};

/// Lines of a chart, its title among them; they are left out where there are few lines.
const CHART: u16 = 6;
const FEW_LINES: u16 = 18;
/// Points of the last hour.
const POINTS: usize = 360;

pub(super) fn draw(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let trouble = trouble(state);
    let is_traffic = state.view == View::Traffic;
    let charts = if is_traffic && area.height >= FEW_LINES { CHART } else { 0 };
    let [top, tabs, said, tiles, charts, table, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(if is_traffic { 3 } else { 0 }),
        Constraint::Length(charts),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    title(state).render(top, buffer);
    self::tabs(state.view).render(tabs, buffer);
    if let Some(trouble) = trouble {
        Line::styled(trouble, Mood::Bad.style()).render(said, buffer);
    }
    if is_traffic {
        self::tiles(state, tiles, buffer);
        self::charts(state, charts, buffer);
    }
    let content = rows::table(state);
    let order = state.order();
    let mut help = "q quit  Tab view  s sort  r reverse  ↑↓ scroll".to_owned();
    if let Some(column) = order.column {
        help.push_str(&format!("   by {}", content.columns[column].title));
    }
    if order.is_reversed {
        help.push_str("   reversed");
    }
    // Rows above the last ones are of no use to anybody.
    let room = usize::from(table.height.saturating_sub(1));
    let above = state.above.min(content.rows.len().saturating_sub(room));
    let below = content.rows.len().saturating_sub(above + room);
    if above + below > 0 {
        help.push_str(&format!("   {above} above, {below} below"));
    }
    content.draw(above, order, table, buffer);
    Line::styled(help, Style::new().add_modifier(Modifier::DIM)).render(keys, buffer);
}

/// Which proxy it is, and how it fares in a word.
fn title(state: &State) -> Line<'static> {
    let status = &state.about.status;
    let mut spans = vec![Span::styled("tidegate", Style::new().add_modifier(Modifier::BOLD))];
    if let Some(version) = status["version"].as_str() {
        let up = span(real(&status["uptime-s"]));
        let generation = status["generation"].as_u64().map_or("-".to_owned(), |number| number.to_string());
        spans.push(Span::raw(format!(" {}, generation {generation}, up {up}", clean(version))));
    }
    spans.push(Span::raw(format!(" at {}: ", clean(&state.place))));
    let (word, mood) = match &state.event {
        _ if state.lost.is_some() => ("out of reach", Mood::Bad),
        event if event.is_null() => ("connecting", Mood::Warn),
        event if event["draining"] == true => ("draining", Mood::Warn),
        event if !list(&event["reasons"]).is_empty() => ("not ready", Mood::Bad),
        _ => ("ready", Mood::Good),
    };
    spans.push(Span::styled(word, mood.style()));
    Line::from(spans)
}

fn tabs(chosen: View) -> Line<'static> {
    let tab = |view: View| {
        let style = match view == chosen {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        [Span::styled(format!(" {} {} ", view.index() + 1, view.title()), style), Span::raw(" ")]
    };
    Line::from(View::ALL.into_iter().flat_map(tab).collect::<Vec<_>>())
}

/// What somebody has to do something about.
fn trouble(state: &State) -> Option<String> {
    if let Some(lost) = &state.lost {
        return Some(clean(lost));
    }
    let reasons = list(&state.event["reasons"]);
    let first = clean(reasons.first()?.as_str()?);
    Some(match reasons.len() {
        1 => first,
        count => format!("{first} (and {} more)", count - 1),
    })
}

fn tiles(state: &State, area: Rect, buffer: &mut Buffer) {
    let event = &state.event;
    let figure = |key: &str| event[key].as_f64().map_or("-".to_owned(), short);
    let time = |key: &str| event[key].as_f64().map_or("-".to_owned(), duration);
    let bytes = |key: &str| event[key].as_f64().map_or("-".to_owned(), |rate| format!("{}B/s", short(rate)));
    let tiles = [
        ("REQ/S", figure("rate")),
        ("5XX/S", figure("errors")),
        ("P50", time("p50-us")),
        ("P99", time("p99-us")),
        ("IN FLIGHT", figure("in-flight")),
        ("CONNECTED", figure("connections")),
        ("SENT", bytes("sent")),
        ("RECEIVED", bytes("received")),
    ];
    let places = Layout::horizontal([Constraint::Ratio(1, 8); 8]).split(area);
    for ((title, value), place) in tiles.into_iter().zip(places.iter()) {
        let [above, below] = Layout::vertical([Constraint::Length(1); 2]).areas(*place);
        Line::styled(title, Style::new().add_modifier(Modifier::DIM)).render(above, buffer);
        Line::styled(value, Style::new().add_modifier(Modifier::BOLD)).render(below, buffer);
    }
}

fn charts(state: &State, area: Rect, buffer: &mut Buffer) {
    let [left, right] = Layout::horizontal([Constraint::Ratio(1, 2); 2]).spacing(2).areas(area);
    let rate = |top| format!("requests/s in the last hour, at most {}", short(top));
    chart(state, "rate", rate, Color::Cyan, left, buffer);
    let p99 = |top| format!("p99 in the last hour, at most {}", duration(top));
    chart(state, "p99-us", p99, Color::Magenta, right, buffer);
}

fn chart(
    state: &State,
    key: &str,
    title: impl Fn(f64) -> String,
    color: Color,
    area: Rect,
    buffer: &mut Buffer,
) {
    let points: Vec<f64> =
        list(&state.about.history["points"]).iter().map(|point| real(&point[key])).collect();
    let top = points.iter().copied().fold(0.0, f64::max);
    Sparkline::default()
        .block(Block::new().borders(Borders::BOTTOM).title(title(top)))
        .style(Style::new().fg(color))
        .data(in_columns(&points, area.width.into()))
        .render(area, buffer);
}

/// The greatest of the points that fall into each column: the hour from left to right, the latest at the right end.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bars of a few lines")]
fn in_columns(points: &[f64], columns: usize) -> Vec<u64> {
    let missing = POINTS.saturating_sub(points.len());
    let column = |column: usize| {
        let edge = |column: usize| (column * POINTS / columns).saturating_sub(missing).min(points.len());
        let greatest = points[edge(column)..edge(column + 1)].iter().copied().fold(0.0, f64::max);
        (greatest * 10.0).round() as u64
    };
    (0..columns).map(column).collect()
}
