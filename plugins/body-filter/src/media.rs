//! `content-types`: the media types a rule is about (RFC 9110 §8.3.1).

use tidegate_plugin_sdk::prelude::*;

/// Compared on the host, so that nothing is copied.
#[derive(Debug)]
pub(crate) struct MediaTypes(Patterns);

impl MediaTypes {
    /// `type/subtype` and `type/*`. The error is one of `content-types`.
    pub(crate) fn new(types: &[String]) -> Result<Self, Error> {
        let regex = |(index, text): (usize, &String)| {
            regex(text).ok_or_else(|| {
                let reason = format!("`{text}` is neither a media type like `text/html` nor `text/*`");
                Error::at(format!("content-types[{index}]"), reason)
            })
        };
        let regexes: Vec<String> = types.iter().enumerate().map(regex).collect::<Result<_, _>>()?;
        Ok(Self(Patterns::ignore_case().regex(regexes).map_err(|error| error.within("content-types"))?))
    }

    pub(crate) fn has_request(&self, request: &Request) -> bool {
        self.0.matches_header(request, "content-type").is_some()
    }

    pub(crate) fn has_response(&self, response: &Response) -> bool {
        self.0.matches_response_header(response, "content-type").is_some()
    }
}

/// Of a field value with any parameters.
fn regex(text: &str) -> Option<String> {
    let (kind, subtype) = text.split_once('/')?;
    let is_name = |name: &str| {
        // RFC 6838 §4.2
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !name.is_empty() && name.bytes().all(plain)
    };
    let subtype = match subtype {
        "*" => "[^;]+".to_owned(),
        name if is_name(name) => escape(name),
        _ => return None,
    };
    is_name(kind).then(|| format!(r"^[ \t]*{}/{subtype}[ \t]*(;|$)", escape(kind)))
}

fn escape(name: &str) -> String {
    let special = |character: char| "$^.+".contains(character);
    name.chars()
        .flat_map(|character| special(character).then_some('\\').into_iter().chain([character]))
        .collect()
}
