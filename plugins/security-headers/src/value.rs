//! Values of the fields: checked, and with a nonce where they ask for one.

/// What stands for a number used once.
const PLACE: &str = "{nonce}";

/// A value, cut where the nonce stands.
#[derive(Debug)]
pub(crate) struct Value(Vec<String>);

impl Value {
    /// Errors say what is wrong with the text.
    pub(crate) fn new(field: &str, text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty; write `false` for a field that is not set".to_owned());
        }
        if text.trim() != text || text.chars().any(|char| !char.is_ascii() || char.is_ascii_control()) {
            return Err(format!(
                "{text:?} is not a field value: visible ASCII and blanks within, on one line"
            ));
        }
        let one_of = |known: &[&str]| {
            if known.contains(&text) {
                Ok(())
            } else {
                Err(format!("`{text}` is not one of {}", listed(known)))
            }
        };
        match field {
            "strict-transport-security" => check_hsts(text)?,
            "content-security-policy" | "content-security-policy-report-only" => check_nonce(text)?,
            "x-content-type-options" => one_of(&["nosniff"])?,
            "x-frame-options" => one_of(&["DENY", "SAMEORIGIN"])?,
            "referrer-policy" => {
                if let Some(unknown) =
                    text.split(',').map(str::trim).find(|policy| !REFERRERS.contains(policy))
                {
                    return Err(format!("`{unknown}` is not one of {}", listed(&REFERRERS)));
                }
            }
            "permissions-policy" => {
                if !text.contains('=') {
                    return Err(format!(
                        "`{text}` grants and denies nothing; write `camera=(), geolocation=(self)`"
                    ));
                }
            }
            "cross-origin-opener-policy" => {
                one_of(&["same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"])?;
            }
            "cross-origin-embedder-policy" => one_of(&["require-corp", "credentialless", "unsafe-none"])?,
            _ => one_of(&["same-origin", "same-site", "cross-origin"])?,
        }
        Ok(Self::plain(text))
    }

    /// One that needs no check.
    pub(crate) fn plain(text: &str) -> Self {
        Self(text.split(PLACE).map(str::to_owned).collect())
    }

    pub(crate) fn has_nonce(&self) -> bool {
        self.0.len() > 1
    }

    /// `None` if it needs a nonce and there is none.
    pub(crate) fn filled(&self, nonce: Option<&str>) -> Option<String> {
        if self.has_nonce() { Some(self.0.join(nonce?)) } else { self.0.first().cloned() }
    }
}

const REFERRERS: [&str; 8] = [
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
];

fn listed(known: &[&str]) -> String {
    known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ")
}

/// RFC 6797 §6.1; lists of browsers take no domain with less than a year (hstspreload.org).
fn check_hsts(text: &str) -> Result<(), String> {
    let (mut max_age, mut subdomains, mut preload) = (None, false, false);
    for directive in text.split(';').map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "max-age" => max_age = value.parse::<u64>().ok(),
            "includesubdomains" => subdomains = true,
            "preload" => preload = true,
            _ => {
                return Err(format!(
                    "`{directive}` is not one of `max-age=SECONDS`, `includeSubDomains`, `preload`"
                ));
            }
        }
    }
    match max_age {
        None => Err("has no `max-age=SECONDS`, without which browsers ignore it".to_owned()),
        Some(seconds) if preload && !(subdomains && seconds >= 31_536_000) => {
            Err("`preload` needs `includeSubDomains` and a `max-age` of at least 31536000".to_owned())
        }
        Some(_) => Ok(()),
    }
}

fn check_nonce(text: &str) -> Result<(), String> {
    let quoted = text.matches("'nonce-{nonce}'").count();
    if text.matches('{').count() != quoted || text.matches('}').count() != quoted {
        return Err("braces stand in `'nonce-{nonce}'` only, with its quotation marks".to_owned());
    }
    if text.contains("'nonce-") && quoted != text.matches("'nonce-").count() {
        return Err("a nonce that is always the same protects nothing; write `'nonce-{nonce}'`".to_owned());
    }
    Ok(())
}

/// As CSP level 3 §2.3.1 wants it: base64 of 128 bits, here without padding, as it also stands in attributes of HTML.
pub(crate) fn nonce_of(random: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(random.len().div_ceil(3) * 4);
    for group in random.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}
