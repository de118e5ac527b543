//! The `client-certificate` policy: what the client's certificate says goes to servers, and who may pass with it.

mod allowed;
mod told;

use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};

use crate::allowed::{Allow, Allowed};
use crate::told::{Headers, Told};

/// What becomes of certificates that clients show.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Who needs a certificate. Asked in order; the first that applies counts. If none does, the request passes.
    #[serde(default)]
    rules: Vec<Rule<Demand>>,
    /// Whether servers get the certificate in `client-cert` (RFC 9440). What clients send under this name is removed
    /// in any case.
    #[serde(default = "yes")]
    client_cert: bool,
    /// Fields in which servers get single facts of it. What clients send under these names is removed.
    #[serde(default)]
    headers: Headers,
    /// Of the response to those who may not pass.
    #[serde(default = "forbidden")]
    #[schemars(range(min = 400, max = 599))]
    status: u16,
}

fn yes() -> bool {
    true
}

fn forbidden() -> u16 {
    403
}

/// A certificate is needed, unless `optional` is true; where something is allowed, one that fits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Demand {
    /// No certificate is needed.
    #[serde(default)]
    optional: bool,
    /// Globs, one of which matches a name in the certificate with its kind: `DNS:*.example.org`, `URI:spiffe://a/**`,
    /// `IP:10.0.0.1`.
    allow_names: Option<Vec<String>>,
    /// The whole subject as text (RFC 4514): `CN=alice,O=Example`.
    allow_subjects: Option<Vec<String>>,
    /// The SHA-256 of the certificate: 64 hexadecimal digits, with or without colons.
    allow_fingerprints: Option<Vec<String>>,
}

struct ClientCertificate {
    rules: Rules<Access>,
    told: Told,
    /// Values of `vary` that name `client-cert`; `None` = servers do not get it.
    vary: Option<Patterns>,
    status: u16,
}

enum Access {
    Optional,
    Needed(Option<Allowed>),
}

#[policy]
impl Policy for ClientCertificate {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if !(400..=599).contains(&config.status) {
            return Err(Error::at("status", format!("{} is not 400 to 599", config.status)));
        }
        let rules = Rules::build("rules", config.rules, Access::new)?;
        let told = Told::new(config.client_cert, config.headers).map_err(|error| error.within("headers"))?;
        let vary = r"(^|,)\s*client-cert\s*(,|$)";
        let vary = config.client_cert.then(|| Patterns::ignore_case().regex([vary])).transpose()?;
        activation::pure();
        Ok(Self { rules, told, vary, status: config.status })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        // On every request, whether or not a rule is about it: servers believe what stands in these fields.
        if let Err(error) = self.told.clear(request) {
            log::error!("what the client says of a certificate was not removed: {error}");
            return Verdict::Fail;
        }
        let verified = request.client_verified();
        if let Some((rule, Access::Needed(allowed))) = self.rules.first(request) {
            if !verified {
                return self.deny(request, rule, "a client certificate is needed\n");
            }
            if allowed.as_ref().is_some_and(|allowed| !allowed.admits(request)) {
                return self.deny(request, rule, "this client certificate is not for here\n");
            }
        }
        if verified && let Err(error) = self.told.tell(request) {
            log::error!("servers cannot be told of the certificate: {error}");
            return Verdict::Fail;
        }
        Verdict::Next
    }

    /// What depends on a field that the client does not send, the client cannot tell apart: it has to ask anew each
    /// time (RFC 9440 §2.4).
    fn on_response(&self, _: &Request, response: &Response) -> Verdict {
        let depends = |vary: &Patterns| vary.matches_response_header(response, "vary").is_some();
        if self.vary.as_ref().is_some_and(depends)
            && let Err(error) = response.set_header("vary", "*")
        {
            log::error!("`vary` was not replaced: {error}");
            return Verdict::Fail;
        }
        Verdict::Next
    }
}

impl ClientCertificate {
    fn deny(&self, request: &Request, rule: usize, why: &str) -> Verdict {
        log::debug!("rules[{rule}] denied {}: {}", request.client_ip_text(), why.trim_end());
        let mut reply = Reply::new(self.status);
        if self.status == 401 {
            // It has a challenge (RFC 9110 §15.5.2); no scheme is registered for certificates.
            reply = reply.header("www-authenticate", "ClientCertificate");
        }
        request.respond(reply.text(why))
    }
}

impl Access {
    fn new(demand: Demand) -> Result<Self, Error> {
        let Demand { optional, allow_names, allow_subjects, allow_fingerprints } = demand;
        let allowed = Allowed::new(Allow {
            names: allow_names,
            subjects: allow_subjects,
            fingerprints: allow_fingerprints,
        })?;
        match (optional, allowed) {
            (true, Some(_)) => {
                Err(Error::at("optional", "no certificate is needed, so what is allowed has no effect"))
            }
            (true, None) => Ok(Self::Optional),
            (false, allowed) => Ok(Self::Needed(allowed)),
        }
    }
}

#[cfg(test)]
mod tests;
