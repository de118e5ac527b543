//! `NAME.toml`: from the file struct to [`PluginFile`].

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{Report, secret};
use crate::cases::CaseConfig;
use crate::document::Document;
use crate::{
    BodyOverflow, Cases, Grants, Match, OnError, PluginFile, PluginLimits, Positions, Problems, Secret, file,
    units,
};

/// `file` says which plugin it is, and where relative paths start.
pub(crate) fn check(document: Document<file::Plugin>, file: &Path) -> Result<PluginFile, Problems> {
    let Document { mut content, positions } = document;
    let mut report = Report::new(&positions);
    let (cpu, time) = (content.limits.cpu.0, content.limits.time.0);
    if time < cpu {
        let path = if positions.has("limits.time") { "limits.time" } else { "limits.cpu" };
        let (cpu, time) = (units::print_duration(cpu), units::print_duration(time));
        report.add(
            path,
            format!("limits.time is {time}, less than limits.cpu, which is {cpu}"),
            "the time of a call includes its CPU time: raise one or lower the other",
        );
    }
    let instances = content.limits.instances;
    if let Some(waiting) = content.limits.waiting.filter(|waiting| *waiting > instances) {
        report.add(
            "limits.waiting",
            format!("limits.waiting is {waiting}, more than limits.instances, which is {instances}"),
            "a call that waits keeps its instance: raise one or lower the other",
        );
    }
    if content.required {
        let contradictions = [
            ("enabled", !content.enabled),
            ("on-error", content.on_error == OnError::Skip),
            ("body-overflow", content.body_overflow == BodyOverflow::Skip),
            ("shadow", content.shadow),
        ];
        for (key, _) in contradictions.iter().filter(|(_, contradicts)| *contradicts) {
            report.add(
                key,
                format!("{key} would leave out a policy that is required"),
                format!("remove {key} or required"),
            );
        }
    }
    if let Some(link) = &content.link
        && file.file_stem().is_some_and(|name| name == link.0.0.as_str())
    {
        report.add("link", format!("link: {:?} is this plugin itself", link.0.0), "name another one");
    }
    let directory = file.parent().unwrap_or(Path::new(""));
    let secrets = secrets(std::mem::take(&mut content.secrets), directory, &mut report);
    let config = std::mem::take(&mut content.config);
    let config = json("config", toml::Value::Table(config), &mut report);
    report.finish()?;
    Ok(PluginFile { secrets, config, positions, ..without_file(content) })
}

/// What `content` says, but for the text-bound fields: no secrets, an empty `config`, and no positions.
pub(crate) fn without_file(content: file::Plugin) -> PluginFile {
    let instances = content.limits.instances;
    PluginFile {
        enabled: content.enabled,
        on_error: content.on_error,
        required: content.required,
        shadow: content.shadow,
        shadow_share: content.shadow_share,
        body_overflow: content.body_overflow,
        matching: Match {
            hosts: content.matching.hosts.into_iter().map(|host| host.0.0).collect(),
            paths: content.matching.paths.into_iter().map(|path| path.0.0).collect(),
            methods: content.matching.methods.into_iter().map(|method| method.0.0).collect(),
            listeners: content.matching.listeners,
        },
        limits: PluginLimits {
            cpu: content.limits.cpu.0,
            time: content.limits.time.0,
            memory: content.limits.memory.0.in_memory(),
            instances,
            reuse: content.limits.reuse,
            waiting: content.limits.waiting.unwrap_or((instances * 3 / 4).max(1)),
            callouts: content.limits.callouts,
            callout_response: content.limits.callout_response.0.in_memory(),
            callout_timeout: content.limits.callout_timeout.0,
        },
        isolation: content.isolation,
        grants: Grants {
            callout: content.grants.callout,
            store: content.grants.store,
            rate_limit: content.grants.rate_limit,
            metrics: content.grants.metrics,
            routes: content.grants.routes,
        },
        secrets: BTreeMap::new(),
        timer: content.timer.map(|period| period.0),
        link: content.link.map(|name| name.0.0),
        config: Value::Object(serde_json::Map::new()),
        positions: Positions::default(),
    }
}

/// Those that are not clear are reported and left out.
fn secrets(
    written: BTreeMap<String, file::Secret>,
    directory: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, Secret> {
    for (name, written) in &written {
        secret::check(&format!("secrets.{}", Positions::segment(name)), written, report);
    }
    written
        .into_iter()
        .filter_map(|(name, written)| Some((name, secret::convert(written, directory)?)))
        .collect()
}

/// `[config]` of `NAME.cases.toml` and of its cases, as the plugin gets it.
pub(crate) fn cases(cases: Document<Cases>) -> Result<Cases, Problems> {
    let Document { mut content, positions } = cases;
    let mut report = Report::new(&positions);
    let mut read = |path: &str, config: &mut CaseConfig| {
        let table = config.table.take().map(toml::Value::Table);
        config.json = table.map(|table| json(path, table, &mut report).to_string());
    };
    read("config", &mut content.config);
    for (index, case) in content.cases.iter_mut().enumerate() {
        read(&format!("case[{index}].config"), &mut case.config);
    }
    if content.cases.is_empty() {
        report.add(
            "case",
            "there are no cases",
            "write [[case]] with a name, a request and what is expected",
        );
    }
    report.finish()?;
    Ok(Cases { positions, ..content })
}

fn json(path: &str, value: toml::Value, report: &mut Report<'_>) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => match serde_json::Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None => {
                let message = format!("{path}: {number} is not a number in JSON");
                report.add(
                    path,
                    message,
                    "the plugin gets its configuration as JSON, where numbers are finite",
                );
                Value::Null
            }
        },
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(items) => {
            let item = |(index, item)| json(&format!("{path}[{index}]"), item, report);
            Value::Array(items.into_iter().enumerate().map(item).collect())
        }
        toml::Value::Table(table) => {
            let entry = |(key, value): (String, _)| {
                let value = json(&format!("{path}.{}", Positions::segment(&key)), value, report);
                (key, value)
            };
            Value::Object(table.into_iter().map(entry).collect())
        }
    }
}
