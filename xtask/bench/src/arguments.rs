//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::instructions::Then;
use crate::proxies::tidegate::Tidegate;
use crate::terminal::Result;

/// All of it. The first three come from `cargo xtask bench`, which knows what was built.
pub(crate) struct Arguments {
    pub(crate) tidegate: Tidegate,
    /// Where everything is written that the bench needs.
    pub(crate) folder: PathBuf,
    /// How the binary was built: figures are of that.
    pub(crate) profile: String,
    pub(crate) what: What,
    /// Names of cases, or how several of them begin; empty: all.
    pub(crate) cases: Vec<String>,
    pub(crate) rounds: u32,
    pub(crate) time: Duration,
    /// Clients that ask at the same time while instructions are counted.
    pub(crate) clients: u32,
    pub(crate) json: Option<PathBuf>,
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    List,
    /// Measures cases.
    Cases,
    /// Counts instructions.
    Instructions(Then),
    /// Sends the load that a profile is made of.
    Train,
}

impl Arguments {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let [program, plugins, folder, profile, rest @ ..] = arguments else {
            return Err("`cargo xtask bench` runs this: PROGRAM PLUGINS FOLDER PROFILE …".to_owned());
        };
        let tidegate = Tidegate { program: program.into(), plugins: plugins.into() };
        let mut parsed = Self {
            tidegate,
            folder: folder.into(),
            profile: profile.clone(),
            what: What::Cases,
            cases: Vec::new(),
            rounds: 3,
            time: Duration::from_secs(3),
            clients: 1,
            json: None,
            plot: None,
        };
        let mut rest = rest.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--list" => parsed.what = What::List,
                "--train" => parsed.what = What::Train,
                "--instructions" => parsed.what = What::Instructions(Then::Print),
                "--check" => parsed.what = What::Instructions(Then::Check),
                "--write" => parsed.what = What::Instructions(Then::Write),
                "--rounds" => parsed.rounds = number(argument, rest.next())?,
                "--seconds" => parsed.time = Duration::from_secs(number(argument, rest.next())?.into()),
                "--clients" => parsed.clients = number(argument, rest.next())?,
                "--json" => parsed.json = Some(file(argument, rest.next())?),
                "--plot" => parsed.plot = Some(file(argument, rest.next())?),
                option if option.starts_with('-') => return Err(format!("bench has no option {option}")),
                case => parsed.cases.push(case.to_owned()),
            }
        }
        Ok(parsed)
    }
}

fn number(option: &str, value: Option<&String>) -> Result<u32> {
    let number = value.and_then(|value| value.parse().ok());
    number
        .filter(|number| (1..=1000).contains(number))
        .ok_or_else(|| format!("{option} wants a number from 1 to 1000"))
}

fn file(option: &str, value: Option<&String>) -> Result<PathBuf> {
    value.map(PathBuf::from).ok_or_else(|| format!("{option} wants a file"))
}
