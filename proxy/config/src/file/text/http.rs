//! Parts of an HTTP request.

use schemars::Schema;

use super::{Complaint, Form};

/// A glob over paths.
#[derive(Debug)]
pub(crate) struct PathPattern(pub String);

impl Form for PathPattern {
    const FORMAT: &'static str = "path-pattern";
    const EXAMPLE: &'static str = "/api/**";

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
