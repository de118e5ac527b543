//! What of the guide is made from the schemas of the operator's files: its tables, and the schemas for editors.

use crate::build::Profile;
use crate::command::{self, Result, cargo};

/// Writes the schemas, and the tables into the pages that have some.
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
        "docs/schema",
        "docs/configuration.md",
        "docs/plugins.md",
    ]))
}
