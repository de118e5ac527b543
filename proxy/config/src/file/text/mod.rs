//! Values that are written as text of a certain form: durations, sizes, addresses, patterns.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{CollectorUrl, units};

mod address;
mod authority;
mod backend;
mod collector;
mod host;
mod http;
mod line;
mod measure;
mod name;

pub(crate) use address::{DnsServer, ServerAddress};
pub(crate) use authority::{CertificateHost, DirectoryUrl, Email, HookUrl};
pub(crate) use backend::Backend;
pub(crate) use host::{Fingerprint, HostField, HostPattern, SniPattern, TlsName};
pub(crate) use http::{
    Charset, FieldName, FieldValue, MediaRange, Method, PathPattern, RequestTarget, StatusCodes,
};
pub(crate) use line::{LineForm, LogFieldName};
pub(crate) use measure::{Percent, Size};
pub(crate) use name::{FileName, FilePath, InnerPath, Name, PluginName, VariableName};

/// A value of the form `T`, written as text.
#[derive(Debug)]
pub(crate) struct Text<T>(pub T);

/// A form of text.
pub(crate) trait Form: Sized {
    /// Its name: `format` in the schema.
    const FORMAT: &'static str;
    /// A correct text: `examples` in the schema.
    const EXAMPLE: &'static str;
    /// What the guide calls it.
    const NAME: &'static str;
    /// Which texts are correct, in Markdown and without a full stop.
    const RULE: &'static str;

    fn parse(text: &str) -> Result<Self, Complaint>;
    fn print(&self) -> String;

    /// What the schema can say about the text beyond its format.
    fn describe(_schema: &mut Schema) {}
}

/// Why a text has not the form it should have.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub message: String,
    pub help: Option<String>,
}

/// Checks `text` against the form with the name `format`. A format that is not known passes; a test
/// keeps such out of the schema.
pub(crate) fn check(format: &str, text: &str) -> Result<(), Complaint> {
    form(format).map_or(Ok(()), |form| (form.check)(text))
}

/// The form whose [`Form::FORMAT`] is `format`.
pub(crate) fn form(format: &str) -> Option<&'static AnyForm> {
    FORMS.iter().find(|form| form.format == format)
}

/// A [`Form`] as a value.
pub(crate) struct AnyForm {
    pub format: &'static str,
    pub example: &'static str,
    pub name: &'static str,
    pub rule: &'static str,
    /// The schema of a field that says no more than that its text has this form.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    check: fn(&str) -> Result<(), Complaint>,
}

/// Every form.
pub(crate) const FORMS: &[AnyForm] = &[
    AnyForm::of::<Duration>(),
    AnyForm::of::<Size>(),
    AnyForm::of::<Percent>(),
    AnyForm::of::<IpNet>(),
    AnyForm::of::<SocketAddr>(),
    AnyForm::of::<ServerAddress>(),
    AnyForm::of::<DnsServer>(),
    AnyForm::of::<FilePath>(),
    AnyForm::of::<FileName>(),
    AnyForm::of::<InnerPath>(),
    AnyForm::of::<Name>(),
    AnyForm::of::<HostPattern>(),
    AnyForm::of::<HostField>(),
    AnyForm::of::<SniPattern>(),
    AnyForm::of::<TlsName>(),
    AnyForm::of::<Charset>(),
    AnyForm::of::<FieldName>(),
    AnyForm::of::<Fingerprint>(),
    AnyForm::of::<PathPattern>(),
    AnyForm::of::<Method>(),
    AnyForm::of::<RequestTarget>(),
    AnyForm::of::<StatusCodes>(),
    AnyForm::of::<FieldValue>(),
    AnyForm::of::<MediaRange>(),
    AnyForm::of::<PluginName>(),
    AnyForm::of::<VariableName>(),
    AnyForm::of::<Backend>(),
    AnyForm::of::<DirectoryUrl>(),
    AnyForm::of::<Email>(),
    AnyForm::of::<HookUrl>(),
    AnyForm::of::<CertificateHost>(),
    AnyForm::of::<LineForm>(),
    AnyForm::of::<CollectorUrl>(),
    AnyForm::of::<LogFieldName>(),
];

impl AnyForm {
    const fn of<T: Form>() -> Self {
        Self {
            format: T::FORMAT,
            example: T::EXAMPLE,
            name: T::NAME,
            rule: T::RULE,
            schema: Text::<T>::json_schema,
            check: |text| T::parse(text).map(drop),
        }
    }
}

/// The number of milliseconds or bytes that `text` stands for, to compare it with bounds.
pub(crate) fn measure(format: &str, text: &str) -> Option<u128> {
    match format {
        Duration::FORMAT => units::parse_duration(text).ok().map(|duration| duration.as_millis()),
        Size::FORMAT => units::parse_size(text).ok().map(u128::from),
        _ => None,
    }
}

/// Whether texts of this format are numbers with a unit.
pub(crate) fn is_measured(format: &str) -> bool {
    matches!(format, Duration::FORMAT | Size::FORMAT)
}

impl<'de, T: Form> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::parse(&text).map(Self).map_err(|complaint| serde::de::Error::custom(complaint.message))
    }
}

impl<T: Form> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.print())
    }
}

impl<T: Form> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "format": T::FORMAT, "examples": [T::EXAMPLE] });
        T::describe(&mut schema);
        schema
    }
}

impl Complaint {
    fn new(message: impl Into<String>) -> Self {
        Self { message: presentable(message.into()), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(presentable(help.into())), ..self }
    }

    fn unit(error: &units::UnitError, example: &str) -> Self {
        Self { message: presentable(error.to_string()), help: error.help(example) }
    }
}

/// Complaints quote what was written, which may be long and may contain anything: a message is one
/// line, and not much of it.
fn presentable(message: String) -> String {
    let message = match message.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    };
    if !message.contains(char::is_control) {
        return message;
    }
    let escaped =
        message.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() });
    escaped.collect()
}
