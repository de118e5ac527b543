//! A picture: the first figure of each row as a bar, cases one below the other. SVG without anything from elsewhere.

use super::{Figure, Row, by_case};

const WIDTH: f64 = 960.0;
/// Where bars begin and how long they may be; their values stand behind.
const LEFT: f64 = 360.0;
const LONGEST: f64 = 460.0;
const LINE: f64 = 22.0;
/// Of the proxy this is about, of what it is compared with, and of the others.
const COLOURS: [&str; 3] = ["#0b7285", "#495057", "#adb5bd"];

pub(super) fn of(rows: &[Row], profile: &str) -> String {
    let (mut drawn, mut y) = (String::new(), LINE * 1.5);
    drawn += &text(10.0, y, "bold", &format!("CPU time, memory and time by case ({profile} build)"));
    for rows in by_case(rows) {
        let (Some(figure), Some(case)) = (rows.first().and_then(|row| row.figures.first()), rows.first())
        else {
            continue;
        };
        y += LINE * 1.8;
        drawn += &text(10.0, y, "bold", &format!("{}: {}, {}", case.case, figure.what, figure.unit));
        let values = rows.iter().filter_map(|row| Some(row.figures.first()?.highest));
        let highest = values.fold(f64::MIN_POSITIVE, f64::max);
        for row in rows {
            let Some(figure) = row.figures.first() else { continue };
            y += LINE;
            let length = |value: f64| (value / highest * LONGEST).max(0.0);
            let colour = match row {
                row if row.is_baseline => COLOURS[1],
                row if row.proxy.starts_with("tidegate") => COLOURS[0],
                _ => COLOURS[2],
            };
            drawn += &text(10.0, y, "normal", &row.proxy);
            drawn += &format!(
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>\n",
                y - 12.0,
                length(figure.median)
            );
            // From the lowest to the highest of the rounds.
            drawn += &format!(
                "<line x1=\"{0:.1}\" x2=\"{1:.1}\" y1=\"{2:.1}\" y2=\"{2:.1}\" stroke=\"black\"/>\n",
                LEFT + length(figure.lowest),
                LEFT + length(figure.highest),
                y - 5.0,
            );
            let value = Figure::shown(figure.median);
            drawn += &text(LEFT + length(figure.highest) + 8.0, y, "normal", &value);
        }
    }
    let height = y + LINE;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{drawn}</svg>\n"
    )
}

fn text(x: f64, y: f64, weight: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" font-weight=\"{weight}\">{text}</text>\n")
}
