//! What stands in a line of the access log.

use super::{Complaint, Form};
use crate::suggest;
use crate::{LinePiece, LogField};

/// The name of a value.
#[derive(Debug)]
pub(crate) struct LogFieldName(pub LogField);

impl Form for LogFieldName {
    const FORMAT: &'static str = "log-field";
    const EXAMPLE: &'static str = "time";
    const NAME: &'static str = "log field";
    const RULE: &'static str = "A key of [the access log](operations.md#the-access-log), or `header:` and the name of a field of the request, as in \
         `\"header:accept-language\"`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        field(text).map(Self)
    }

    fn print(&self) -> String {
        self.0.name()
    }
}

/// The form of a line.
#[derive(Debug)]
pub(crate) enum LineForm {
    Json,
    Combined,
    Text(String),
}

/// The combined log format of Apache httpd.
const COMBINED: &str = r#"{client} - - [{time_clf}] "{method} {target} {version}" {status} {bytes_out} "{referer}" "{user_agent}""#;

impl LineForm {
    /// The pieces of a line of text; `None`: it is JSON.
    pub(crate) fn pieces(&self) -> Option<Vec<LinePiece>> {
        let template = match self {
            Self::Json => return None,
            Self::Combined => COMBINED,
            Self::Text(template) => template,
        };
        // It was parsed before.
        pieces(template).ok()
    }
}

impl Form for LineForm {
    const FORMAT: &'static str = "line-format";
    const EXAMPLE: &'static str = "{client} {method} {target} {status}";
    const NAME: &'static str = "line format";
    const RULE: &'static str = "`\"json\"`; `\"combined\"`, the format of Apache httpd and nginx; or a text with names of values in braces, \
         as in `\"{client} {method} {target} {status}\"`, where `{{` is a brace";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text {
            "json" => Ok(Self::Json),
            "combined" => Ok(Self::Combined),
            text => {
                let pieces = pieces(text)?;
                if !pieces.iter().any(|piece| matches!(piece, LinePiece::Field(_))) {
                    return Err(Complaint::new(format!("{text:?} has no value in it")).help(
                        "write \"json\", \"combined\", or names of values in braces: \"{client} {target} {status}\"",
                    ));
                }
                if text.contains(['\n', '\r']) {
                    return Err(Complaint::new("a line has no line break").help("leave it out"));
                }
                Ok(Self::Text(text.to_owned()))
            }
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Json => "json".to_owned(),
            Self::Combined => "combined".to_owned(),
            Self::Text(text) => text.clone(),
        }
    }
}

fn pieces(template: &str) -> Result<Vec<LinePiece>, Complaint> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            text.push('{');
            rest = after;
            continue;
        }
        let Some((name, after)) = rest.split_once('}') else {
            return Err(Complaint::new(format!("{:?} has no end", format!("{{{rest}")))
                .help("write } behind the name, or {{ for a brace"));
        };
        if !text.is_empty() {
            pieces.push(LinePiece::Text(std::mem::take(&mut text)));
        }
        pieces.push(LinePiece::Field(field(name)?));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(LinePiece::Text(text));
    }
    Ok(pieces)
}

fn field(name: &str) -> Result<LogField, Complaint> {
    LogField::named(name).ok_or_else(|| {
        let complaint = Complaint::new(format!("a line has no value {name:?}"));
        match suggest::nearest(name, LogField::names()) {
            Some(meant) => complaint.help(format!("did you mean {meant:?}?")),
            None => {
                let names: Vec<_> = LogField::names().collect();
                complaint.help(format!("there are: {}, header:NAME", names.join(", ")))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_taken_apart() {
        let field = |field| LinePiece::Field(field);
        let text = |text: &str| LinePiece::Text(text.to_owned());
        for (template, expected) in [
            ("{status}", vec![field(LogField::Status)]),
            ("a {{b} {id}.", vec![text("a {b} "), field(LogField::Id), text(".")]),
            ("{header:X-Y}{time}", vec![field(LogField::Header("x-y".to_owned())), field(LogField::Time)]),
        ] {
            assert_eq!(LineForm::parse(template).expect(template).pieces(), Some(expected), "{template}");
        }
        assert_eq!(
            LineForm::parse("combined").expect("a name").pieces().map(|pieces| pieces.len()),
            Some(18)
        );
        for (template, says) in [
            ("{statu}", "a line has no value \"statu\""),
            ("plain", "\"plain\" has no value in it"),
            ("{status", "\"{status\" has no end"),
            ("{header:a b}", "a line has no value \"header:a b\""),
            ("{status}\n", "a line has no line break"),
        ] {
            assert_eq!(LineForm::parse(template).expect_err(template).message, says, "{template}");
        }
    }

    #[test]
    fn names_lead_to_values_and_back() {
        for name in LogField::names().chain(["header:x-a"]) {
            assert_eq!(LogField::named(name).map(|field| field.name()).as_deref(), Some(name));
        }
    }
}
