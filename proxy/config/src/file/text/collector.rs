//! Where spans go.

use super::{Complaint, Form};
use crate::CollectorUrl;

impl Form for CollectorUrl {
    const FORMAT: &'static str = "collector-url";
    const EXAMPLE: &'static str = "http://127.0.0.1:4318";
    const NAME: &'static str = "collector";
    const RULE: &'static str = "The URL of an OpenTelemetry collector that takes OTLP over HTTP. `/v1/traces` is added unless it has a path";

    fn parse(text: &str) -> Result<Self, Complaint> {
        Self::parse(text).map_err(|message| Complaint::new(message).help("write \"http://127.0.0.1:4318\""))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_and_perhaps_a_path() {
        for (text, shown) in [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318")),
            ("http://collector/", Some("http://collector:80")),
            ("https://c.test/x/v1/traces", Some("https://c.test:443/x/v1/traces")),
            ("http://[::1]:4318", Some("http://[::1]:4318")),
            ("127.0.0.1:4318", None),
            ("grpc://a:4317", None),
            ("http://", None),
            ("http://user@a", None),
            ("http://a/b?c", None),
        ] {
            let parsed = <CollectorUrl as Form>::parse(text).ok().map(|url| url.print());
            assert_eq!(parsed.as_deref(), shown, "{text}");
        }
    }
}
