//! `tidegate plugin test`: tries a plugin against its cases, before it is dropped in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_config::{Case, Cases, PluginFile, parse_cases, parse_plugin};
use tidegate_plugin_host::{Host, Services, Settings};

use super::{print, read};
use crate::cases::{self, Trial};
use crate::regular;
use crate::reload::settings_of;

/// Where everything is; what is not said stands beside the plugin.
pub(crate) struct Files {
    pub(crate) wasm: PathBuf,
    /// `NAME.cases.toml`.
    pub(crate) cases: Option<PathBuf>,
    /// `NAME.toml`.
    pub(crate) settings: Option<PathBuf>,
    /// Where a report for other programs is written to.
    pub(crate) junit: Option<PathBuf>,
}

pub(crate) fn run(files: &Files) -> Result<ExitCode, String> {
    let bytes = read(&files.wasm, regular::read)?;
    let cases_file = files.cases.clone().unwrap_or_else(|| files.wasm.with_extension("cases.toml"));
    let text = read(&cases_file, regular::read_to_string)?;
    let cases = parse_cases(&text, &cases_file).map_err(|problems| problems.to_string())?;
    let settings = settings(files, &cases)?;

    let host = Host::new(Services::default()).map_err(|error| error.to_string())?;
    let refused = |error| format!("{}: {error}", files.wasm.display());
    let code = host.compile(&bytes).map_err(refused)?;
    let trials = cases::run(&host, &code, &settings, &cases, None).map_err(refused)?;
    if let Some(junit) = &files.junit {
        let report = junit_report(&settings.name, &trials);
        std::fs::write(junit, report)
            .map_err(|error| format!("{}: cannot write it: {error}", junit.display()))?;
    }
    print(&report(&cases_file, &trials))?;
    let failed = trials.iter().any(|trial| !trial.differences.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Those of `NAME.toml`, if there is one, with what the cases have in their place.
fn settings(files: &Files, cases: &Cases) -> Result<Settings, String> {
    let name = files.wasm.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let path = files
        .settings
        .clone()
        .or_else(|| Some(files.wasm.with_extension("toml")).filter(|path| path.exists()));
    let mut file = match &path {
        Some(path) => {
            let text = read(path, regular::read_to_string)?;
            parse_plugin(&text, path).map_err(|problems| problems.to_string())?
        }
        // What it may use is nobody's to decide yet.
        None => everything(),
    };
    if cases.has_secrets() {
        file.secrets.clear();
    }
    let settings = settings_of(&name, &file);
    let mut settings = settings
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    if let Some(config) = &cases.config.json {
        settings.config.clone_from(config);
    }
    if path.is_none() {
        let callouts = cases.cases.iter().flat_map(Case::steps).flat_map(|step| step.callouts);
        settings.grants.callout.extend(callouts.filter_map(|callout| callout.to.clone()));
    }
    Ok(settings)
}

fn everything() -> PluginFile {
    let mut file = PluginFile::default();
    (file.grants.store, file.grants.rate_limit, file.grants.metrics) = (true, true, true);
    file
}

fn report(file: &Path, trials: &[Trial]) -> String {
    let mut text = format!("{}\n", file.display());
    for Trial { name, differences, .. } in trials {
        let word = if differences.is_empty() { "ok  " } else { "FAIL" };
        let _ = writeln!(text, "  {word}  {name}");
        for difference in differences {
            let _ = writeln!(text, "        {difference}");
        }
    }
    let passed = trials.iter().filter(|trial| trial.differences.is_empty()).count();
    let _ = write!(text, "{passed} of {} passed", trials.len());
    text
}

/// As most programs that show results of tests read it.
fn junit_report(suite: &str, trials: &[Trial]) -> String {
    let failures = trials.iter().filter(|trial| !trial.differences.is_empty()).count();
    let time: f64 = trials.iter().map(|trial| trial.took.as_secs_f64()).sum();
    let (suite, tests) = (escaped(suite), trials.len());
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
         <testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{time:.6}\">\n"
    );
    for Trial { name, differences, took } in trials {
        let (name, time) = (escaped(name), took.as_secs_f64());
        let _ = write!(xml, "<testcase classname=\"{suite}\" name=\"{name}\" time=\"{time:.6}\"");
        match differences.as_slice() {
            [] => xml.push_str("/>\n"),
            [first, ..] => {
                let (first, all) = (escaped(first), escaped(&differences.join("\n")));
                let _ = writeln!(xml, "><failure message=\"{first}\">{all}</failure></testcase>");
            }
        }
    }
    xml + "</testsuite>\n</testsuites>\n"
}

/// XML has no way to write most control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            plain if plain.is_control() => escaped.push('\u{fffd}'),
            plain => escaped.push(plain),
        }
    }
    escaped
}
