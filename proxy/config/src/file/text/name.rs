//! Names of files and of parts of the proxy.

use schemars::Schema;

use super::{Complaint, Form};

/// The name or the path of a file.
#[derive(Debug)]
pub(crate) struct FilePath(pub String);

impl Form for FilePath {
    const FORMAT: &'static str = "file-path";
    const EXAMPLE: &'static str = "certs/a.pem";
    const NAME: &'static str = "path";
    const RULE: &'static str = "The path of a file or a directory. A relative one starts in the directory of the file it is written in";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() {
            return Err(Complaint::new("a path must not be empty"));
        }
        if text.contains('\0') {
            // Not repeated: what stands in place of a path may be a secret.
            return Err(Complaint::new("a path must not contain a NUL"));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("minLength".to_owned(), 1.into());
    }
}

/// The name of a file in a directory that is served.
#[derive(Debug)]
pub(crate) struct FileName(pub String);

impl Form for FileName {
    const FORMAT: &'static str = "file-name";
    const EXAMPLE: &'static str = "index.html";
    const NAME: &'static str = "file name";
    const RULE: &'static str = "The name of a file, without a directory. It does not begin with a dot";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.contains('/') {
            return Err(Complaint::new(format!("{text:?} is a path, not the name of a file"))
                .help("write the name alone, as in \"index.html\""));
        }
        served(text)?;
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// The path of a file within a directory that is served.
#[derive(Debug)]
pub(crate) struct InnerPath(pub String);

impl Form for InnerPath {
    const FORMAT: &'static str = "inner-path";
    const EXAMPLE: &'static str = "errors/404.html";
    const NAME: &'static str = "inner path";
    const RULE: &'static str =
        "A path within `root`, without a slash in front. No part of it begins with a dot";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Some(inner) = text.strip_prefix('/') {
            return Err(Complaint::new(format!("{text:?} is not a path within root"))
                .help(format!("it starts in root: write {inner:?}")));
        }
        text.split('/').try_for_each(served)?;
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// Whether a name is one of those that are served at all.
fn served(name: &str) -> Result<(), Complaint> {
    if name.is_empty() {
        return Err(Complaint::new("a file name must not be empty"));
    }
    if name == ".." || name == "." {
        return Err(Complaint::new(format!("{name:?} leads out of the directory, or nowhere"))
            .help("write the path from root on"));
    }
    if name.starts_with('.') {
        return Err(Complaint::new(format!("{name:?} is hidden, and hidden files are not served"))
            .help("name a file that does not begin with \".\""));
    }
    if name.contains(['\\', '\0']) {
        return Err(Complaint::new(format!("{name:?} contains a backslash or a NUL, which no URL leads to")));
    }
    Ok(())
}

/// The name of a listener, an upstream, a file root or a secret. It appears in metrics, logs and addresses of the admin
/// interface, where other characters would have to be escaped.
#[derive(Debug)]
pub(crate) struct Name(String);

impl Form for Name {
    const FORMAT: &'static str = "name";
    const EXAMPLE: &'static str = "web";
    const NAME: &'static str = "name";
    const RULE: &'static str =
        "That of a listener, an upstream, a file root or a secret: ASCII letters, digits, `_`, `.` and `-`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.is_empty() || !text.chars().all(allowed) {
            return Err(Complaint::new(format!("{text:?} is not a name"))
                .help("names consist of the letters A-Z and a-z, digits, \"_\", \".\" and \"-\""));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[A-Za-z0-9_.-]+$".into());
    }
}

/// The name of a plugin: its file name without the ending.
#[derive(Debug)]
pub(crate) struct PluginName(pub String);

impl Form for PluginName {
    const FORMAT: &'static str = "plugin-name";
    const EXAMPLE: &'static str = "10-access";
    const NAME: &'static str = "plugin name";
    const RULE: &'static str = "The file name of a plugin, without its ending";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() || text.contains(['/', '\0']) {
            return Err(Complaint::new(format!("{text:?} is not the name of a plugin"))
                .help("write the file name without directory and ending, as in \"10-access\""));
        }
        if let Some(name) = text.strip_suffix(".wasm").or_else(|| text.strip_suffix(".toml")) {
            return Err(Complaint::new(format!("{text:?} is a file, not the name of a plugin"))
                .help(format!("write {name:?}")));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// The name of an environment variable, as POSIX has it.
#[derive(Debug)]
pub(crate) struct VariableName(pub String);

impl Form for VariableName {
    const FORMAT: &'static str = "environment-variable";
    const EXAMPLE: &'static str = "AUTH_TOKEN";
    const NAME: &'static str = "variable name";
    const RULE: &'static str = "The name of an environment variable: ASCII letters, digits and `_`, of which a digit is not the first";

    /// What was written is not repeated: it may be the secret that belongs into the variable.
    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(allowed) {
            let help = match text.starts_with('$') {
                true => "write the name alone, without \"$\"",
                false => "write the name as in \"AUTH_TOKEN\", not the value",
            };
            return Err(Complaint::new("this is not the name of an environment variable").help(help));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) {
        schema.insert("pattern".to_owned(), "^[A-Za-z_][A-Za-z0-9_]*$".into());
    }
}
