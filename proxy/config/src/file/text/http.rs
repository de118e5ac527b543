//! Parts of HTTP messages.

use std::ops::RangeInclusive;

use schemars::Schema;

use super::{Complaint, Form};

/// A glob over paths.
#[derive(Debug)]
pub(crate) struct PathPattern(pub String);

impl Form for PathPattern {
    const FORMAT: &'static str = "path-pattern";
    const EXAMPLE: &'static str = "/api/**";
    const NAME: &'static str = "glob";
    const RULE: &'static str = "A pattern for a whole path, which begins with `/` or `*`: `*` stands for characters within a \
         segment, `**` across segments, `?` for one character other than `/`. `/api/**` matches `/api` too";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if !text.starts_with(['/', '*']) {
            let complaint = Complaint::new(format!("{text:?} does not start with \"/\" or \"*\""));
            return Err(complaint.help(format!("write {:?}", format!("/{text}"))));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[/*]".into());
    }
}

/// A method: a token (RFC 9110 §9.1 and §5.6.2), in which case matters.
#[derive(Debug)]
pub(crate) struct Method(pub String);

impl Form for Method {
    const FORMAT: &'static str = "http-method";
    const EXAMPLE: &'static str = "GET";
    const NAME: &'static str = "method";
    const RULE: &'static str = "The name of a method (RFC 9110 §9.1). Case matters";

    fn parse(text: &str) -> Result<Self, Complaint> {
        const KNOWN: [&str; 9] =
            ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if text.is_empty() || !text.chars().all(token) {
            return Err(Complaint::new(format!("{text:?} is not a method")).help("write it as in \"GET\""));
        }
        match KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(text)) {
            Some(known) if known != text => {
                Err(Complaint::new(format!("{text:?} is not a method, as their case matters"))
                    .help(format!("did you mean {known:?}?")))
            }
            _ => Ok(Self(text.to_owned())),
        }
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[0-9A-Za-z!#$%&'*+.^_`|~-]+$".into());
    }
}

/// A request target in origin form (RFC 9112 §3.2.1): a path, with or without a query.
#[derive(Debug)]
pub(crate) struct RequestTarget(pub String);

impl Form for RequestTarget {
    const FORMAT: &'static str = "request-target";
    const EXAMPLE: &'static str = "/healthz";
    const NAME: &'static str = "request target";
    const RULE: &'static str = "A path, with or without a query (RFC 9112 §3.2.1)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Some((_, rest)) = text.split_once("://") {
            let path = rest.find('/').map_or("/", |at| &rest[at..]);
            return Err(Complaint::new(format!("{text:?} is a URL")).help(format!("write {path:?}")));
        }
        if !text.starts_with('/') {
            return Err(Complaint::new(format!("{text:?} does not start with \"/\""))
                .help(format!("write {:?}", format!("/{text}"))));
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            return Err(Complaint::new(format!("{text:?} contains {odd:?}, which no path may contain"))
                .help("write it percent-encoded, as in \"/a%20b\""));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^/".into());
    }
}

/// A status code or a range of them (RFC 9110 §15).
#[derive(Debug)]
pub(crate) struct StatusCodes(pub RangeInclusive<u16>);

impl Form for StatusCodes {
    const FORMAT: &'static str = "status-codes";
    const EXAMPLE: &'static str = "200-299";
    const NAME: &'static str = "status range";
    const RULE: &'static str = "A status code from 100 to 599, or a range of them (RFC 9110 §15)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let code = |text: &str| {
            let digits = text.len() == 3 && text.chars().all(|c| c.is_ascii_digit());
            text.parse::<u16>().ok().filter(|code| digits && (100..=599).contains(code))
        };
        match (code(from), code(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self(from..=to)),
            (Some(from), Some(to)) => {
                Err(Complaint::new(format!("{text:?} is empty")).help(format!("write \"{to}-{from}\"")))
            }
            _ => Err(Complaint::new(format!("{text:?} is not a status code and not a range of them"))
                .help("codes go from 100 to 599; write it as in \"200\" or \"200-299\"")),
        }
    }

    fn print(&self) -> String {
        match (self.0.start(), self.0.end()) {
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from}-{to}"),
        }
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$".into());
    }
}

/// The name of a character encoding (RFC 9110 §8.3.2).
#[derive(Debug, PartialEq)]
pub(crate) struct Charset(pub String);

impl Form for Charset {
    const FORMAT: &'static str = "charset";
    const EXAMPLE: &'static str = "utf-8";
    const NAME: &'static str = "charset";
    const RULE: &'static str = "The name of a character encoding (RFC 9110 §8.3.2), or `\"none\"`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.:+".contains(c);
        if text.is_empty() || !text.chars().all(known) {
            return Err(Complaint::new(format!("{text:?} is not the name of a charset"))
                .help("write it as in \"utf-8\", or \"none\" to leave it unsaid"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// The name of a field, kept in lower case (RFC 9110 §5.1).
#[derive(Debug, PartialEq)]
pub(crate) struct FieldName(pub String);

impl Form for FieldName {
    const FORMAT: &'static str = "field-name";
    const EXAMPLE: &'static str = "X-Client-Verified";
    const NAME: &'static str = "field name";
    const RULE: &'static str = "The name of a field (RFC 9110 §5.1), in any case";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if text.is_empty() || !text.chars().all(token) {
            return Err(Complaint::new(format!("{text:?} is not the name of a field"))
                .help("write letters, digits and hyphens, as in \"X-Client-Verified\""));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// The value of a field, as far as there is no need for more: visible ASCII and spaces (RFC 9110 §5.5).
#[derive(Debug)]
pub(crate) struct FieldValue(pub String);

impl Form for FieldValue {
    const FORMAT: &'static str = "field-value";
    const EXAMPLE: &'static str = "no-cache";
    const NAME: &'static str = "field value";
    const RULE: &'static str = "Visible ASCII characters, with spaces only between them (RFC 9110 §5.5)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() {
            return Err(Complaint::new("the value of a field must not be empty"));
        }
        let allowed = |c: char| c.is_ascii_graphic() || c == ' ';
        if text.starts_with(' ') || text.ends_with(' ') || !text.chars().all(allowed) {
            return Err(Complaint::new(format!("{text:?} is not the value of a field"))
                .help("write visible ASCII characters, with spaces only between them"));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// A media type without parameters (RFC 9110 §8.3.1), or several: `*` stands for the subtype, or for
/// what is before its suffix. Kept in lower case.
#[derive(Debug)]
pub(crate) struct MediaRange(pub String);

impl Form for MediaRange {
    const FORMAT: &'static str = "media-range";
    const EXAMPLE: &'static str = "text/*";
    const NAME: &'static str = "media range";
    const RULE: &'static str = "A media type without parameters; `*` stands for the subtype, or for what is before its suffix, as \
         in `\"application/*+json\"`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let help = "write it as in \"text/html\", \"text/*\" or \"application/*+json\"";
        if let Some((media_type, _)) = text.split_once(';') {
            let complaint = Complaint::new(format!("{text:?} has parameters, which are not looked at"));
            return Err(complaint.help(format!("write {:?}", media_type.trim_end())));
        }
        let token = |text: &str| {
            let odd = |c: char| !c.is_ascii_alphanumeric() && !"!#$&^_.+-".contains(c);
            !text.is_empty() && !text.contains(odd)
        };
        let is_range = text.split_once('/').is_some_and(|(kind, subtype)| {
            let subtype = match subtype.strip_prefix('*') {
                Some("") => return token(kind),
                Some(suffix) if suffix.starts_with('+') => suffix,
                Some(_) => return false,
                None => subtype,
            };
            token(kind) && token(subtype)
        });
        if !is_range {
            return Err(
                Complaint::new(format!("{text:?} is not a media type and not a range of them")).help(help)
            );
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[^/;*]+/([^/;*]+|[*]([+][^/;*]+)?)$".into());
    }
}
