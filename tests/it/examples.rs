//! `examples/`: every configuration there is good, with the settings of policies that come with it.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_tests::{Authority, Builder, Proxy, stock};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// A file of the proxy's, and where it stands.
struct Example {
    place: String,
    name: String,
    text: String,
}

/// Every file below `examples/` whose name ends so.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What stands in a manifest under `NAME.toml: |`: the lines below it that are indented further.
fn in_manifest(manifest: &Path) -> Vec<Example> {
    let text = fs::read_to_string(manifest).expect("a manifest");
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(name) = line.trim_start().strip_suffix(": |").filter(|name| name.ends_with(".toml")) else {
            continue;
        };
        let mut text = String::new();
        while let Some(inner) =
            lines.next_if(|inner| inner.trim().is_empty() || indentation(inner) > indentation(line))
        {
            text += inner.get(indentation(line) + 2..).unwrap_or_default();
            text.push('\n');
        }
        found.push(Example { place: manifest.display().to_string(), name: name.to_owned(), text });
    }
    found
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The files of one proxy: `tidegate.toml` and what belongs to it, in the same folder or in the same manifest.
fn sets() -> Vec<Vec<Example>> {
    let read = |path: &Path, name: String| Example {
        place: path.display().to_string(),
        name,
        text: fs::read_to_string(path).expect("a file"),
    };
    let mut sets = Vec::new();
    for file in files("/tidegate.toml") {
        let mut set = vec![read(&file, "tidegate.toml".to_owned())];
        let plugins = file.with_file_name("plugins");
        for settings in files(".toml").into_iter().filter(|path| path.parent() == Some(plugins.as_path())) {
            let name = settings.file_name().expect("a name").to_string_lossy().into_owned();
            set.push(read(&settings, name));
        }
        sets.push(set);
    }
    let manifests = files(".yaml").into_iter().map(|manifest| in_manifest(&manifest));
    sets.extend(manifests.filter(|set| set.iter().any(|example| example.name == "tidegate.toml")));
    sets
}

/// The stock policy that settings are for, by their name: `10-access.toml` is for `access-control`.
fn policy_of(settings: &str) -> &'static str {
    let name =
        settings.trim_end_matches(".toml").trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    match name {
        "access" => "access-control",
        "router" => "router",
        "limit" => "rate-limit",
        other => panic!("{settings}: which policy is {other}?"),
    }
}

/// All of a proxy's files in one folder, with what the examples have made elsewhere: certificates and secrets.
fn builder_for(set: Vec<Example>) -> Builder {
    let leaf = Authority::new().sign(&["example.com"]);
    let mut builder = Proxy::bare();
    for Example { name, text, .. } in set {
        if name != "tidegate.toml" {
            builder = builder.plugin(name.trim_end_matches(".toml"), stock(policy_of(&name)), &text);
            continue;
        }
        // What is at its place on a machine of its own is in the test's folder.
        let text = text.replace("\"/var/", "\"var/").replace("\"/run/", "\"run/");
        for word in text.split('"').filter(|word| !word.contains(char::is_whitespace)) {
            if word.ends_with(".pem") || word.ends_with(".crt") {
                builder = builder.file(word, leaf.chain_pem());
            } else if word.ends_with(".key") {
                builder = builder.file(word, leaf.key_pem());
            } else if word.ends_with("token") {
                builder = builder.file(word, "0123456789abcdef");
            }
        }
        builder = builder.config(&text);
    }
    builder
}

#[test]
fn configurations_pass_the_check() {
    for set in sets() {
        let place = set[0].place.clone();
        let checked = builder_for(set).check();
        assert!(checked.status.success(), "{place}: {checked}");
        assert!(!checked.stdout.contains("warning:"), "{place}: {checked}");
    }
}

#[test]
fn there_is_one_in_each_folder() {
    let places: Vec<String> = sets().into_iter().flatten().map(|example| example.place).collect();
    for folder in ["compose", "high-availability", "kubernetes"] {
        assert!(places.iter().any(|place| place.contains(folder)), "none in {folder}: {places:?}");
    }
    let settings: Vec<String> = sets().into_iter().flatten().map(|example| example.name).collect();
    assert!(settings.iter().any(|name| name == "10-access.toml"), "{settings:?}");
}

/// What a pod is given to end is what the proxy takes for it.
#[test]
fn a_pod_has_time_to_drain() {
    let seconds = |file: &str, key: &str| -> u64 {
        let text = fs::read_to_string(root().join(file)).expect("a file");
        let line = text.lines().find(|line| line.trim_start().starts_with(key));
        let line = line.unwrap_or_else(|| panic!("{file}: no {key}"));
        let value: String = line.chars().skip_while(|c| !c.is_ascii_digit()).collect();
        value.trim_end_matches('"').trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{file}: {line}"))
    };
    let settings = "kubernetes/base/configuration.yaml";
    let [delay, drain] = ["drain-delay ", "drain "].map(|key| seconds(settings, key));
    let given = seconds("kubernetes/base/deployment.yaml", "terminationGracePeriodSeconds:");
    // Logs have up to 6 s.
    assert!(given > delay + drain + 6, "{given} s for {delay} s and {drain} s");
}
