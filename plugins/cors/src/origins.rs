//! Origins that are allowed: names, wildcards, regexes, or everyone.

use tidegate_plugin_sdk::prelude::*;

/// What is compared with the `origin` field.
#[derive(Debug)]
pub(crate) enum Origins {
    /// `*`
    Everyone,
    /// Each matches a whole origin.
    These(Patterns),
}

impl Origins {
    pub(crate) fn new(names: &[String], regexes: &[String], credentials: bool) -> Result<Self, Error> {
        if names.iter().any(|name| name == "*") {
            if credentials {
                let reason = "`*` with `allow-credentials` would let every page act for its visitors: list the origins";
                return Err(Error::at("allow-origins", reason));
            }
            if names.len() > 1 || !regexes.is_empty() {
                return Err(Error::at(
                    "allow-origins",
                    "`*` is everyone, so nothing else has an effect beside it",
                ));
            }
            return Ok(Self::Everyone);
        }
        if names.is_empty() && regexes.is_empty() {
            return Err(
                "neither `allow-origins` nor `allow-origin-regexes` says whose pages may use it".into()
            );
        }
        let mut all = Vec::with_capacity(names.len() + regexes.len());
        for (index, name) in names.iter().enumerate() {
            all.push(
                origin_regex(name).map_err(|reason| Error::at(format!("allow-origins[{index}]"), reason))?,
            );
        }
        // Alone first: one that closes a group it did not open would undo the anchors.
        Patterns::regex(regexes).map_err(|error| error.within("allow-origin-regexes"))?;
        all.extend(regexes.iter().map(|regex| format!("^(?:{regex})$")));
        Ok(Self::These(Patterns::regex(all).map_err(|error| error.within("allow-origin-regexes"))?))
    }

    pub(crate) fn is_everyone(&self) -> bool {
        matches!(self, Self::Everyone)
    }

    /// The value of `access-control-allow-origin`; `None` if the origin is not allowed, or if there is none or more
    /// than one.
    pub(crate) fn allowed(&self, request: &Request) -> Option<String> {
        match self {
            Self::Everyone => Some("*".to_owned()),
            Self::These(patterns) => {
                if request.header_count("origin") != 1 {
                    return None;
                }
                patterns.matches_header(request, "origin")?;
                request.header("origin")
            }
        }
    }
}

/// Of `scheme://host`, `scheme://*.host`, each with `:port` or `:*`.
fn origin_regex(text: &str) -> Result<String, String> {
    if text == "null" {
        return Err("`null` is what every sandboxed page and file says of itself".to_owned());
    }
    let example = "write `https://app.example.com`";
    let lower = text.to_ascii_lowercase();
    let Some((scheme, rest)) = lower.split_once("://") else {
        return Err(format!("`{text}` has no scheme; {example}"));
    };
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return Err(format!("`{text}` has no scheme; {example}"));
    }
    if rest.contains(['/', '?', '#', '@']) {
        return Err(format!("`{text}` has more than scheme, host and port; {example}"));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let (host, below) = match host.strip_prefix("*.") {
        Some(host) => (host, true),
        None => (host, false),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) || host.starts_with('.') || host.contains("..") {
        return Err(format!("`{text}` has no host, nor `*.` and a host; {example}"));
    }
    let port = match (scheme, port) {
        ("https", Some("443")) | ("http", Some("80")) => {
            return Err(format!(
                "`{text}`: browsers leave out the port that is meant anyway; so leave it out"
            ));
        }
        (_, Some("*")) => "(?::[0-9]{1,5})?".to_owned(),
        (_, Some(port)) => {
            if port.parse::<u16>().is_err() {
                return Err(format!("`{text}` has a port that is none"));
            }
            format!(":{port}")
        }
        (_, None) => String::new(),
    };
    let below = if below { r"(?:[a-z0-9_-]+\.)+" } else { "" };
    Ok(format!("^{}://{below}{}{port}$", escaped(scheme), escaped(host)))
}

fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|char| [Some('\\').filter(|_| ".[]+".contains(char)), Some(char)])
        .flatten()
        .collect()
}
