//! What the documentation shows can be used as it stands.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_tests::{Authority, Proxy, command, stock};

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
    let mut examples = Vec::new();
    let mut current: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut current {
            None if line.trim() == "```toml" => current = Some((number + 2, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => examples.extend(current.take()),
            Some((_, example)) => {
                example.push_str(line);
                example.push('\n');
            }
        }
    }
    examples
}

/// A folder for an example: certificates under every name it mentions, and the stock policies.
fn folder_for(example: &str) -> tempfile::TempDir {
    let leaf = Authority::new().sign(&["example.com"]);
    let mut builder = Proxy::bare().config(example);
    for word in example.split('"') {
        if word.ends_with(".pem") || word.ends_with(".crt") {
            builder = builder.file(word, leaf.chain_pem());
        } else if word.ends_with(".key") {
            builder = builder.file(word, leaf.key_pem());
        }
    }
    // The directories of file roots.
    for root in example.lines().filter_map(|line| line.strip_prefix("root ")?.split('"').nth(1)) {
        builder = builder.file(&format!("{root}/index.html"), "");
    }
    builder.write()
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
                let policy = ["router", "access-control", "rewrite", "body-filter"]
                    .into_iter()
                    .find(|name| page.components().any(|part| part.as_os_str() == *name));
                let Some(policy) = policy else { continue };
                let upstreams: String = example
                    .split("to = \"")
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
                    .filter(|name| !name.contains(['/', '$']))
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .map(|name| format!("[upstream.{name}]\nservers = [\"127.0.0.1:1\"]\n"))
                    .collect();
                let config = format!("[listener.web]\naddress = \"127.0.0.1:0\"\n{upstreams}");
                Proxy::bare().config(&config).plugin("1", stock(policy), &example).write()
            } else if is_main {
                folder_for(&example)
            } else {
                // A manifest, or a piece of a configuration.
                continue;
            };
            seen += 1;
            let output = command(&["check", "--config"])
                .arg(folder.path().join("tidegate.toml"))
                .output()
                .expect("the binary");
            let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "{place}:\n{example}\n{shown}");
        }
    }
    assert!(seen >= 4, "only {seen} examples: the README and each stock policy have one");
}

#[test]
fn relative_links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let path = page.parent().expect("a folder").join(target);
            assert!(path.exists(), "{}: {link}", page.display());
        }
    }
}
