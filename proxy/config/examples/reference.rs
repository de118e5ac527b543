//! Writes the schemas of the operator's files to a folder, and makes the tables of the guide anew in the pages that follow;
//! `cargo xtask docs` calls it.
//!
//! Beside the crate and not in it, as the crate opens no files; and not in `xtask`, which would have to compile
//! the crate before every build.

use std::fs;

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name the folder of the schemas")?;
    fs::create_dir_all(&folder).map_err(|error| format!("{folder}: {error}"))?;
    for (name, schema) in [
        ("tidegate", tidegate_config::schema()),
        ("plugin", tidegate_config::plugin_schema()),
        ("cases", tidegate_config::cases_schema()),
    ] {
        write(&format!("{folder}/{name}.json"), &format!("{schema:#}\n"))?;
    }
    for page in arguments {
        let text = fs::read_to_string(&page).map_err(|error| format!("{page}: {error}"))?;
        let renewed = tidegate_config::reference(&text).map_err(|error| format!("{page}: {error}"))?;
        write(&page, &renewed)?;
    }
    Ok(())
}

/// What is there already keeps its time.
fn write(file: &str, text: &str) -> Result<(), String> {
    if fs::read_to_string(file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(file, text).map_err(|error| format!("{file}: {error}"))
}
