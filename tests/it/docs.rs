//! What the documentation shows can be used as it stands, and what it says of keys is true.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_tests::{Authority, Builder, Proxy, command, stock};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Markdown file of the repository outside of build folders.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// The TOML examples of a page, each with the line it begins on.
fn examples(page: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(page).expect("a page");
    fences(&text).filter(|fence| fence.language == "toml").map(|fence| (fence.line, fence.text)).collect()
}

struct Fence {
    language: String,
    /// The first line within, counted from 1.
    line: usize,
    text: String,
}

fn fences(page: &str) -> impl Iterator<Item = Fence> {
    let mut lines = page.lines().enumerate();
    std::iter::from_fn(move || {
        let (number, language) =
            lines.find_map(|(number, line)| Some((number, line.trim().strip_prefix("```")?)))?;
        let text = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
        let text = text.fold(String::new(), |text, line| text + line + "\n");
        Some(Fence { language: language.to_owned(), line: number + 2, text })
    })
}

/// A folder for an example: certificates and tokens under every name it mentions, and the directories of its file roots.
fn builder_for(example: &str) -> Builder {
    let leaf = Authority::new().sign(&["example.com"]);
    // The system's log directory is not there for a test.
    let mut builder = Proxy::bare().config(&example.replace("/var/log/tidegate/", ""));
    for word in example.split('"') {
        if word.ends_with(".pem") || word.ends_with(".crt") {
            builder = builder.file(word, leaf.chain_pem());
        } else if word.ends_with(".key") {
            builder = builder.file(word, leaf.key_pem());
        } else if word.ends_with(".token") {
            builder = builder.file(word, "0123456789abcdef");
        }
    }
    // The directories of file roots.
    for root in example.lines().filter_map(|line| line.strip_prefix("root ")?.split('"').nth(1)) {
        builder = builder.file(&format!("{root}/index.html"), "");
    }
    builder
}

#[test]
fn examples_pass_the_check() {
    let mut seen = 0;
    for page in pages() {
        for (line, example) in examples(&page) {
            let place = format!("{}:{line}", page.display());
            let is_plugin = ["[config]", "on-error", "enabled", "isolation", "grants", "link"]
                .iter()
                .any(|key| example.lines().any(|line| line.trim_start().starts_with(key)));
            let is_main = example.contains("[listener.") && example.contains("[upstream.");
            let folder = if is_plugin {
                // It stands beside the policy whose folder it is documented in, or any of them.
                let policy = ["router", "access-control", "rewrite", "body-filter", "jwt", "external-auth"]
                    .into_iter()
                    .find(|name| page.components().any(|part| part.as_os_str() == *name));
                let Some(policy) = policy else { continue };
                let named = ["to = \"", "callout = [\""];
                let upstreams: String = named
                    .iter()
                    .flat_map(|key| example.split(key).skip(1))
                    .filter_map(|rest| rest.split('"').next())
                    .filter(|name| !name.contains(['/', '$']))
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .map(|name| format!("[upstream.{name}]\nservers = [\"127.0.0.1:1\"]\n"))
                    .collect();
                let config = format!("[listener.web]\naddress = \"127.0.0.1:0\"\n{upstreams}");
                // Secrets: networks, or any text that is long enough for a key.
                let secret = match policy {
                    "access-control" => "10.0.0.0/8\n".to_owned(),
                    _ => "0123456789abcdef".repeat(4),
                };
                let secrets = example.split("{ file = \"").skip(1).filter_map(|rest| rest.split('"').next());
                let builder = secrets.fold(Proxy::bare().config(&config), |builder, file| {
                    builder.file(&format!("plugins/{file}"), secret.clone())
                });
                builder.plugin("1", stock(policy), &example).write()
            } else if is_main {
                builder_for(&example).write()
            } else {
                // A manifest, or a piece of a configuration.
                continue;
            };
            seen += 1;
            assert_passes(&folder, &format!("{place}:\n{example}"));
        }
    }
    assert!(seen >= 4, "only {seen} examples: the README and each stock policy have one");
}

#[track_caller]
fn assert_passes(folder: &tempfile::TempDir, what: &str) {
    let output = command(&["check", "--config"])
        .arg(folder.path().join("tidegate.toml"))
        .output()
        .expect("the binary");
    let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{what}\n{shown}");
}

/// What stands below one heading of a page of the cookbook. Its fences in `toml` and `text` begin with the path of the
/// file, and for a policy which one that is: `# plugins/20-auth.toml: basic-auth`, or `link`, which has no code.
pub(crate) struct Recipe {
    /// For messages.
    pub(crate) place: String,
    /// `tidegate.toml`: its own, or else that in front of the first heading.
    pub(crate) config: String,
    /// Of the others, by path.
    files: Vec<(String, Vec<u8>)>,
}

impl Recipe {
    pub(crate) fn builder(self) -> Builder {
        let builder = builder_for(&self.config);
        self.files.into_iter().fold(builder, |builder, (path, text)| builder.file(&path, text))
    }
}

pub(crate) fn recipes(page: &str) -> Vec<Recipe> {
    let text = fs::read_to_string(root().join("docs/cookbook").join(page)).expect("a page");
    let mut shared = None;
    let mut recipes = Vec::new();
    for (number, section) in text.split("\n## ").enumerate() {
        let place = format!("{page}: {}", section.lines().next().unwrap_or_default());
        let (mut config, mut files) = (None, Vec::new());
        for fence in fences(section).filter(|fence| ["toml", "text"].contains(&fence.language.as_str())) {
            let (head, rest) = fence.text.split_once('\n').unwrap_or_default();
            let head =
                head.strip_prefix("# ").unwrap_or_else(|| panic!("{place}: {head}: which file is it?"));
            match head.split_once(": ") {
                None if head == "tidegate.toml" => config = Some(fence.text),
                None => files.push((head.to_owned(), rest.as_bytes().to_vec())),
                Some((path, policy)) => {
                    if policy != "link" {
                        files.push((path.replace(".toml", ".wasm"), stock(policy)));
                    }
                    files.push((path.to_owned(), fence.text.into_bytes()));
                }
            }
        }
        if number == 0 {
            shared = config;
        } else if config.is_some() || !files.is_empty() {
            let config = config.or_else(|| shared.clone());
            let config = config.unwrap_or_else(|| panic!("{place}: no tidegate.toml"));
            recipes.push(Recipe { place, config, files });
        }
    }
    recipes
}

#[test]
fn recipes_of_the_cookbook_pass_the_check() {
    let mut seen = 0;
    let pages = fs::read_dir(root().join("docs/cookbook")).expect("a folder").flatten();
    let pages = pages.map(|page| page.file_name().to_string_lossy().into_owned());
    for page in pages.chain(["../migrating.md".to_owned()]) {
        for recipe in recipes(&page) {
            let place = recipe.place.clone();
            assert_passes(&recipe.builder().write(), &place);
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} recipes");
}

#[test]
fn relative_links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.is_empty() || link.contains("://") || link.contains(' ') {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match target {
                "" => page.clone(),
                target => page.parent().expect("a folder").join(target),
            };
            assert!(path.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let target = fs::read_to_string(&path).expect("a page");
                let found = target.lines().any(|line| line.starts_with('#') && anchor_of(line) == anchor);
                assert!(found, "{}: {link}: there is no such heading", page.display());
            }
        }
    }
}

/// The anchor that GitHub gives a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn every_key_is_documented_with_its_default() {
    let output = command(&["schema"]).output().expect("the binary");
    let schemas: Value = serde_json::from_slice(&output.stdout).expect("the schemas are JSON");
    for (file, page) in [("tidegate.toml", "docs/configuration.md"), ("NAME.toml", "docs/plugins.md")] {
        let mut keys = BTreeMap::new();
        find_keys(&schemas[file], "", &mut keys);
        let text = fs::read_to_string(root().join(page)).expect("a page");
        let documented = documented_keys(&text, file);
        let told = "is not what `tidegate schema` says: run cargo xtask docs";
        for (key, default) in &keys {
            assert_eq!(documented.get(key), Some(default), "{page}: the default of {key} {told}");
        }
        for key in documented.keys() {
            assert!(keys.contains_key(key), "{page}: {key} {told}");
        }
        assert!(keys.len() > 10, "{file} has keys: {keys:?}");
    }
}

/// What the guide says where a key is not written.
#[derive(Debug, PartialEq)]
enum Default {
    Required,
    None,
    Is(Value),
    /// Of a table: the defaults of its keys.
    Below,
}

#[test]
fn schemas_are_files_as_well() {
    let output = command(&["schema"]).output().expect("the binary");
    let schemas: Value = serde_json::from_slice(&output.stdout).expect("the schemas are JSON");
    for (name, of) in [("tidegate", "tidegate.toml"), ("plugin", "NAME.toml"), ("cases", "NAME.cases.toml")] {
        let file = fs::read_to_string(root().join(format!("docs/schema/{name}.json"))).expect("the file");
        let written: Value = serde_json::from_str(&file).expect("it is JSON");
        assert!(
            written == schemas[of],
            "docs/schema/{name}.json is not as it should be: run cargo xtask docs"
        );
    }
}

/// Every key below `schema`, which stands at `path`.
fn find_keys(schema: &Value, path: &str, found: &mut BTreeMap<String, Default>) {
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    for table in std::iter::once(schema).chain(alternatives) {
        let required = table["required"].as_array().cloned().unwrap_or_default();
        for (key, value) in table["properties"].as_object().into_iter().flatten() {
            let named = value["additionalProperties"].get("properties").is_some();
            let (value, name) = if named { (&value["additionalProperties"], ".NAME") } else { (value, "") };
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{key}{name}");
            let default = match value.get("default") {
                _ if required.contains(&Value::from(key.as_str())) => Default::Required,
                Some(Value::Object(keys)) if !keys.is_empty() => Default::Below,
                Some(Value::Object(_)) if value.get("properties").is_some() => Default::Below,
                None | Some(Value::Object(_)) => Default::None,
                Some(default) => Default::Is(default.clone()),
            };
            find_keys(value, &path, found);
            found.insert(path, default);
        }
    }
    if let Some(items) = schema.get("items") {
        find_keys(items, &format!("{path}[]"), found);
    }
}

/// The keys of a file in the tables of a page.
fn documented_keys(page: &str, file: &str) -> BTreeMap<String, Default> {
    let mut found = BTreeMap::new();
    let mut section = String::new();
    for line in page.lines() {
        if let Some(block) = line.strip_prefix(&format!("<!-- generated: {file}")) {
            // Keys are shown as they stand in the table of the file: `health.path`, in [upstream.NAME].
            let path: Vec<_> = block.split(['[', ']']).nth(1).unwrap_or_default().split('.').collect();
            section = match path[..] {
                [] | [""] => String::new(),
                [table, "NAME", ..] => format!("{table}.NAME."),
                [table, ..] => format!("{table}."),
            };
        }
        // Other tables have other columns, or a first cell that is not code.
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, _, default, _] = cells[..] else { continue };
        let Some(key) = key.split('`').nth(1) else { continue };
        let key = key.strip_prefix('[').and_then(|key| key.strip_suffix(']')).unwrap_or(key);
        let default = match default.trim_matches('`') {
            "required" => Default::Required,
            "none" => Default::None,
            "below" => Default::Below,
            value => {
                // TOML that is JSON as well, but for the groups of digits.
                let digits = value.starts_with(|c: char| c.is_ascii_digit());
                let value = if digits { value.replace('_', "") } else { value.to_owned() };
                let value = serde_json::from_str(&value);
                Default::Is(value.unwrap_or_else(|error| panic!("{line}: {error}")))
            }
        };
        let twice = found.insert(format!("{section}{key}"), default);
        assert_eq!(twice, None, "{key} is documented twice");
    }
    found
}
