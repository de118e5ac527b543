//! `tidegate plugin new`: what it writes builds, passes its cases and decides about requests, by the commands that it prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tidegate_tests::{Ended, Proxy, Upstream, command};

const LANGUAGES: [&str; 6] = ["rust", "javascript", "typescript", "python", "c", "go"];
/// Where the printed commands install to.
const DIRECTORY: &str = "/etc/tidegate/plugins/";

/// `tidegate plugin new` in a folder.
fn new(folder: &Path, arguments: &[&str]) -> Ended {
    Ended::of(command(&["plugin", "new"]).args(arguments).current_dir(folder))
}

#[test]
fn every_language_has_a_project_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    for language in LANGUAGES {
        let name = format!("my-{language}");
        let made = new(folder.path(), &[&name, "--language", language]);
        assert!(made.status.success(), "{made}");
        let project = folder.path().join(&name);
        for file in ["README.md", ".gitignore", &format!("{name}.toml"), &format!("{name}.cases.toml")] {
            assert!(project.join(file).is_file(), "{language}: {file}");
            assert!(made.stdout.contains(&format!("  {file}\n")), "{file}: {made}");
        }
        // Whoever reads only the README learns the same commands.
        let readme = fs::read_to_string(project.join("README.md")).expect("a README");
        for step in steps(&made) {
            assert!(readme.contains(&step), "{step}: {readme}");
        }
    }
    for taken in ["my-c", "file", "link"] {
        if taken != "my-c" {
            fs::write(folder.path().join("file"), "mine").expect("a file");
            let _ = std::os::unix::fs::symlink("nowhere", folder.path().join("link"));
        }
        let refused = new(folder.path(), &[taken, "--language", "c"]);
        assert_eq!(refused.status.code(), Some(1), "{refused}");
        assert!(refused.stderr.contains(&format!("{taken}: there is something already")), "{refused}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("file")).expect("a file"), "mine");

    fs::create_dir(folder.path().join("empty")).expect("a folder");
    let made = new(folder.path(), &["empty", "--language", "js"]);
    assert!(made.status.success(), "{made}");
}

#[test]
fn a_bad_name_or_language_is_told_with_a_good_one() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, language, code, said) in [
        ("10-access", "rust", 1, "write \"access\""),
        ("../teapot", "c", 1, "write \"teapot\""),
        ("std", "rust", 1, "such as \"my-std\""),
        ("teapot", "cobol", 2, "possible values: rust, javascript, typescript, python, c, go"),
    ] {
        let refused = new(folder.path(), &[name, "--language", language]);
        assert_eq!(refused.status.code(), Some(code), "{refused}");
        assert!(refused.stderr.contains(said), "{refused}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

/// The commands that it prints, without the one that enters the folder.
fn steps(made: &Ended) -> Vec<String> {
    let lines = made.stdout.lines().skip_while(|line| !line.starts_with("  cd ")).skip(1);
    lines.filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

/// A project that was just written.
struct Project {
    folder: TempDir,
    name: String,
    /// Prepare, build, test and install; the first not in every language.
    steps: Vec<String>,
}

impl Project {
    fn new(language: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("my-{language}");
        let made = new(folder.path(), &[&name, "--language", language]);
        assert!(made.status.success(), "{made}");
        Self { folder, name, steps: steps(&made) }
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// The command that builds it.
    fn build(&self) -> &str {
        &self.steps[self.steps.len() - 3]
    }

    /// Runs a command in its folder as a shell would, with `tidegate` there.
    fn run(&self, line: &str) {
        let binary = PathBuf::from(command(&[]).get_program());
        let mut path = binary.parent().expect("a folder").as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        let ran = Ended::of(shell.args(["-ec", line]).current_dir(self.folder()).env("PATH", path));
        assert!(ran.status.success(), "{line}: {ran}");
    }

    /// Once it is built: its cases, and what it does in a proxy.
    async fn decides(&self) {
        let [.., test, install] = self.steps.as_slice() else { panic!("{:?}", self.steps) };
        self.run(test);
        let app = Upstream::echo("app").await;
        let proxy = Proxy::builder(&app).start().await;
        assert_eq!(proxy.get("/internal/a").await.echoed_by(), "app");
        self.run(&install.replace(DIRECTORY, &format!("{}/", proxy.folder().join("plugins").display())));
        says(&proxy, 0, &[" serving ", &format!("chain={}", self.name)]).await;

        proxy.get("/internal/a").await.assert_is(403, "closed\n");
        proxy.get("/x/..//%69nternal").await.assert_is(403, "closed\n");
        let passed = proxy.ask("GET", "/", &[("x-checked-by", "somebody")]).await;
        assert_eq!(passed.json()["headers"]["x-checked-by"], self.name.as_str(), "{passed:?}");

        // A configuration that it refuses changes nothing, and the operator is told where and why.
        for (config, said) in [
            ("[config]\nclosed = [\"/a\", \"b\"]\n", "closed[1]"),
            ("[config]\nclosed = [\"/a\"]\nopen = []\n", "open"),
            ("[config]\nclosed = \"/a\"\n", "closed"),
        ] {
            let settings = proxy.plugin_path(&format!("{}.toml", self.name));
            let before = fs::read_to_string(&settings).expect("its settings");
            let limits = before.lines().find(|line| line.starts_with("limits")).unwrap_or_default();
            let seen = proxy.log().all().len();
            fs::write(&settings, format!("{limits}\n{config}")).expect("a writable file");
            says(&proxy, seen, &["refuses its configuration", said]).await;
            proxy.get("/internal/a").await.assert_is(403, "closed\n");
            fs::write(&settings, before).expect("a writable file");
        }
    }
}

/// Waits for a line of the log with these parts: several times as long as for anything else, as a plugin in Python is compiled for
/// half a minute.
async fn says(proxy: &Proxy, from: usize, parts: &[&str]) {
    for _ in 0..8 {
        let line = |line: &str| parts.iter().all(|part| line.contains(part)).then_some(());
        if proxy.log().find_from(from, line).await.is_some() {
            return;
        }
    }
    panic!("no line with {parts:?} in {:?}", proxy.log().all());
}

#[tokio::test]
async fn a_project_in_rust_decides_about_requests() {
    let project = Project::new("rust");
    assert_eq!(project.build(), "cargo build --release --target wasm32-unknown-unknown");
    // The same by what `cargo xtask test` builds plugins with, and beside them, so that dependencies are compiled once.
    let words = std::env::var("TIDEGATE_WASM_BUILD").expect("`cargo xtask test` sets it");
    let mut build = Command::new("env");
    build.args(words.lines()).args(["--offline", "--config", "profile.plugin.inherits=\"release\""]);
    let plugins = PathBuf::from(std::env::var_os("TIDEGATE_PLUGINS").expect("`cargo xtask test` sets it"));
    let target = plugins.parent().expect("cargo's target folder");
    let built = Ended::of(build.arg("--target-dir").arg(target).current_dir(project.folder()));
    assert!(built.status.success(), "{built}");
    let made = target.join("wasm32-unknown-unknown/plugin/my_rust.wasm");
    let expected = project.folder().join("target/wasm32-unknown-unknown/release");
    fs::create_dir_all(&expected).expect("a folder");
    fs::copy(made, expected.join("my_rust.wasm")).expect("what was built");
    project.decides().await;
}

/// Whether a program can be run; if not, says what is skipped.
#[expect(clippy::print_stderr, reason = "who runs the tests should know what was left out")]
fn has(language: &str, line: &str) -> bool {
    let runs = Command::new("sh").args(["-c", line]).output().is_ok_and(|output| output.status.success());
    if !runs {
        eprintln!(
            "skipped: a project in {language}, as `{line}` fails here (`cargo xtask languages` brings its tools)"
        );
    }
    runs
}

#[tokio::test]
async fn a_project_in_javascript_decides_about_requests() {
    if has("JavaScript", "npm --version && componentize-qjs --help") {
        let project = Project::new("javascript");
        project.run(project.build());
        project.decides().await;
    }
}

#[tokio::test]
async fn a_project_in_typescript_decides_about_requests() {
    if has("TypeScript", "npm --version && componentize-qjs --help && tsc --version") {
        let project = Project::new("typescript");
        project.run(project.build());
        project.decides().await;
    }
}

#[tokio::test]
async fn a_project_in_python_decides_about_requests() {
    if has("Python", "componentize-py --version") {
        let project = Project::new("python");
        project.run(&project.build().replace(".venv/bin/", ""));
        project.decides().await;
    }
}

#[tokio::test]
async fn a_project_in_c_decides_about_requests() {
    const ZIG: &str = "python3 -m ziglang";
    if !has("C", "make --version && wit-bindgen --version") {
        return;
    }
    for (compiler, there) in [
        ("", "clang --version && test -e /usr/include/wasm32-wasi/stdlib.h"),
        (" CC=\"python3 -m ziglang cc -target wasm32-wasi\"", &format!("{ZIG} version")),
    ] {
        if has("C", there) {
            let project = Project::new("c");
            project.run(&format!("{}{compiler}", project.build()));
            project.decides().await;
        }
    }
}
