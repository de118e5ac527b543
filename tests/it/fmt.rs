//! `tidegate fmt` and `tidegate check --explain-defaults`: files as they could be written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tidegate_tests::{Ended, command, stock};

const WRITTEN: &str =
    "include=[ 'conf.d/*.toml' ]\n[listener.web]\n  address=\"127.0.0.1:0\" # in the clear\n";
const LAID_OUT: &str =
    "include = ['conf.d/*.toml']\n\n[listener.web]\naddress = \"127.0.0.1:0\" # in the clear\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("conf.d")).expect("a folder in it");
    fs::write(folder.path().join("tidegate.toml"), WRITTEN).expect("a file of ours");
    fs::write(folder.path().join("conf.d/app.toml"), "[upstream.app]\nservers=[\"127.0.0.1:1\"]")
        .expect("a file of ours");
    folder
}

fn fmt(folder: &Path, arguments: &[&str]) -> Ended {
    let mut fmt = command(&["fmt"]);
    Ended::of(fmt.args(arguments).current_dir(folder))
}

#[test]
fn files_are_laid_out_in_place_and_once() {
    let folder = folder();
    let file = folder.path().join("tidegate.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
    let checked = fmt(folder.path(), &["--check"]);
    assert_eq!((checked.status.code(), &*checked.stdout), (Some(1), "tidegate.toml\nconf.d/app.toml\n"));
    assert_eq!(fs::read_to_string(&file).expect("it is there"), WRITTEN);

    let done = fmt(folder.path(), &[]);
    assert!(done.status.success(), "{done}");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), LAID_OUT);
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o640);
    let again = fmt(folder.path(), &["--check"]);
    assert_eq!((again.status.code(), &*again.stdout), (Some(0), ""));
}

#[test]
fn what_is_no_toml_stays_and_is_told_of() {
    let folder = folder();
    fs::write(folder.path().join("broken.toml"), "a = 1\nb = [1,\n").expect("a file of ours");
    let done = fmt(folder.path(), &["broken.toml", "missing.toml", "tidegate.toml"]);
    assert_eq!(done.status.code(), Some(1), "{done}");
    assert!(
        done.stderr.contains("broken.toml:") && done.stderr.contains("missing.toml: cannot read it"),
        "{done}"
    );
    assert_eq!(done.stdout, "tidegate.toml\n", "the others are laid out");
    assert_eq!(
        fs::read_to_string(folder.path().join("broken.toml")).expect("it is there"),
        "a = 1\nb = [1,\n"
    );
}

/// What we hand out is as `tidegate fmt` would have it.
#[test]
fn our_own_files_are_laid_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("examples"), root.join("proxy/server/src/commands/init/templates")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(kind) if kind == "toml" => files.push(path.display().to_string()),
                _ => {}
            }
        }
    }
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let checked = fmt(&root, &[&["--check"], &*files].concat());
    assert!(checked.status.success(), "{checked}");
}

#[test]
fn every_key_in_effect_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).expect("a file of ours");
    fs::create_dir(folder.path().join("plugins")).expect("a folder in it");
    write(
        "tidegate.toml",
        b"[listener.web]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = [\"${HOST}:80\"]\n\
          [limits]\nconnections = 5\n",
    );
    write("plugins/10-router.wasm", &stock("router"));
    write("plugins/10-router.toml", b"required = true\n[config]\nrules = []\n");
    write("plugins/20-spare.wasm", &stock("security-headers"));
    let check = |arguments: &[&str]| {
        let mut check = command(&["check"]);
        Ended::of(check.args(arguments).env("HOST", "127.0.0.1").current_dir(folder.path()))
    };
    let explained = check(&["--explain-defaults"]);
    assert!(explained.status.success(), "{explained}");
    let line = |start: &str| {
        let found = explained.stdout.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {explained}"))
    };
    assert!(line("connections = 5 ").ends_with("# tidegate.toml:6"), "{explained}");
    assert!(line("workers = ").ends_with("# default"));
    assert!(line("# default-upstream ").ends_with("# not set"));
    assert!(line("# [compression] ").ends_with("# not set"));
    assert!(line("[upstream.app]").ends_with("# tidegate.toml:3"));
    assert!(
        line("servers = [\"").contains("${HOST}:80"),
        "what the environment has is not shown: {explained}"
    );
    assert!(line("required = true ").ends_with("10-router.toml:1"));
    assert!(explained.stdout.contains("20-spare.toml\n\nenabled = true"), "{explained}");
    // It is a configuration, which says the same.
    let (edge, _) = explained.stdout.split_once("\n# plugins/").expect("the plugins follow");
    write("again.toml", edge.as_bytes());
    let again = check(&["--config", "again.toml"]);
    assert!(again.status.success(), "{again}: {edge}");
}

#[test]
fn what_is_included_is_named_as_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "include = [\"${PLACE}/*.toml\"]\nlistener.web.address = \"127.0.0.1:0\"\n";
    fs::write(folder.path().join("tidegate.toml"), text).expect("a file of ours");
    fs::create_dir(folder.path().join("plugins")).expect("a folder in it");
    let mut check = command(&["check", "--explain-defaults"]);
    let explained = Ended::of(check.env("PLACE", "secret").current_dir(folder.path()));
    assert!(explained.stdout.starts_with("# include = [\"${PLACE}/*.toml\"]"), "{explained}");
    assert!(!explained.stdout.contains("secret"), "{explained}");
}
