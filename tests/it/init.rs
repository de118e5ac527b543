//! `tidegate init`: the first files of a proxy.

use tidegate_tests::{Ended, command};

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
