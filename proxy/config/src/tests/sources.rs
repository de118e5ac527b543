//! Several files that are read as one, and what the environment fills in.

use std::path::{Path, PathBuf};

use crate::{Config, Problems, Source, includes, parse, parse_all, parse_plugin};

const MAIN: &str = "include = [\"conf.d/*.toml\"]\n[listener.web]\naddress = \"127.0.0.1:80\"\n[limits]\nrequest-header-count = 50\n";

fn all(others: &[&str]) -> Result<Config, Problems> {
    let files: Vec<PathBuf> =
        (0..others.len()).map(|index| format!("etc/conf.d/{index}.toml").into()).collect();
    let main = Source { text: MAIN, file: Path::new("etc/tidegate.toml") };
    let others = others.iter().zip(&files).map(|(text, file)| Source { text, file });
    parse_all(&std::iter::once(main).chain(others).collect::<Vec<_>>())
}

fn problems(others: &[&str]) -> Vec<String> {
    all(others).expect_err("there are problems").0.iter().map(ToString::to_string).collect()
}

#[test]
fn tables_may_be_in_parts() {
    let app = "\u{feff}default-upstream = \"app\"\n[upstream.app]\nservers = [\"127.0.0.1:1\"]\nca = \"x\"\n"
        .replace(
            "ca = \"x\"\n",
            "[listener.secure]\naddress = \"127.0.0.1:81\"\ntls.client-ca = \"a.pem\"\n",
        )
        + "tls.client-auth = \"required\"\ntls.certificates = [{ chain = \"b.pem\", key = \"b.key\" }]";
    let config = all(&[&app, "[limits]\nrequest-headers = \"8KiB\"", ""]).expect("they are valid");
    assert_eq!(config.includes, [Path::new("etc/conf.d/*.toml")]);
    assert_eq!(config.listeners.keys().collect::<Vec<_>>(), ["secure", "web"]);
    let tls = config.listeners["secure"].tls.as_ref().expect("a table");
    assert_eq!(tls.client_ca.as_deref(), Some(Path::new("etc/a.pem")), "from the directory of the first");
    let problem = config.positions.problem("listener.secure.address", "in use");
    assert_eq!(problem.to_string(), "etc/conf.d/0.toml:5:11: in use");
    assert_eq!(
        config.positions.problem("limits.request-header-count", "a").to_string(),
        "etc/tidegate.toml:5:24: a"
    );
}

#[test]
fn a_mistake_stands_in_its_own_file() {
    let mistakes =
        ["[limits]\nrequest-header-count = 40", "upstream = 5", "include = [\"a.toml\"]\nworkerz = 1"];
    assert_eq!(
        problems(&mistakes),
        [
            "etc/conf.d/0.toml:2:1: limits.request-header-count stands already in line 5 of etc/tidegate.toml; leave one of the two out",
            "etc/conf.d/1.toml:1:12: upstream must be a table, not 5",
            "etc/conf.d/2.toml:1:1: an included file includes no others; name all files in the one that is given to --config",
            "etc/conf.d/2.toml:2:1: unknown key \"workerz\"; did you mean \"workers\"?",
        ]
    );
    assert_eq!(
        problems(&["", "[upstream.app\nservers = 1"]),
        ["etc/conf.d/1.toml:1:14: unclosed table, expected `]`"]
    );
    let unknown = "default-upstream = \"app\"";
    assert!(problems(&["", unknown])[0].starts_with("etc/conf.d/1.toml:1:20: default-upstream: "));
}

#[test]
fn what_is_included_is_known_before_all_is_right() {
    let read = |text: &str| includes(text, Path::new("etc/tidegate.toml"));
    assert_eq!(
        read("workerz = 5\ninclude = [\"a.toml\", 5, \"/b/*\"]"),
        ["etc/a.toml", "/b/*"].map(PathBuf::from)
    );
    assert!(read("include = [").is_empty() && read("").is_empty());
    let text = "include = [\"*/a.toml\"]\nlistener.a.address = \"127.0.0.1:0\"";
    let problems = parse(text, Path::new("a.toml")).expect_err("a star in a folder");
    assert_eq!(
        problems.to_string(),
        "a.toml:1:12: include[0]: `*` stands in the name of a file, and not in that of a folder; write the folders one by one"
    );
}

#[test]
fn texts_of_both_kinds_of_files_are_filled_in() {
    // Cargo sets it for tests.
    let text = "[listener.web]\naddress = \"127.0.0.1:${TIDEGATE_PORT:-81}\"";
    let config = parse(text, Path::new("a.toml")).expect("it is valid");
    assert_eq!(config.listeners["web"].address.port(), 81);
    let text = "listener.web.address = \"${TIDEGATE_NOTHING}\"";
    let problems = parse(text, Path::new("a.toml")).expect_err("nobody set it");
    assert!(
        problems.to_string().starts_with(
            "a.toml:1:24: the environment has no TIDEGATE_NOTHING that is text; set it, write ${TIDEGATE_NOTHING:-VALUE}"
        ),
        "{problems}"
    );
    let plugin = "[config]\nto = \"/new/${1}/${id}\"\nhost = \"${CARGO_PKG_NAME}\"";
    let plugin = parse_plugin(plugin, Path::new("a.toml")).expect("it is valid");
    assert_eq!(plugin.config["to"], "/new/${1}/${id}");
    assert_eq!(plugin.config["host"], "tidegate-config");
}
