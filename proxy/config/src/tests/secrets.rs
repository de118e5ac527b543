//! Where the secrets of policies are, and that nobody reads in a message what may be one.

use super::{FULL_PLUGIN, plugin_problems, read_plugin};
use crate::Secret;

#[test]
fn a_secret_is_in_a_file_or_in_the_environment() {
    let plugin = read_plugin(FULL_PLUGIN).expect("the example is valid");
    let secrets: Vec<_> = plugin.secrets.iter().map(|(name, secret)| (name.as_str(), secret)).collect();
    assert_eq!(
        secrets,
        [
            ("htpasswd", &Secret::File("plugins/users.htpasswd".into())),
            ("signing.key-2", &Secret::File("/run/secrets/key".into())),
            ("token", &Secret::Env("AUTH_TOKEN".to_owned())),
        ]
    );
}

#[test]
fn one_mistake_gives_one_problem_at_its_place() {
    let elsewhere =
        r#"write { file = "FILE" } or { env = "NAME" }: a secret does not stand in this file"#.to_owned();
    let not_a_variable = "secrets.token.env: this is not the name of an environment variable";
    let cases = [
        ("token = \"hunter2\"", format!("2:9: secrets.token must be a table, not text; {elsewhere}")),
        ("token = 12345678", format!("2:9: secrets.token must be a table, not a number; {elsewhere}")),
        ("token = [\"hunter2\"]", format!("2:9: secrets.token must be a table, not a list; {elsewhere}")),
        (
            "token = {}",
            r#"2:9: secrets.token does not say where the secret is; add file = "FILE" or env = "NAME""#.to_owned(),
        ),
        (
            "\"a.b\" = {}",
            r#"2:9: secrets."a.b" does not say where the secret is; add file = "FILE" or env = "NAME""#.to_owned(),
        ),
        (
            "token = { file = \"a\", env = \"A\" }",
            "2:29: secrets.token: env cannot stand beside file; leave one of them out".to_owned(),
        ),
        (
            "token = { path = \"hunter2\" }",
            r#"2:11: unknown key "path" in secrets.token; known keys here: file, env"#.to_owned(),
        ),
        ("token.file = \"\"", "2:14: secrets.token.file: a path must not be empty".to_owned()),
        (
            "token.file = \"hunter2\\u0000\"",
            "2:14: secrets.token.file: a path must not contain a NUL".to_owned(),
        ),
        (
            "token.file = 12345678",
            r#"2:14: secrets.token.file must be text, not a number; write it as in "certs/a.pem""#.to_owned(),
        ),
        (
            "token.env = \"hunter-2\"",
            format!(r#"2:13: {not_a_variable}; write the name as in "AUTH_TOKEN", not the value"#),
        ),
        (
            "token.env = \"2hunter\"",
            format!(r#"2:13: {not_a_variable}; write the name as in "AUTH_TOKEN", not the value"#),
        ),
        (
            "token.env = \"${AUTH_TOKEN}\"",
            format!(r#"2:13: {not_a_variable}; write the name alone, without "$""#),
        ),
        (
            "\"to ken\".env = \"A\"",
            r#"2:1: "to ken" is not a name; names consist of the letters A-Z and a-z, digits, "_", "." and "-""#
                .to_owned(),
        ),
    ];
    for (line, problem) in cases {
        assert_eq!(plugin_problems(&format!("[secrets]\n{line}\n")), [problem], "{line}");
    }
    assert_eq!(plugin_problems("secrets = \"hunter2\""), ["1:11: secrets must be a table, not text"]);
}
