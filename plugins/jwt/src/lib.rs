//! The `jwt` policy: lets requests pass that bear a valid JSON Web Token, and tells the server what it says.

mod algorithm;
mod bearer;
mod claims;
mod identity;
mod json;
mod jwk;
mod jwks;
mod jws;
mod keys;
mod refusal;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidegate_plugin_sdk::crypto::Algorithm;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};
use tidegate_plugin_sdk::units;

use crate::bearer::Places;
use crate::claims::{Demands, Texts, Validity, Wanted};
use crate::identity::{Identity, Untold};
use crate::jwks::Jwks;
use crate::jws::Jws;
use crate::keys::{KeySource, Keys};
use crate::refusal::Refusal;

/// Which tokens are valid, and what is told of them. `keys`, `jwks` or both say with what they are signed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// What tokens may be signed with: `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`,
    /// `HS256`, `HS384`, `HS512`. Never `none`.
    algorithms: Vec<String>,
    /// Keys that stand here or in secrets.
    #[serde(default)]
    keys: Vec<KeySource>,
    /// Where the issuer publishes its keys.
    jwks: Option<jwks::Source>,
    /// `iss` is this, or one of these. Without it, any and none.
    issuer: Option<Texts>,
    /// `aud` is or contains this, or one of these: the name of this service at the issuer. `"*"`: tokens for whatever
    /// service, and those without `aud`.
    audience: Texts,
    /// `typ` is one of these: `at+jwt` for access tokens (RFC 9068). Case and `application/` do not count. Without it, any.
    #[serde(default)]
    types: Vec<String>,
    /// How far clocks may differ, for `exp`, `nbf`, `iat` and `max-age`.
    #[serde(default = "a_minute")]
    leeway: units::Duration,
    /// How long after `iat` a token is valid, whatever `exp` says. Without it, `exp` alone counts.
    max_age: Option<units::Duration>,
    /// Whether a token needs `exp`.
    #[serde(default = "yes")]
    require_expiry: bool,
    /// Scopes that every token needs, all of them.
    #[serde(default)]
    scopes: Vec<String>,
    /// What claims of every token have to be, all of them: a value, a list of which one will do, or `"*"` for any. Of a claim
    /// that is a list, one value will do. A name that begins with `/` is a JSON pointer.
    #[serde(default)]
    claims: BTreeMap<String, Wanted>,
    /// What requests need; the first that applies counts. Those that none is about need a token.
    #[serde(default)]
    rules: Vec<Rule<Access>>,
    /// A cookie that may bear the token, beside the field `authorization`.
    cookie: Option<String>,
    /// A parameter of the query that may.
    query_parameter: Option<String>,
    /// Whether the token is taken out before the request goes on.
    #[serde(default)]
    strip: bool,
    /// Request fields made of claims: name of the field to name of the claim. What clients send in them is removed, also
    /// where no token is needed.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Attributes made of claims, for other policies and the access log.
    #[serde(default = "subject")]
    attributes: BTreeMap<String, String>,
    /// Told to clients without a valid token.
    #[serde(default = "tidegate")]
    realm: String,
}

fn a_minute() -> units::Duration {
    units::Duration::from_secs(60)
}

fn yes() -> bool {
    true
}

fn subject() -> BTreeMap<String, String> {
    [("sub".to_owned(), "sub".to_owned())].into()
}

fn tidegate() -> String {
    "tidegate".to_owned()
}

/// What these requests need.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Access {
    /// Whether they need a token.
    #[serde(default)]
    token: Need,
    /// Scopes that a token needs here, beside those of all rules.
    #[serde(default)]
    scopes: Vec<String>,
    /// What claims of a token have to be here, beside those of all rules.
    #[serde(default)]
    claims: BTreeMap<String, Wanted>,
}

/// Whether a request needs a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Need {
    /// A valid one.
    #[default]
    Required,
    /// It passes without one. One that is not valid is refused.
    Optional,
    /// It passes, and what token it may bear is not looked at.
    Ignored,
}

struct Jwt {
    algorithms: Vec<Algorithm>,
    keys: Keys,
    jwks: Option<Jwks>,
    validity: Validity,
    demands: Demands,
    rules: Rules<(Need, Demands)>,
    places: Places,
    strip: bool,
    identity: Identity,
    realm: String,
}

#[policy]
impl Policy for Jwt {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let algorithms = algorithm::list(&config.algorithms)?;
        let keys = Keys::new(config.keys)?;
        let jwks = config.jwks.map(Jwks::new).transpose().map_err(|error| error.within("jwks"))?;
        check_keys(&algorithms, &keys, jwks.is_some())?;
        for (key, name) in [("cookie", &config.cookie), ("query-parameter", &config.query_parameter)] {
            if name.as_ref().is_some_and(String::is_empty) {
                return Err(Error::at(key, "has no name; leave it out if there is none"));
            }
        }
        if config.realm.bytes().any(|byte| !(b' '..=b'~').contains(&byte) || matches!(byte, b'"' | b'\\')) {
            let reason = format!("{:?} is more than visible ASCII without quotation marks", config.realm);
            return Err(Error::at("realm", reason));
        }
        let rules = Rules::build("rules", config.rules, |access| {
            let demands = Demands::new(access.scopes, access.claims)?;
            if access.token == Need::Ignored && !demands.is_empty() {
                return Err(Error::at("token", "is ignored, so `scopes` and `claims` have no effect"));
            }
            Ok((access.token, demands))
        })?;
        Ok(Self {
            algorithms,
            keys,
            jwks,
            validity: Validity {
                issuers: some("issuer", config.issuer.map(Texts::into_list))?.unwrap_or_default(),
                audiences: audiences(config.audience)?,
                kinds: config
                    .types
                    .iter()
                    .map(|kind| kind.to_ascii_lowercase())
                    .map(without_prefix)
                    .collect(),
                leeway: config.leeway.get(),
                max_age: config.max_age.map(units::Duration::get),
                needs_expiry: config.require_expiry,
            },
            demands: Demands::new(config.scopes, config.claims)?,
            rules,
            places: Places { cookie: config.cookie, query: config.query_parameter },
            strip: config.strip,
            identity: Identity::new(config.headers, config.attributes)?,
            realm: config.realm,
        })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        match self.decide(request) {
            Ok(claims) => self.pass(request, claims),
            Err(refusal) => {
                log::debug!("refused {}: {}", request.client_ip_text(), refusal.why());
                request.respond(refusal.reply(&self.realm))
            }
        }
    }

    fn on_timer(&self) -> Result<(), String> {
        self.jwks.as_ref().map_or(Ok(()), Jwks::refresh)
    }
}

impl Jwt {
    /// The claims of the request's token; `None` if it passes without one.
    fn decide(&self, request: &Request) -> Result<Option<Map<String, Value>>, Refusal> {
        let rule = self.rules.first(request).map(|(_, rule)| rule);
        let need = rule.map_or(Need::Required, |(need, _)| *need);
        if need == Need::Ignored {
            return Ok(None);
        }
        let Some(token) = self.places.token(request)? else {
            return if need == Need::Optional { Ok(None) } else { Err(Refusal::Missing) };
        };
        let claims = self.valid(&token)?;
        self.demands.check(&claims)?;
        if let Some((_, demands)) = rule {
            demands.check(&claims)?;
        }
        Ok(Some(claims))
    }

    /// The claims of a token that somebody we know has signed and that is valid now.
    fn valid(&self, token: &str) -> Result<Map<String, Value>, Refusal> {
        let jws = Jws::parse(token, &self.algorithms)?;
        self.validity.check_kind(jws.kind.as_deref())?;
        match &self.jwks {
            _ if self.keys.verify(&jws) => {}
            Some(jwks) => jwks.verify(&jws)?,
            None => return Err(Refusal::Token("no key that is known has signed the token")),
        }
        let claims = jws.claims()?;
        self.validity.check(&claims, environment::wall_clock())?;
        Ok(claims)
    }

    fn pass(&self, request: &Request, claims: Option<Map<String, Value>>) -> Verdict {
        let told = match &claims {
            Some(claims) => self.identity.tell(request, claims),
            None => self.identity.clear(request),
        };
        let stripped = match claims {
            Some(_) if self.strip => self.places.strip(request),
            _ => Ok(()),
        };
        match (told, stripped) {
            (Ok(()), Ok(())) => Verdict::Next,
            (Err(Untold::Unfit(name)), _) => {
                log::warn!("refused: the claim for `{name}` is no value of a field");
                request.respond(Refusal::Token("a claim cannot be passed on").reply(&self.realm))
            }
            (Err(Untold::Refused(name, error)), _) => {
                log::error!("`{name}` was refused: {error}");
                Verdict::Fail
            }
            (_, Err(error)) => {
                log::error!("the token could not be taken out: {error}");
                Verdict::Fail
            }
        }
    }
}

/// Algorithms that no key is for are a mistake, or a key is.
fn check_keys(algorithms: &[Algorithm], keys: &Keys, has_jwks: bool) -> Result<(), Error> {
    if keys.is_empty() && !has_jwks {
        return Err("neither `keys` nor `jwks` says what tokens are signed with".into());
    }
    for (index, algorithm) in algorithms.iter().enumerate() {
        let at = |reason: &str| Err(Error::at(format!("algorithms[{index}]"), reason));
        match algorithm::is_symmetric(*algorithm) {
            true if !keys.has(true) => {
                return at("needs an HMAC key in `keys`: `{ secret = \"…\", format = \"raw\" }`");
            }
            false if !keys.has(false) && !has_jwks => return at("needs a public key in `keys`, or `jwks`"),
            _ => {}
        }
    }
    Ok(())
}

fn audiences(audience: Texts) -> Result<Option<Vec<String>>, Error> {
    let audiences = some("audience", Some(audience.into_list()))?.unwrap_or_default();
    match audiences.iter().any(|audience| audience == "*") {
        true if audiences.len() > 1 => Err(Error::at("audience", "`*` is any, so the others have no effect")),
        true => Ok(None),
        false => Ok(Some(audiences)),
    }
}

fn some(key: &str, list: Option<Vec<String>>) -> Result<Option<Vec<String>>, Error> {
    match &list {
        Some(texts) if texts.is_empty() || texts.iter().any(String::is_empty) => {
            Err(Error::at(key, "is empty, or has an empty text: no token would fit"))
        }
        _ => Ok(list),
    }
}

fn without_prefix(kind: String) -> String {
    kind.strip_prefix("application/").map_or(kind.clone(), str::to_owned)
}

#[cfg(test)]
mod tests;
