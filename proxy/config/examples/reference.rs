//! Makes the tables of the guide anew, in the pages given; `cargo xtask docs` calls it.
//!
//! Beside the crate and not in it, as the crate opens no files; and not in `xtask`, which would have to compile
//! the crate before every build.

use std::fs;

fn main() -> Result<(), String> {
    for page in std::env::args().skip(1) {
        let text = fs::read_to_string(&page).map_err(|error| format!("{page}: {error}"))?;
        let renewed = tidegate_config::reference(&text).map_err(|error| format!("{page}: {error}"))?;
        if renewed != text {
            fs::write(&page, renewed).map_err(|error| format!("{page}: {error}"))?;
        }
    }
    Ok(())
}
