//! Values that are written as text of a certain form: durations, sizes, addresses, patterns.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units;

/// A value of the form `T`, written as text.
#[derive(Debug)]
pub(crate) struct Text<T>(pub T);

/// A form of text.
pub(crate) trait Form: Sized {
    /// Its name: `format` in the schema.
    const FORMAT: &'static str;
    /// A correct text: `examples` in the schema.
    const EXAMPLE: &'static str;

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
    FORMS.iter().find(|(name, _)| *name == format).map_or(Ok(()), |(_, parse)| parse(text))
}

/// Every form by its name.
pub(crate) const FORMS: [(&str, Check); 11] = [
    form::<Duration>(),
    form::<Size>(),
    form::<IpNet>(),
    form::<SocketAddr>(),
    form::<ServerAddress>(),
    form::<FilePath>(),
    form::<Name>(),
    form::<HostPattern>(),
    form::<PathPattern>(),
    form::<Method>(),
    form::<PluginName>(),
];

type Check = fn(&str) -> Result<(), Complaint>;

const fn form<T: Form>() -> (&'static str, Check) {
    (T::FORMAT, |text| T::parse(text).map(drop))
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

/// The name `duration` belongs to ISO 8601 in JSON Schema.
impl Form for Duration {
    const FORMAT: &'static str = "time-span";
    const EXAMPLE: &'static str = "5s";

    fn parse(text: &str) -> Result<Self, Complaint> {
        units::parse_duration(text).map_err(|error| Complaint::unit(&error, Self::EXAMPLE))
    }

    fn print(&self) -> String {
        units::print_duration(*self)
    }

    /// A wait of nothing makes no sense unless a field says so. One of more than a year is no
    /// bound, and far larger ones do not fit the clock.
    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$".into());
        schema.insert("minLength".to_owned(), 1.into());
        schema.insert("x-minimum".to_owned(), "1ms".into());
        schema.insert("x-maximum".to_owned(), "8760h".into());
    }
}

/// A number of bytes.
#[derive(Debug)]
pub(crate) struct Size(pub u64);

impl Size {
    /// As a size of something in memory, where more than the address space is everything.
    pub(crate) fn in_memory(&self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Form for Size {
    const FORMAT: &'static str = "byte-size";
    const EXAMPLE: &'static str = "16KiB";

    fn parse(text: &str) -> Result<Self, Complaint> {
        units::parse_size(text).map(Self).map_err(|error| Complaint::unit(&error, Self::EXAMPLE))
    }

    fn print(&self) -> String {
        units::print_size(self.0)
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[0-9]+([KMGT]i|[kMGT])?B$".into());
    }
}

impl Form for IpNet {
    const FORMAT: &'static str = "ip-network";
    const EXAMPLE: &'static str = "10.0.0.0/8";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        text.parse::<Self>().map(|network| network.trunc()).map_err(|_| {
            Complaint::new(format!("{text:?} is not a network and not an address"))
                .help("write it as in \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.1\"")
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Form for SocketAddr {
    const FORMAT: &'static str = "socket-address";
    const EXAMPLE: &'static str = "0.0.0.0:8080";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let complaint = Complaint::new(format!("{text:?} is not an IP address with a port"));
        if text.parse::<u16>().is_ok() {
            return Err(complaint.help(format!("write \"0.0.0.0:{text}\" for every address of the machine")));
        }
        if text.parse::<IpAddr>().is_ok() {
            let (open, close) = if text.contains(':') { ("[", "]") } else { ("", "") };
            return Err(complaint.help(format!("write the port, as in \"{open}{text}{close}:8080\"")));
        }
        Err(match text.rsplit_once(':') {
            Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
                complaint.help(format!("write \"0.0.0.0:{port}\" for every address of the machine"))
            }
            Some((host, port)) if port.parse::<u16>().is_ok() && host.parse::<Ipv6Addr>().is_ok() => {
                complaint.help(format!("write \"[{host}]:{port}\""))
            }
            Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
                complaint.help(format!("write \"127.0.0.1:{port}\""))
            }
            _ => complaint.help("write it as in \"0.0.0.0:8080\" or \"[::]:8080\""),
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// `host:port` in its one spelling: host in lower case, IP addresses as Rust prints them.
#[derive(Debug)]
pub(crate) struct ServerAddress(pub String);

impl Form for ServerAddress {
    const FORMAT: &'static str = "server-address";
    const EXAMPLE: &'static str = "127.0.0.1:9001";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.starts_with("unix:") || text.starts_with('/') {
            let message = format!("{text:?}: Unix sockets are not supported by this version of tidegate");
            return Err(Complaint::new(message).help("write \"host:port\""));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let address = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let address = if Self::parse(address).is_ok() { address } else { "host:port" };
            return Err(Complaint::new(format!("{text:?} is a URL, and a server is an address"))
                .help(format!("write {address:?} without \"{scheme}://\"")));
        }
        if let Some(at) = text.find(['/', '?', '#']) {
            return Err(Complaint::new(format!("{text:?} has more than a host and a port"))
                .help(format!("write it without {:?}", &text[at..])));
        }
        if text.matches(':').count() > 1 && !text.starts_with('[') {
            let complaint = Complaint::new(format!("{text:?} is an IPv6 address without brackets"));
            return Err(match text.rsplit_once(':') {
                Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() => {
                    complaint.help(format!("write \"[{host}]:{port}\""))
                }
                _ => complaint.help("write \"[address]:port\""),
            });
        }
        let no_port = || {
            Complaint::new(format!("{text:?} has no port"))
                .help(format!("write it as in \"{}:80\"", text.trim_end_matches(':')))
        };
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && !port.ends_with(']') => (host, port),
            _ => return Err(no_port()),
        };
        let port = match port.parse::<u16>() {
            Ok(0) => return Err(Complaint::new(format!("{text:?} has port 0, where no server can be"))),
            Ok(number) if !port.starts_with('+') => number,
            _ => {
                return Err(Complaint::new(format!("{port:?} in {text:?} is not a port"))
                    .help("ports go from 1 to 65535"));
            }
        };
        if let Some(address) = host.strip_prefix('[') {
            let address = address.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
            return match address {
                Some(address) => Ok(Self(SocketAddrV6::new(address, port, 0, 0).to_string())),
                None => Err(Complaint::new(format!("{host:?} in {text:?} is not an IPv6 address"))),
            };
        }
        let host = host_name(host, text)?;
        Ok(Self(format!("{host}:{port}")))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// The name or the path of a file.
#[derive(Debug)]
pub(crate) struct FilePath(pub String);

impl Form for FilePath {
    const FORMAT: &'static str = "file-path";
    const EXAMPLE: &'static str = "certs/a.pem";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() {
            return Err(Complaint::new("a path must not be empty"));
        }
        if text.contains('\0') {
            return Err(Complaint::new(format!("{text:?} is not a path: it contains a NUL")));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("minLength".to_owned(), 1.into());
    }
}

/// The name of a listener or an upstream. It appears in metrics, logs and addresses of the admin
/// interface, where other characters would have to be escaped.
#[derive(Debug)]
pub(crate) struct Name(String);

impl Form for Name {
    const FORMAT: &'static str = "name";
    const EXAMPLE: &'static str = "web";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.is_empty() || !text.chars().all(allowed) {
            return Err(Complaint::new(format!("{text:?} is not a name"))
                .help("names consist of the letters A-Z and a-z, digits, \"_\", \".\" and \"-\""));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[A-Za-z0-9_.-]+$".into());
    }
}

/// A host or `*.` with a host, in lower case.
#[derive(Debug)]
pub(crate) struct HostPattern(pub String);

impl Form for HostPattern {
    const FORMAT: &'static str = "host-pattern";
    const EXAMPLE: &'static str = "*.example.org";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text == "*" {
            return Err(Complaint::new("\"*\" is not a host").help("leave hosts out to match every host"));
        }
        if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return match address.parse::<Ipv6Addr>() {
                Ok(address) => Ok(Self(format!("[{address}]"))),
                Err(_) => Err(Complaint::new(format!("{text:?} is not an IPv6 address"))),
            };
        }
        let (wildcard, host) = match text.strip_prefix("*.") {
            Some(host) => ("*.", host),
            None => ("", text),
        };
        if host.contains('*') {
            return Err(Complaint::new(format!("{text:?} has a \"*\" in the wrong place"))
                .help("\"*.\" stands for any labels and only at the start, as in \"*.example.org\""));
        }
        if let Some((name, _)) = host.split_once(':') {
            return Err(Complaint::new(format!("{text:?} has more than a host"))
                .help(format!("write \"{wildcard}{name}\" without the port")));
        }
        host_name(host, text).map(|host| Self(format!("{wildcard}{host}")))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

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

/// The name of a plugin: its file name without the ending.
#[derive(Debug)]
pub(crate) struct PluginName(pub String);

impl Form for PluginName {
    const FORMAT: &'static str = "plugin-name";
    const EXAMPLE: &'static str = "10-access";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() || text.contains(['/', '\0']) {
            return Err(Complaint::new(format!("{text:?} is not the name of a plugin"))
                .help("write the file name without directory and ending, as in \"10-access\""));
        }
        if let Some(name) = text.strip_suffix(".wasm").or_else(|| text.strip_suffix(".toml")) {
            return Err(Complaint::new(format!("{text:?} is a file, not the name of a plugin"))
                .help(format!("write {name:?}")));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// `host` in lower case if it is an IPv4 address or a host name: labels of letters, digits, `-` and
/// (seen in practice) `_`, with the lengths of RFC 1035 §2.3.4. `text` is what was written, for
/// messages.
fn host_name(host: &str, text: &str) -> Result<String, Complaint> {
    let of_text = if host == text { String::new() } else { format!(" in {text:?}") };
    let labels = host.strip_suffix('.').unwrap_or(host);
    let label_is_valid = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if labels.len() > 253 || !labels.split('.').all(label_is_valid) {
        return Err(Complaint::new(format!("{host:?}{of_text} is not a host name")));
    }
    // A name that ends in a number would be taken for an address by everyone else.
    let last = labels.rsplit('.').next().unwrap_or(labels);
    if last.chars().all(|c| c.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(Complaint::new(format!("{host:?}{of_text} is not an IPv4 address")));
    }
    Ok(host.to_ascii_lowercase())
}
