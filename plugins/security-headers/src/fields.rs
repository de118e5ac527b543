//! The fields this policy knows, what presets set them to, and what an operator may.

use tidegate_plugin_sdk::prelude::*;

use crate::value::Value;

pub(crate) const HSTS: &str = "strict-transport-security";

/// In the order of [`Settings`].
pub(crate) const FIELDS: [&str; 10] = [
    HSTS,
    "content-security-policy",
    "content-security-policy-report-only",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "permissions-policy",
    "cross-origin-opener-policy",
    "cross-origin-embedder-policy",
    "cross-origin-resource-policy",
];

/// Values of fields, each a text, or `false` for a field that this policy leaves alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Set {
    /// RFC 6797, sent over HTTPS only: `max-age=31536000; includeSubDomains`.
    strict_transport_security: Option<Written>,
    /// `{nonce}` is a number used once: `script-src 'nonce-{nonce}'`.
    content_security_policy: Option<Written>,
    /// The same for a policy that is only reported on.
    content_security_policy_report_only: Option<Written>,
    /// `nosniff`.
    x_content_type_options: Option<Written>,
    /// `DENY` or `SAMEORIGIN` (RFC 7034).
    x_frame_options: Option<Written>,
    /// One or more of the policies of the specification, of which a browser takes the last one it knows.
    referrer_policy: Option<Written>,
    /// `camera=(), geolocation=(self)`.
    permissions_policy: Option<Written>,
    /// `same-origin`, `same-origin-allow-popups`, `noopener-allow-popups` or `unsafe-none`.
    cross_origin_opener_policy: Option<Written>,
    /// `require-corp`, `credentialless` or `unsafe-none`.
    cross_origin_embedder_policy: Option<Written>,
    /// `same-origin`, `same-site` or `cross-origin`.
    cross_origin_resource_policy: Option<Written>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, or `false` for a field that is not set")]
enum Written {
    Is(bool),
    Value(String),
}

impl Set {
    pub(crate) fn checked(self) -> Result<Settings, Error> {
        let written = [
            self.strict_transport_security,
            self.content_security_policy,
            self.content_security_policy_report_only,
            self.x_content_type_options,
            self.x_frame_options,
            self.referrer_policy,
            self.permissions_policy,
            self.cross_origin_opener_policy,
            self.cross_origin_embedder_policy,
            self.cross_origin_resource_policy,
        ];
        let checked = FIELDS.iter().zip(written).map(|(field, written)| match written {
            None => Ok(Setting::Open),
            Some(Written::Is(false)) => Ok(Setting::Off),
            Some(Written::Is(true)) => Err(Error::at(*field, "say what with a text, or write `false`")),
            Some(Written::Value(text)) => {
                Value::new(field, &text).map(Setting::Value).map_err(|reason| Error::at(*field, reason))
            }
        });
        Ok(Settings(checked.collect::<Result<_, _>>()?))
    }
}

/// What becomes of each of [`FIELDS`].
#[derive(Debug)]
pub(crate) struct Settings(Vec<Setting>);

/// What becomes of a field.
#[derive(Debug)]
pub(crate) enum Setting {
    /// Nothing is said here.
    Open,
    /// It is left alone.
    Off,
    /// It is set.
    Value(Value),
}

impl Settings {
    /// `other` where it says something.
    pub(crate) fn with(self, other: Self) -> Self {
        let both = self.0.into_iter().zip(other.0);
        Self(both.map(|(own, other)| if other.is_given() { other } else { own }).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    pub(crate) fn has_nonce(&self) -> bool {
        self.0.iter().any(Setting::has_nonce)
    }
}

impl Setting {
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self, Self::Open)
    }

    pub(crate) fn value(&self) -> Option<&Value> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }

    pub(crate) fn has_nonce(&self) -> bool {
        self.value().is_some_and(Value::has_nonce)
    }
}

/// A beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Preset {
    /// For sites that browsers show: nothing in it breaks a page that frames, loads and runs only its own.
    #[default]
    Web,
    /// For answers to programs: a browser that is led there shows and runs nothing of it.
    Api,
    /// Nothing is set and nothing is removed.
    None,
}

impl Preset {
    pub(crate) fn settings(self) -> Settings {
        let values: [Option<&str>; 10] = match self {
            Self::Web => [
                // Without `includeSubDomains`: that cannot be taken back for a year.
                Some("max-age=31536000"),
                Some("base-uri 'self'; frame-ancestors 'self'; object-src 'none'"),
                None,
                Some("nosniff"),
                Some("SAMEORIGIN"),
                Some("strict-origin-when-cross-origin"),
                None,
                // `same-origin` breaks sign-in windows of others.
                Some("same-origin-allow-popups"),
                None,
                None,
            ],
            Self::Api => [
                Some("max-age=31536000"),
                Some("default-src 'none'; frame-ancestors 'none'"),
                None,
                Some("nosniff"),
                Some("DENY"),
                Some("no-referrer"),
                None,
                Some("same-origin"),
                None,
                Some("same-origin"),
            ],
            Self::None => [None; 10],
        };
        let setting =
            |value: Option<&str>| value.map_or(Setting::Open, |value| Setting::Value(Value::plain(value)));
        Settings(values.into_iter().map(setting).collect())
    }

    pub(crate) fn removed(self) -> &'static [&'static str] {
        match self {
            Self::Web | Self::Api => &["server", "x-powered-by", "x-aspnet-version", "x-aspnetmvc-version"],
            Self::None => &[],
        }
    }
}
