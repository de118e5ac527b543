//! `examples/high-availability` and `examples/direct-server-return`: several machines with one address do what they say, where that can be
//! tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_tests::{Ended, command};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file)
}

/// What the example's script told, which ends with another status where it is not so. `None`: it cannot be tried here.
#[expect(clippy::print_stderr, reason = "who runs the tests should know what was left out")]
fn tried(script: &str) -> Option<Ended> {
    let tried = Ended::of(Command::new(example(script)).arg(command(&[]).get_program()));
    if tried.status.code() == Some(77) {
        eprintln!("{}", tried.stdout);
        return None;
    }
    assert!(tried.status.success(), "{tried}");
    Some(tried)
}

/// Needs the right to make network namespaces, and keepalived.
#[test]
#[ignore = "takes minutes, and the right to make network namespaces"]
fn an_address_moves_when_its_machine_fails_and_comes_back() {
    let Some(tried) = tried("high-availability/try.sh") else { return };
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

/// Needs the right to make network namespaces, and nftables.
#[test]
#[ignore = "takes a minute, and the right to make network namespaces"]
fn a_director_sends_connections_to_proxies_that_answer_clients_themselves() {
    let Some(tried) = tried("direct-server-return/try.sh") else { return };
    for what in ["a proxy is killed", "a link is cut", "a restart"] {
        let [out, back] = [format!("{what}: out after "), format!("{what} is over: back after ")];
        assert!(tried.stdout.contains(&out) && tried.stdout.contains(&back), "{tried}");
    }
    for downloads in ["a restart: downloads: 8 of 8 whole", "another director: downloads: 8 of 8 whole"] {
        assert!(tried.stdout.contains(downloads), "{tried}");
    }
}
