//! Where compiled plugins are kept between starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tidegate_tests::{Proxy, Upstream, stock};

/// All files below it.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn compiled_code_is_kept_where_the_operator_says_and_out_of_others_reach() {
    let app = Upstream::echo("app").await;
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("made/by/the/proxy");
    let keys = format!("[plugins]\ncompile-cache = \"{}\"", cache.display());
    let proxy =
        || Proxy::builder(&app).section(&keys).plugin("10-router", stock("router"), "[config]\nrules = []");
    let checked = proxy().check();
    assert!(
        checked.status.success() && checked.stdout.contains("policy 10-router: compiled in"),
        "{checked}"
    );
    let kept = files(&cache);
    assert!(!kept.is_empty());
    let mode = fs::metadata(&cache).expect("a folder").permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);

    // A second start serves with what is there, and a broken file is none.
    for broken in [false, true] {
        if broken {
            kept.iter().for_each(|file| fs::write(file, "broken").expect("a file"));
        }
        let proxy = proxy().start().await;
        assert_eq!(proxy.get("/").await.status, 200);
        let policy = proxy.plugin_state("10-router", "serving").await;
        assert!(policy["compile_ms"].is_u64() && policy["memory"].as_u64() > Some(65_536), "{policy}");
    }
}

#[tokio::test]
async fn a_cache_that_others_can_write_to_is_not_used() {
    let app = Upstream::echo("app").await;
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("its owner");
    let keys = format!("[plugins]\ncompile-cache = \"{}\"", folder.path().display());
    let proxy =
        || Proxy::builder(&app).section(&keys).plugin("10-router", stock("router"), "[config]\nrules = []");
    let checked = proxy().check();
    assert_eq!(checked.status.code(), Some(1), "{checked}");
    assert!(checked.stdout.contains("cannot keep compiled plugins: others may write to it"), "{checked}");
    let proxy = proxy().start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    proxy.log().wait(&["WARN", "others may write to it"]).await;
    assert!(files(folder.path()).is_empty());

    let off = Proxy::builder(&app).section("[plugins]\ncompile-cache = \"off\"");
    let off = off.plugin("10-router", stock("router"), "[config]\nrules = []").start().await;
    assert_eq!(off.get("/").await.status, 200);
}
