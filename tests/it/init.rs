//! `tidegate init`: the first files of a proxy.

use std::fs;

use tidegate_tests::{Ended, command, stock};

#[test]
fn what_is_written_passes_the_check() {
    let plugins = std::env::var("TIDEGATE_PLUGINS").expect("`cargo xtask test` sets it");
    for situation in ["proxy", "static", "canary", "tcp", "gateway"] {
        let folder = tempfile::tempdir().expect("a folder");
        let init = || {
            let mut init = command(&["init", situation, "--plugins", &plugins, "--directory"]);
            Ended::of(init.arg(folder.path()))
        };
        let written = init();
        assert!(written.status.success(), "{written}");
        let again = init();
        assert!(!again.status.success() && again.stderr.contains("is there already"), "{again}");
        let checked = Ended::of(command(&["check", "--config"]).arg(folder.path().join("tidegate.toml")));
        assert!(checked.status.success(), "{situation}: {checked}");
    }
}

#[test]
fn stock_policies_are_in_the_binary() {
    let folder = tempfile::tempdir().expect("a folder");
    let install = |arguments: &[&str]| {
        let mut install = command(&["plugin", "install"]);
        Ended::of(install.args(arguments).current_dir(folder.path()))
    };
    let listed = install(&[]);
    assert!(listed.status.success() && listed.stdout.lines().count() == 16, "{listed}");
    assert!(listed.stdout.contains("\nrouter "), "{listed}");

    let two = install(&["router", "rewrite"]);
    assert!(two.status.success() && two.stdout.contains("plugins/router.toml"), "{two}");
    let file = |name: &str| fs::read(folder.path().join("plugins").join(name)).expect("it is there");
    assert_eq!(file("router.wasm"), stock("router"));
    assert_eq!(file("rewrite.wasm"), stock("rewrite"));
    assert!(install(&["router"]).status.success(), "the same may be there");
    // One that cannot be without settings is off until it has some; those that are there stay.
    assert!(String::from_utf8(file("router.toml")).expect("text").contains("\nenabled = false\n"));
    fs::write(folder.path().join("plugins/mine.toml"), "[config]\nrules = []\n").expect("a file of ours");
    assert!(install(&["router", "--as", "mine"]).status.success());
    assert_eq!(file("mine.toml"), b"[config]\nrules = []\n");
    let checked = |config: &str| {
        fs::write(folder.path().join("tidegate.toml"), config).expect("a file of ours");
        Ended::of(command(&["check"]).current_dir(folder.path()))
    };
    let checked = checked("plugins.directory = \"chain\"\nlistener.web.address = \"127.0.0.1:0\"\n");
    assert!(!checked.status.success(), "the directory is not there: {checked}");
    let there = install(&["jwt"]);
    assert!(there.status.success() && there.stdout.starts_with("made chain\n"), "{there}");
    let checked = Ended::of(command(&["check"]).current_dir(folder.path()));
    assert!(checked.status.success(), "it is off: {checked}");
    fs::remove_file(folder.path().join("tidegate.toml")).expect("it is ours");

    // What is another's stays, and nothing is written then.
    fs::write(folder.path().join("plugins/10-edge.wasm"), "mine").expect("a file of ours");
    let other = install(&["router", "--as", "10-edge"]);
    assert!(!other.status.success() && other.stderr.contains("add --replace"), "{other}");
    assert_eq!(file("10-edge.wasm"), b"mine");
    assert!(install(&["router", "--as", "10-edge", "--replace"]).status.success());
    assert_eq!(file("10-edge.wasm"), stock("router"));

    let unknown = install(&["routr"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("there are access-control, "), "{unknown}");
    for alias in ["../router", "", ".router", "10-router.wasm", "r.shadow", "a\nb"] {
        assert!(!install(&["router", "--as", alias]).status.success(), "{alias}");
    }
}
