//! Everything a checkout needs beyond plain `cargo`: set-up, build, tests, documentation, demo and benchmark.

use std::process::ExitCode;

use crate::build::Profile;

mod bench;
mod build;
mod command;
mod docs;
mod languages;
mod package;
mod pgo;
mod test;
mod wasm;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  build                                 target/release/tidegate and target/plugins/NAME.wasm; the binary is optimised by the
                                        profile of its work in xtask/profiles, if there is one for the compiler
  profile                               that profile, anew: half an hour
  test [FILTER…]                        formatting, lints, and every test (or those whose name contains FILTER)
  soak                                  the tests that take long or need namespaces, keepalived or debootstrap, and the Debian
                                        package installed, upgraded and removed; says what it skipped
  languages                             the tools for policies in JavaScript, TypeScript, Python and C, to target/languages,
                                        and the tests that build and run such projects
  docs                                  the tables of the guide, from the descriptions in proxy/config/src/file
  demo                                  build, then `tidegate demo`
  package                               a Debian package, an archive and an image for containers (OCI), to target/package
    --quick                             of the binary of the tests
  bench [CASE…]                         CPU time, latency, memory and time to reload, beside the floor (the least a proxy on
                                        hyper does), nginx, HAProxy and Envoy where they are
    --list                              the cases; a name that ends with - stands for all that begin so
    --quick                             of the binary of the tests
    --rounds N, --seconds N             of each measurement: 3 of 3 seconds
    --json FILE, --plot FILE            the same for programs, and as a picture (SVG)
  bench --instructions                  instructions per request outside the kernel, which no other load disturbs (needs
                                        valgrind); with the name of a case scale-…, of that
    --clients N                         that ask at the same time; 1
    --check, --write                    compared with the table in docs/performance.md, or put there

Each command installs or builds what it needs first; only Rust itself has to be there.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first().map(|(name, rest)| (name.as_str(), rest)) {
        Some(("build", [])) => pgo::release().map(|built| built.report()),
        Some(("profile", [])) => pgo::count(),
        Some(("test", filters)) => test::run(filters),
        Some(("soak", [])) => test::soak(),
        Some(("languages", [])) => languages::run_all(),
        Some(("docs", [])) => docs::write(),
        Some(("package", [])) => package::pack(false),
        Some(("package", [quick])) if quick == "--quick" => package::pack(true),
        Some(("demo", rest)) => build::everything(Profile::Quick).and_then(|built| built.demo(rest)),
        Some(("bench", rest)) => bench::measure(rest),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            command::say(&message);
            ExitCode::FAILURE
        }
    }
}
