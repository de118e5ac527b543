//! The SDK as it travels with the binary: `sdk/` of a project in Rust, a workspace of its own.

use crate::embedded;

/// Packages of the checkout that a plugin is built with, by their folders, which stand in `sdk/` as they do there.
const PACKAGES: [&str; 2] = ["plugin-sdk", "proxy/crypto"];
const MEMBERS: &str = r#"members = ["plugin-sdk", "plugin-sdk/macros", "proxy/crypto"]"#;

/// The lock file of the checkout, so that a project is built with what this version of tidegate was tested with; the first
/// build leaves what it does not need out.
const LOCK: &str = "Cargo.lock";

/// Paths in the project, and texts.
pub(crate) fn files() -> Vec<(String, String)> {
    let mut files = vec![
        (LOCK.to_owned(), embedded::file(LOCK).to_owned()),
        ("sdk/LICENSE".to_owned(), embedded::file("LICENSE").to_owned()),
        ("sdk/wit/policy.wit".to_owned(), embedded::file("wit/policy.wit").to_owned()),
    ];
    let mut manifests = String::new();
    for package in PACKAGES {
        for (path, text) in embedded::below(package) {
            if path.ends_with("Cargo.toml") {
                manifests += text;
            }
            files.push((format!("sdk/{package}/{path}"), text.to_owned()));
        }
    }
    files.push(("sdk/Cargo.toml".to_owned(), workspace(embedded::file("Cargo.toml"), &manifests)));
    files
}

/// The manifest of the SDK's workspace: what its packages take from that of the checkout.
fn workspace(root: &str, manifests: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "# The SDK of tidegate {version}, as `tidegate plugin new` wrote it. A newer one: put that of a new project here.\n\
         [workspace]\nresolver = \"3\"\n{MEMBERS}\n"
    );
    for section in
        ["workspace.package", "workspace.dependencies", "workspace.lints.rust", "workspace.lints.clippy"]
    {
        text += &format!("\n[{section}]\n");
        for line in lines_of(root, section) {
            let key = line.split(' ').next().unwrap_or_default();
            if section != "workspace.dependencies" || inherits(manifests, key) {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

/// The keys of a section, each on a line of its own.
fn lines_of<'a>(manifest: &'a str, section: &str) -> impl Iterator<Item = &'a str> {
    let header = format!("[{section}]");
    let lines = manifest.lines().skip_while(move |line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn inherits(manifests: &str, key: &str) -> bool {
    manifests.lines().any(|line| {
        let rest = line.strip_prefix(key).unwrap_or_default();
        rest.starts_with(".workspace") || rest.starts_with(" = { workspace = true")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_has_what_its_packages_inherit_and_no_more() {
        let files = files();
        let text = |path: &str| &files.iter().find(|(name, _)| name == path).expect(path).1;
        let workspace = text("sdk/Cargo.toml");
        for key in
            ["aws-lc-rs = ", "tidegate-crypto = { path = \"proxy/crypto\" }", "unsafe_code = ", "edition = "]
        {
            assert!(workspace.lines().any(|line| line.starts_with(key)), "{key}: {workspace}");
        }
        for key in ["wasmtime", "hyper", "tidegate-server"] {
            assert!(!workspace.lines().any(|line| line.starts_with(key)), "{key}: {workspace}");
        }
        assert!(text("sdk/plugin-sdk/src/lib.rs").contains("pub mod prelude"));
        let keys = files.iter().find(|(_, text)| text.contains("PRIVATE KEY-----\\n"));
        assert_eq!(keys, None, "no project brings keys");
    }
}
