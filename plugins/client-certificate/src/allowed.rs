//! Which certificates may pass where not all of them may.

use std::collections::BTreeSet;

use tidegate_plugin_sdk::prelude::*;

/// As it is written.
pub(crate) struct Allow {
    pub(crate) names: Option<Vec<String>>,
    pub(crate) subjects: Option<Vec<String>>,
    pub(crate) fingerprints: Option<Vec<String>>,
}

/// A certificate that fits any of these.
#[derive(Debug)]
pub(crate) struct Allowed {
    names: Option<Patterns>,
    subjects: BTreeSet<String>,
    fingerprints: BTreeSet<Vec<u8>>,
}

impl Allowed {
    /// `None` = all of them.
    pub(crate) fn new(allow: Allow) -> Result<Option<Self>, Error> {
        let Allow { names, subjects, fingerprints } = allow;
        for (key, list) in
            [("allow-names", &names), ("allow-subjects", &subjects), ("allow-fingerprints", &fingerprints)]
        {
            if list.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
                return Err(Error::at(
                    key,
                    "the list is empty, or has an empty text; leave it out where any will do",
                ));
            }
        }
        if names.is_none() && subjects.is_none() && fingerprints.is_none() {
            return Ok(None);
        }
        let names = names.map(|globs| {
            let kinds = ["DNS:", "URI:", "IP:"];
            match globs.iter().position(|glob| !kinds.iter().any(|kind| glob.starts_with(kind))) {
                Some(index) => {
                    let reason = format!("`{}` does not begin with `DNS:`, `URI:` or `IP:`", globs[index]);
                    Err(Error::at(format!("[{index}]"), reason))
                }
                None => Patterns::glob(globs.into_iter().map(without_case)),
            }
        });
        let fingerprints = fingerprints.unwrap_or_default().into_iter().enumerate().map(|(index, text)| {
            fingerprint(&text).ok_or_else(|| {
                let reason = format!("`{text}` is not a SHA-256: 64 hexadecimal digits");
                Error::at(format!("allow-fingerprints[{index}]"), reason)
            })
        });
        Ok(Some(Self {
            names: names.transpose().map_err(|error| error.within("allow-names"))?,
            subjects: subjects.unwrap_or_default().into_iter().collect(),
            fingerprints: fingerprints.collect::<Result<_, _>>()?,
        }))
    }

    /// Of a certificate that was verified.
    pub(crate) fn admits(&self, request: &Request) -> bool {
        let by_fingerprint = || {
            let sha256 = request.client_certificate_sha256();
            sha256.is_some_and(|sha256| self.fingerprints.contains(&sha256))
        };
        let by_subject = || {
            let subject = request.client_certificate_subject();
            subject.is_some_and(|subject| self.subjects.contains(&subject))
        };
        let by_name = |globs: &Patterns| {
            let names = request.client_certificate_names();
            names.into_iter().any(|name| globs.matches(&without_case(name)).is_some())
        };
        !self.fingerprints.is_empty() && by_fingerprint()
            || !self.subjects.is_empty() && by_subject()
            || self.names.as_ref().is_some_and(by_name)
    }
}

/// Names of hosts have no case (RFC 4343), URIs have.
fn without_case(name: String) -> String {
    match name.strip_prefix("DNS:") {
        Some(host) => format!("DNS:{}", host.to_ascii_lowercase()),
        None => name,
    }
}

fn fingerprint(text: &str) -> Option<Vec<u8>> {
    let hex = text.replace(':', "");
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}
