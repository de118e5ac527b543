//! `examples/high-availability`: its files are good, and two machines with one address do what it says, where that can be tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_tests::{Ended, command};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/high-availability").join(file)
}

#[test]
fn its_configuration_passes_the_check() {
    let checked = Ended::of(command(&["check", "--config"]).arg(example("tidegate.toml")));
    assert!(checked.status.success(), "{checked}");
}

/// Needs the right to make network namespaces, and keepalived.
#[test]
#[ignore = "takes minutes, and the right to make network namespaces"]
fn an_address_moves_when_its_machine_fails_and_comes_back() {
    let program = command(&[]).get_program().to_owned();
    let tried = Ended::of(Command::new(example("try.sh")).arg(program));
    if tried.status.code() == Some(77) {
        eprintln!("{}", tried.stdout);
        return;
    }
    assert!(tried.status.success(), "{tried}");
    for what in [
        "the proxy is killed",
        "keepalived is killed",
        "the link is cut",
        "a restart",
        "the switch loses the first",
    ] {
        let [away, back] = [format!("{what}: away for "), format!("{what} is over: the first has it again ")];
        assert!(tried.stdout.contains(&away) && tried.stdout.contains(&back), "{tried}");
    }
    assert!(tried.stdout.contains("never two for longer than "), "{tried}");
}
