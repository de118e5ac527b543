//! The tables of the guide.

use crate::{ReferenceError, reference};

const PAGES: [(&str, &str); 2] = [
    ("docs/configuration.md", include_str!("../../../../docs/configuration.md")),
    ("docs/plugins.md", include_str!("../../../../docs/plugins.md")),
];

#[test]
fn the_guide_is_up_to_date() {
    for (name, page) in PAGES {
        let renewed = reference(page).unwrap_or_else(|error| panic!("{name}: {error}"));
        let differs = renewed.lines().zip(page.lines()).find(|(new, old)| new != old);
        assert!(renewed == page, "{name} is not what the schema says: run `cargo xtask docs`\n{differs:#?}");
        assert!(page.contains("<!-- generated: "), "{name} has no tables");
    }
}

/// The rows of a page with this one block.
fn rows(block: &str) -> Vec<String> {
    let file = block.split(' ').next().expect("a split has a first part");
    let page =
        format!("<!-- generated: {block} -->\n<!-- end -->\n<!-- generated: {file} -->\n<!-- end -->\n");
    let renewed = reference(&page).expect("a page");
    let lines = renewed.lines().skip(4).take_while(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

fn row(block: &str, key: &str) -> String {
    let start = format!("| `{key}` |");
    let found = rows(block).into_iter().find(|row| row.starts_with(&start));
    found.unwrap_or_else(|| panic!("{block} has no row for {key}"))
}

#[test]
fn a_row_tells_type_range_and_default() {
    for (block, key, told) in [
        ("tidegate.toml", "workers", "`0` to `1024` | `0`"),
        ("tidegate.toml", "trusted-proxies", "list of networks | `[]`"),
        ("tidegate.toml", "resolver.timeout", "duration | `\"2s\"`"),
        ("tidegate.toml [limits]", "request-headers", "size, `\"8KiB\"` to `\"16MiB\"` | `\"32KiB\"`"),
        ("tidegate.toml [limits]", "connections", "`1` to `1_000_000_000` | `10_000`"),
        ("tidegate.toml [timeouts]", "drain", "duration, at least `\"0s\"` | `\"30s\"`"),
        ("tidegate.toml [listener.NAME]", "address", "socket address | required"),
        (
            "tidegate.toml [listener.NAME]",
            "http",
            "list of `\"1.1\"` or `\"2\"`, not empty | `[\"1.1\", \"2\"]`",
        ),
        ("tidegate.toml [listener.NAME]", "tls-passthrough", "table: server name = text | none"),
        ("tidegate.toml [listener.NAME]", "tls.certificates[].key", "path | required"),
        (
            "tidegate.toml [upstream.NAME]",
            "servers",
            "list of server addresses or tables, not empty | required",
        ),
        ("tidegate.toml [upstream.NAME]", "servers[].weight", "`1` to `1000` | `1`"),
        ("tidegate.toml [upstream.NAME]", "eject", "`true`, `false` or table | `true`"),
        ("tidegate.toml [upstream.NAME]", "eject.failures", "`1` to `1000` | `5`"),
        ("tidegate.toml [upstream.NAME]", "timeouts", "table | below"),
        (
            "tidegate.toml [upstream.NAME.health]",
            "health.interval",
            "duration, at least `\"100ms\"` | `\"5s\"`",
        ),
        ("NAME.toml", "on-error", "`\"deny\"` or `\"skip\"` | `\"deny\"`"),
        ("NAME.toml", "grants.routes", "list of texts | none"),
        ("NAME.toml", "timer", "duration, `\"1s\"` to `\"24h\"` | none"),
        ("NAME.toml", "secrets.NAME.env", "variable name | none"),
        ("tidegate.toml [state]", "backend", "backend | `\"memory\"`"),
    ] {
        let row = row(block, key);
        assert!(row.starts_with(&format!("| `{key}` | {told} | ")), "{row}");
    }
}

#[test]
fn what_is_allowed_is_explained() {
    let row = row("NAME.toml", "on-error");
    assert!(row.contains("`\"deny\"`: ") && row.contains(" `\"skip\"`: "), "{row}");
}

#[test]
fn a_table_with_a_block_of_its_own_is_linked() {
    let page = "\
# `tidegate.toml`
<!-- generated: tidegate.toml -->
<!-- end -->
## `[upstream.NAME]`
<!-- generated: tidegate.toml [upstream.NAME] -->
what was here is replaced
<!-- end -->
### Health, and more
<!-- generated: tidegate.toml [upstream.NAME.health] -->
<!-- end -->
Prose stays.
";
    let renewed = reference(page).expect("a page");
    assert!(renewed.contains("| [`[upstream.NAME]`](#upstreamname) | table | none | "), "{renewed}");
    assert!(renewed.contains("| [`health`](#health-and-more) | table | none | "), "{renewed}");
    assert_eq!(renewed.matches("| `health.path` | ").count(), 1, "{renewed}");
    assert!(
        renewed.contains("| `limits.connections` | "),
        "a table without a block is in the file's: {renewed}"
    );
    assert!(
        !renewed.contains("what was here") && renewed.ends_with("<!-- end -->\nProse stays.\n"),
        "{renewed}"
    );
    assert_eq!(reference(&renewed), Ok(renewed));
}

#[test]
fn a_block_that_cannot_be_made_is_told() {
    let unknown = |name: &str| ReferenceError::Unknown { line: 2, name: name.to_owned() };
    for name in ["tidegate.yaml", "tidegate.toml [limit]", "tidegate.toml [limits", "tidegate.toml [workers]"]
    {
        let page = format!("\n<!-- generated: {name} -->\n<!-- end -->\n<!-- generated: tidegate.toml -->\n");
        assert_eq!(reference(&page), Err(unknown(name)));
    }
    let name = "tidegate.toml [limits]";
    let page = format!("<!-- generated: {name} -->\n");
    assert_eq!(reference(&page), Err(ReferenceError::Unclosed { line: 1, name: name.to_owned() }));
    let page = format!("<!-- generated: {name} -->\n<!-- end -->\n");
    assert_eq!(reference(&page), Err(ReferenceError::Gaps { file: "tidegate.toml".to_owned() }));
}
