//! Paths to places in a file.

use super::read;
use crate::{Position, Positions};

const TEXT: &str = r#"workers = 1
[listener.web]
address = "127.0.0.1:0"
tls.certificates = [
  { chain = "a", key = "b" },
]
[upstream."a.b"]
servers = ["a:1", { address = "ä:1", weight = 2 }]
"#;

#[test]
fn a_path_leads_to_its_value_or_to_the_nearest_around_it() {
    let text = TEXT.replace("ä:1", "b:1");
    let positions = read(&text).expect("the text is valid").positions;
    let at = |path: &str| positions.at(path).map(|Position { line, column }| (line, column));
    assert_eq!(at("workers"), Some((1, 11)));
    assert_eq!(at("listener"), Some((2, 2)));
    assert_eq!(at("listener.web"), Some((2, 1)));
    assert_eq!(at("listener.web.address"), Some((3, 11)));
    assert_eq!(at("listener.web.tls.certificates[0].key"), Some((5, 24)));
    assert_eq!(at("listener.web.tls.certificates[1].key"), Some((4, 20)));
    assert_eq!(at("listener.web.http"), Some((2, 1)));
    assert_eq!(at("upstream.a.b.servers[1].weight"), Some((8, 47)));
    assert_eq!(at("upstream.\"a.b\".servers[1].weight"), Some((8, 47)));
    assert_eq!(at("upstream.a.b.servers[1].nothing[3]"), Some((8, 19)));
    assert_eq!(at("upstream.a"), Some((7, 2)));
    assert_eq!(at("nothing"), None);
    assert_eq!(at(""), None);
    for odd in ["[", "[0", "[x].", "\"", "\"a\\", ".", "..", "workers.", "workers[0]", "listener..web"] {
        let _ = at(odd);
    }
}

#[test]
fn columns_count_characters() {
    let found = super::problems("trusted-proxies = [\"äöü\", 5]\n");
    assert!(found[0].starts_with("1:20: ") && found[1].starts_with("1:27: "), "{found:?}");
}

#[test]
fn a_problem_stands_at_its_path() {
    let positions = read(&TEXT.replace("ä:1", "b:1")).expect("the text is valid").positions;
    let problem = positions.problem("listener.web.address", "the address is in use");
    assert_eq!(problem.to_string(), "etc/tidegate.toml:3:11: the address is in use");
    let problem = problem.with_help("stop the other program");
    assert_eq!(problem.to_string(), "etc/tidegate.toml:3:11: the address is in use; stop the other program");
    let problem = positions.problem("admin", "no admin interface");
    assert_eq!(problem.to_string(), "etc/tidegate.toml: no admin interface");
    assert_eq!(Positions::default().problem("a", "without a file").to_string(), "without a file");
}
