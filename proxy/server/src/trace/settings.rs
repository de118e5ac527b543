//! What the file says of traces, and where it says nothing, the environment that OpenTelemetry has names for.

use std::env;

use tidegate_config::{CollectorUrl, Config, Problem, TraceParents, Tracing};

/// All that is known before the first span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) collector: CollectorUrl,
    /// Fields of each request to it; they may be secrets.
    pub(super) headers: Vec<(String, String)>,
    pub(super) per_million: u32,
    pub(super) parents: TraceParents,
    pub(super) resource: Vec<(String, String)>,
}

const PATH: &str = "/v1/traces";

/// `None` where there are to be no traces.
pub(crate) fn settings(config: &Config) -> Result<Option<Settings>, Problem> {
    let Some(tracing) = &config.tracing else { return Ok(None) };
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    read(tracing, variable).map_err(|message| config.positions.problem("tracing", message))
}

fn read(tracing: &Tracing, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Settings>, String> {
    let sampler = variable("OTEL_TRACES_SAMPLER").unwrap_or_default();
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if is_off {
        return Ok(None);
    }
    let of_variable = |name: &str| {
        let url = variable(name).map(|text| CollectorUrl::parse(&text));
        url.transpose().map_err(|error| format!("${name}: {error}"))
    };
    let with_path = |url: CollectorUrl| CollectorUrl { path: format!("{}{PATH}", url.path), ..url };
    let collector = match &tracing.otlp {
        // A path that was written is meant.
        Some(url) if !url.path.is_empty() => url.clone(),
        Some(url) => with_path(url.clone()),
        None => match of_variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")? {
            Some(url) => url,
            None => {
                let base = of_variable("OTEL_EXPORTER_OTLP_ENDPOINT")?;
                let here = || CollectorUrl {
                    is_tls: false,
                    authority: "127.0.0.1:4318".to_owned(),
                    path: String::new(),
                };
                with_path(base.unwrap_or_else(here))
            }
        },
    };
    let headers =
        variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or_else(|| variable("OTEL_EXPORTER_OTLP_HEADERS"));
    let per_million = match tracing.share {
        Some(share) => u32::from(share) * 10_000,
        None => sampled(&sampler, variable("OTEL_TRACES_SAMPLER_ARG").as_deref())?,
    };
    let parents = match sampler.as_str() {
        // The variable speaks of a root alone; what the file says of parents stays.
        "always_on" | "always_off" | "traceidratio" if tracing.share.is_none() => TraceParents::None,
        _ => tracing.parents,
    };
    let mut resource = pairs(&variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
    let name = tracing.service_name.clone().or_else(|| variable("OTEL_SERVICE_NAME"));
    let known = resource.iter().any(|(key, _)| key == "service.name");
    if name.is_some() || !known {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), name.unwrap_or_else(|| "tidegate".to_owned())));
    }
    resource.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    let headers = pairs(&headers.unwrap_or_default());
    Ok(Some(Settings { collector, headers, per_million, parents, resource }))
}

/// Of a million traces.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a million")]
fn sampled(sampler: &str, argument: Option<&str>) -> Result<u32, String> {
    match sampler.trim_start_matches("parentbased_") {
        "" => Ok(10_000),
        "always_on" => Ok(1_000_000),
        "always_off" => Ok(0),
        "traceidratio" => {
            let ratio = argument.map_or(Ok(1.0), str::parse::<f64>);
            match ratio {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok((ratio * 1e6).round() as u32),
                _ => Err(format!(
                    "$OTEL_TRACES_SAMPLER_ARG: {:?} is no number from 0 to 1",
                    argument.unwrap_or_default()
                )),
            }
        }
        other => Err(format!(
            "$OTEL_TRACES_SAMPLER: {other:?} is not known; write traceidratio, always_on or always_off"
        )),
    }
}

/// `key=value,key=value`, with percent escapes (W3C Baggage §3.3).
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tracing: &Tracing, variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        read(tracing, variable)
    }

    fn nothing() -> Tracing {
        Tracing { otlp: None, share: None, parents: TraceParents::Trusted, service_name: None }
    }

    #[test]
    fn the_environment_says_what_the_file_does_not() {
        let url = |variables: &[(&str, &str)]| {
            with(&nothing(), variables).expect("valid").expect("on").collector.to_string()
        };
        assert_eq!(url(&[]), "http://127.0.0.1:4318/v1/traces");
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1/base/");
        assert_eq!(url(&[base]), "http://c:1/base/v1/traces");
        assert_eq!(url(&[base, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/x")]), "https://t:443/x");
        let file = Tracing { otlp: CollectorUrl::parse("http://f:2").ok(), share: Some(5), ..nothing() };
        let settings =
            with(&file, &[base, ("OTEL_TRACES_SAMPLER", "always_on")]).expect("valid").expect("on");
        assert_eq!(
            (settings.collector.to_string().as_str(), settings.per_million),
            ("http://f:2/v1/traces", 50_000)
        );
        assert_eq!(with(&file, &[("OTEL_SDK_DISABLED", "true")]), Ok(None));
    }

    #[test]
    fn samplers_names_and_fields_have_their_variables() {
        let settings = with(
            &nothing(),
            &[
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
                ("OTEL_SERVICE_NAME", "edge"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,zone=a%20b"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret, x-more = 1"),
            ],
        );
        let settings = settings.expect("valid").expect("on");
        assert_eq!((settings.per_million, settings.parents), (250_000, TraceParents::Trusted));
        let text = |pairs: &[(String, String)]| {
            pairs.iter().map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(" ")
        };
        assert!(text(&settings.resource).starts_with("zone:a b service.name:edge service.version:"));
        assert_eq!(text(&settings.headers), "x-key:secret x-more:1");
        for (name, value) in
            [("OTEL_TRACES_SAMPLER", "jaeger_remote"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://a")]
        {
            assert!(with(&nothing(), &[(name, value)]).expect_err(value).starts_with(&format!("${name}: ")));
        }
    }
}
