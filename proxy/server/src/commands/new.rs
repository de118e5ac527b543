//! `tidegate plugin new`: a project that builds, with what is needed to try it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

use tidegate_scaffold::{Language, Name, Project};

use super::print;

pub(crate) fn run(name: &str, language: Language) -> Result<ExitCode, String> {
    let name = Name::parse(name).map_err(|error| error.to_string())?;
    let folder = name.to_string();
    let folder = Path::new(&folder);
    let project = Project::new(&name, language);
    let failed = |path: &Path, error| format!("{}: cannot write it: {error}", path.display());
    if !is_free(folder).map_err(|error| failed(folder, error))? {
        return Err(format!(
            "{0}: there is something already; remove it, or choose another name than \"{0}\"",
            folder.display()
        ));
    }
    for file in &project.files {
        let path = folder.join(&file.path);
        write(&path, &file.text).map_err(|error| failed(&path, error))?;
    }
    print(&report(folder, language, &project))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether there is nothing, or an empty folder.
fn is_free(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(fs::symlink_metadata(folder).is_err()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

/// Of a file that somebody else made in the meantime nothing is lost.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    io::Write::write_all(&mut fs::File::create_new(path)?, text.as_bytes())
}

/// What was written, the SDK as one line, and what to do next.
fn report(folder: &Path, language: Language, project: &Project) -> String {
    let mut text = format!("{}: a policy in {}\n", folder.display(), language.title());
    let mut sdk = 0;
    for file in &project.files {
        match file.path.starts_with("sdk/") {
            true => sdk += 1,
            false => _ = writeln!(text, "  {}", file.path),
        }
    }
    if sdk > 0 {
        _ = writeln!(text, "  sdk/ ({sdk} files: the SDK and the contract of this version)");
    }
    let steps = &project.steps;
    _ = write!(text, "\nBuild it, try it, drop it into a proxy:\n  cd {}\n", folder.display());
    let steps = steps.prepare.iter().chain([&steps.build, &steps.test, &steps.install]);
    for step in steps {
        _ = writeln!(text, "  {step}");
    }
    _ = write!(text, "README.md says more.");
    text
}
