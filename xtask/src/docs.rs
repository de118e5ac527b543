//! The tables of the guide, which are made from the schemas of the operator's files.

use crate::build::Profile;
use crate::command::{self, Result, cargo};

/// Writes them into the pages that have some.
pub(crate) fn write() -> Result<()> {
    command::run(cargo().args([
        "run",
        "--quiet",
        "--profile",
        Profile::Quick.name(),
        "--package",
        "tidegate-config",
        "--example",
        "reference",
        "--",
        "docs/configuration.md",
        "docs/plugins.md",
    ]))
}
