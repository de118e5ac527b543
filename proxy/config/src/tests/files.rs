//! What `[files.NAME]` means, and what is wrong with one.

use super::{FULL, problems, read, with_listener};
use crate::{CacheControl, Files};
use std::collections::BTreeMap;

#[test]
fn every_key_arrives() {
    let assets = &read(FULL).expect("the example is valid").files["assets"];
    let entry = |paths: &[&str], value: &str| CacheControl {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        value: value.to_owned(),
    };
    let expected = Files {
        root: "etc/www".into(),
        index: vec!["index.html".to_owned(), "index.htm".to_owned()],
        fallback: Some("app/index.html".to_owned()),
        fallback_for_all: false,
        not_found: None,
        media_types: BTreeMap::new(),
        charset: Some("utf-8".to_owned()),
        cache_control: vec![
            entry(&["/assets/**", "/*.js"], "public, max-age=31536000, immutable"),
            entry(&["**"], "no-cache"),
        ],
        precompressed: false,
        follow_symlinks: true,
        compression: false,
    };
    assert_eq!(*assets, expected);
}

#[test]
fn what_is_not_written_has_its_documented_default() {
    let config = read(&with_listener("files.a.root = \"/srv/www\"")).expect("the text is valid");
    let expected = Files {
        root: "/srv/www".into(),
        index: vec!["index.html".to_owned()],
        fallback: None,
        fallback_for_all: false,
        not_found: None,
        media_types: BTreeMap::new(),
        charset: Some("utf-8".to_owned()),
        cache_control: Vec::new(),
        precompressed: true,
        follow_symlinks: false,
        compression: true,
    };
    assert_eq!(config.files["a"], expected);
}

#[test]
fn a_file_root_is_checked() {
    let hidden = "is hidden, and hidden files are not served; name a file that does not begin with \".\"";
    let cases = [
        (
            "files.a = {}",
            "1:11: missing key \"root\" in files.a; write it as in root = \"/srv/www\"".to_owned(),
        ),
        ("files.a.root = \"\"", "1:16: files.a.root: a path must not be empty".to_owned()),
        (
            "files.a = { root = \"a\", index = [\"a/b\"] }",
            "1:34: files.a.index[0]: \"a/b\" is a path, not the name of a file; \
             write the name alone, as in \"index.html\""
                .to_owned(),
        ),
        (
            "files.a = { root = \"a\", index = [\".htaccess\"] }",
            format!("1:34: files.a.index[0]: \".htaccess\" {hidden}"),
        ),
        (
            "files.a = { root = \"a\", index = [\"a\", \"a\"] }",
            "1:39: \"a\" stands twice in files.a.index".to_owned(),
        ),
        (
            "files.a = { root = \"a\", fallback = \"/a.html\" }",
            "1:36: files.a.fallback: \"/a.html\" is not a path within root; \
             it starts in root: write \"a.html\""
                .to_owned(),
        ),
        (
            "files.a = { root = \"a\", fallback = \"a/../b\" }",
            "1:36: files.a.fallback: \"..\" leads out of the directory, or nowhere; write the path from root on".to_owned(),
        ),
        (
            "files.a = { root = \"a\", fallback = \"a//b\" }",
            "1:36: files.a.fallback: a file name must not be empty".to_owned(),
        ),
        (
            "files.a = { root = \"a\", cache-control = [{ paths = [\"a\"], value = \"x\" }] }",
            "1:53: files.a.cache-control[0].paths[0]: \"a\" does not start with \"/\" or \"*\"; write \"/a\""
                .to_owned(),
        ),
        (
            "files.a = { root = \"a\", cache-control = [{ paths = [], value = \"x\" }] }",
            "1:52: files.a.cache-control[0].paths must not be empty".to_owned(),
        ),
        (
            "files.a = { root = \"a\", cache-control = [{ paths = [\"/\"], value = \"a\\nb\" }] }",
            "1:67: files.a.cache-control[0].value: \"a\\nb\" is not the value of a field; \
             write visible ASCII characters, with spaces only between them"
                .to_owned(),
        ),
        (
            "files.a = { root = \"a\", directory-listing = true }",
            "1:25: unknown key \"directory-listing\" in files.a; known keys here: \
             root, index, fallback, fallback-for, not-found, media-types, charset, cache-control, precompressed, follow-symlinks, compression"
                .to_owned(),
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(problems(&with_listener(line)), [expected], "{line}");
    }
}

#[test]
fn upstreams_and_file_roots_share_one_set_of_names() {
    let both =
        "is the name of an upstream and of a file root; requests are routed to either by name: rename one";
    let (upstream, files) = ("upstream.a.servers = [\"b:1\"]", "files.a.root = \"a\"");
    assert_eq!(problems(&with_listener(&format!("{upstream}\n{files}"))), [format!("2:7: \"a\" {both}")]);
    assert_eq!(problems(&with_listener(&format!("{files}\n{upstream}"))), [format!("2:10: \"a\" {both}")]);
}

#[test]
fn a_file_root_is_a_destination_but_nothing_to_forward_connections_to() {
    let files = "files.assets.root = \"a\"";
    let config = read(&with_listener(&format!("default-upstream = \"assets\"\n{files}"))).expect("valid");
    assert_eq!(config.destinations().collect::<Vec<_>>(), ["assets"]);
    assert_eq!(
        problems(&with_listener(&format!("default-upstream = \"asset\"\n{files}"))),
        ["1:20: default-upstream: there is no upstream or file root \"asset\"; did you mean \"assets\"?"]
    );
    let tcp = format!("{files}\nlistener.b = {{ address = \"127.0.0.1:1\", tcp = \"assets\" }}");
    assert_eq!(
        problems(&with_listener(&tcp)),
        ["2:47: listener.b.tcp: there is no upstream \"assets\"; \
          \"assets\" is a file root, which serves HTTP: name an upstream"]
    );
}

#[test]
fn a_file_root_that_nobody_can_reach_is_told_of() {
    let shown = |line: &str, routable: bool| -> Vec<String> {
        let config = read(&with_listener(line)).expect("the text is valid");
        config.warnings(|_| routable).iter().map(ToString::to_string).collect()
    };
    let files = "files.a.root = \"a\"";
    assert_eq!(
        shown(files, false),
        ["etc/tidegate.toml:1:7: files.a: nobody can reach it; \
          make it the default-upstream or let a policy route to it"]
    );
    assert!(shown(files, true).is_empty());
    assert!(shown(&format!("default-upstream = \"a\"\n{files}"), false).is_empty());
}
