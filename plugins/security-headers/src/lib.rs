//! The `security-headers` policy: sets the fields by which browsers protect a site, and removes those that tell too much.

mod fields;
mod value;

use tidegate_plugin_sdk::crypto;
use tidegate_plugin_sdk::http::{is_owned_by_proxy, is_token};
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};

use crate::fields::{FIELDS, HSTS, Preset, Set, Settings};
use crate::value::nonce_of;

/// What responses carry. Rules change it for some of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// What is set and removed unless other keys say otherwise: `"web"` for pages, `"api"` for answers that no
    /// browser shows, `"none"` for nothing.
    #[serde(default)]
    preset: Preset,
    /// Values in place of those of the preset; `false` = not set by this policy.
    #[serde(default)]
    set: Set,
    /// Fields to remove, beside those of the preset.
    #[serde(default)]
    remove: Vec<String>,
    /// `false` keeps what the server has set.
    #[serde(default = "yes", rename = "override")]
    overrides: bool,
    /// The request field that tells the server the nonce, where a value has `{nonce}`.
    #[serde(default = "nonce_header")]
    nonce_header: String,
    /// What is different for some requests. Every rule that applies counts; of two that set the same, the later one.
    /// At most 64.
    #[serde(default)]
    rules: Vec<Rule<Change>>,
}

/// At least one key says what is then different.
#[derive(Debug, Deserialize, JsonSchema)]
struct Change {
    /// As `set` above.
    #[serde(default)]
    set: Set,
    /// Fields to remove as well.
    #[serde(default)]
    remove: Vec<String>,
    /// In place of `override` above.
    #[serde(rename = "override")]
    overrides: Option<bool>,
}

fn yes() -> bool {
    true
}

fn nonce_header() -> String {
    "x-csp-nonce".to_owned()
}

/// Which rules apply is remembered as bits of the exchange's token.
const MAX_RULES: usize = 64;

/// Under which the nonce waits for the response.
const NONCE: &str = "nonce";

struct SecurityHeaders {
    settings: Settings,
    remove: Vec<String>,
    overrides: bool,
    /// `None` = no value has a nonce.
    nonce_header: Option<String>,
    rules: Rules<Changed>,
}

struct Changed {
    settings: Settings,
    remove: Vec<String>,
    overrides: Option<bool>,
}

#[policy]
impl Policy for SecurityHeaders {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if config.rules.len() > MAX_RULES {
            let count = config.rules.len();
            return Err(Error::at("rules", format!("{count} rules; at most {MAX_RULES} can be remembered")));
        }
        let settings =
            config.preset.settings().with(config.set.checked().map_err(|error| error.within("set"))?);
        let mut remove: Vec<String> = config.preset.removed().iter().map(|&name| name.to_owned()).collect();
        remove.extend(checked_names(config.remove)?);
        let rules = Rules::build("rules", config.rules, Changed::new)?;
        let conditions = rules.conditions().count();
        let has_nonce = settings.has_nonce() || (0..conditions).any(|rule| rules[rule].settings.has_nonce());
        if !is_token(&config.nonce_header) || is_owned_by_proxy(&config.nonce_header) {
            let reason = format!("`{}` is no name for a field of our own", config.nonce_header);
            return Err(Error::at("nonce-header", reason));
        }
        // A nonce is chance; all else follows from the request.
        if !has_nonce {
            activation::pure();
        }
        let nonce_header = has_nonce.then_some(config.nonce_header);
        Ok(Self { settings, remove, overrides: config.overrides, nonce_header, rules })
    }

    /// All rules are asked here: what policies further down the chain make of the request does not matter.
    fn on_request(&self, request: &Request) -> Verdict {
        let bits = self.rules.matching(request).fold(0, |bits, (rule, _)| bits | 1 << rule);
        if bits != 0 {
            request.set_token(bits);
        }
        let Some(header) = &self.nonce_header else {
            return Verdict::Next;
        };
        // A client that chose the nonce could run scripts with it.
        let told = if self.effective(bits).iter().any(|setting| setting.has_nonce()) {
            let nonce = nonce_of(&crypto::random_bytes(16));
            request.set_note(NONCE, &nonce).and_then(|()| request.set_header(header, &nonce))
        } else {
            request.remove_header(header).map(drop)
        };
        match told {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("`{header}` was refused: {error}");
                Verdict::Fail
            }
        }
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        match self.apply(request, response) {
            Ok(()) => Verdict::Next,
            Err((name, error)) => {
                log::error!("the edit of `{name}` was refused: {error}");
                Verdict::Fail
            }
        }
    }
}

impl SecurityHeaders {
    fn apply<'a>(&'a self, request: &Request, response: &Response) -> Result<(), (&'a str, EditError)> {
        let bits = request.token();
        let overrides =
            self.applying(bits).filter_map(|rule| rule.overrides).last().unwrap_or(self.overrides);
        for name in self.remove.iter().chain(self.applying(bits).flat_map(|rule| &rule.remove)) {
            response.remove_header(name).map_err(|error| (&**name, error))?;
        }
        // RFC 9111 §3.2: what a 304 carries takes the place of what was stored with the page, and the page in store has
        // the nonce of its own day.
        let nonce = self.nonce_header.as_ref().filter(|_| response.status() != 304);
        let nonce = nonce.and_then(|_| request.note(NONCE));
        let nonce = nonce.and_then(|nonce| String::from_utf8(nonce).ok());
        for (field, setting) in FIELDS.iter().zip(self.effective(bits)) {
            let Some(value) = setting.value() else { continue };
            if !overrides && response.header_count(field) > 0 {
                continue;
            }
            // RFC 6797 §7.2: not in clear text.
            let is_fit = *field != HSTS || request.scheme() == "https";
            let edit = match value.filled(nonce.as_deref()).filter(|_| is_fit) {
                Some(value) => response.set_header(field, value),
                None => response.remove_header(field).map(drop),
            };
            edit.map_err(|error| (*field, error))?;
        }
        Ok(())
    }

    fn applying(&self, bits: u64) -> impl Iterator<Item = &Changed> {
        (0..MAX_RULES).filter(move |rule| bits & 1 << rule != 0).map(|rule| &self.rules[rule])
    }

    fn effective(&self, bits: u64) -> Vec<&fields::Setting> {
        let mut settings: Vec<_> = self.settings.iter().collect();
        for rule in self.applying(bits) {
            for (setting, changed) in settings.iter_mut().zip(rule.settings.iter()) {
                if changed.is_given() {
                    *setting = changed;
                }
            }
        }
        settings
    }
}

impl Changed {
    fn new(Change { set, remove, overrides }: Change) -> Result<Self, Error> {
        let settings = set.checked().map_err(|error| error.within("set"))?;
        if settings.iter().all(|setting| !setting.is_given()) && remove.is_empty() && overrides.is_none() {
            return Err("changes nothing: say what with `set`, `remove` or `override`".into());
        }
        Ok(Self { settings, remove: checked_names(remove)?, overrides })
    }
}

fn checked_names(names: Vec<String>) -> Result<Vec<String>, Error> {
    for (index, name) in names.iter().enumerate() {
        let reason = if !is_token(name) {
            format!("`{name}` is not a field name")
        } else if is_owned_by_proxy(name) {
            format!("`{name}` belongs to the proxy")
        } else {
            continue;
        };
        return Err(Error::at(format!("remove[{index}]"), reason));
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
