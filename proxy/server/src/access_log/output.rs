//! Where lines go, and the thread that brings them there, so that a slow disk holds up no request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tidegate_config::{AccessLog, Config, LogOutput, Problem};

use super::Reopen;
use crate::lines::{Item, Queue};

/// Facility `local0`, severity `info` (RFC 5424 §6.2.1).
const PRIORITY: u8 = 16 * 8 + 6;

pub(super) enum Output {
    Stdout(io::Stdout),
    File(File, PathBuf),
    Syslog(Datagrams),
    Journald(Datagrams),
}

/// A socket that is asked for again when whoever reads it was started anew.
pub(super) struct Datagrams {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Output {
    /// `None` where the operator turned the log off.
    pub(super) fn open(log: &AccessLog) -> io::Result<Option<Self>> {
        Ok(Some(match &log.output {
            LogOutput::Off => return Ok(None),
            LogOutput::Stdout => Self::Stdout(io::stdout()),
            LogOutput::File(path) => Self::File(open(path)?, path.clone()),
            LogOutput::Syslog(path) => Self::Syslog(Datagrams::connect(path)?),
            LogOutput::Journald(path) => Self::Journald(Datagrams::connect(path)?),
        }))
    }

    fn take(&mut self, item: &Item<Reopen>) -> io::Result<()> {
        match (item, self) {
            (Item::Line(lines), Self::Stdout(stdout)) => {
                let mut stdout = stdout.lock();
                stdout.write_all(&lines.text)?;
                stdout.flush()
            }
            (Item::Line(lines), Self::File(file, _)) => file.write_all(&lines.text),
            (Item::Line(lines), Self::Syslog(datagrams)) => {
                datagrams.send(&lines.text, |line, text| {
                    let (time, process) = (local_time(), std::process::id());
                    // Memory takes all text.
                    let _ = write!(text, "<{PRIORITY}>{time} tidegate[{process}]: ");
                    text.extend_from_slice(line);
                })
            }
            (Item::Line(lines), Self::Journald(datagrams)) => datagrams.send(&lines.text, |line, text| {
                text.extend_from_slice(b"PRIORITY=6\nSYSLOG_IDENTIFIER=tidegate\nMESSAGE=");
                text.extend_from_slice(line);
                text.push(b'\n');
            }),
            (Item::Command(Reopen), Self::File(file, path)) => {
                *file = open(path)?;
                Ok(())
            }
            (Item::Command(Reopen), _) => Ok(()),
        }
    }
}

impl Datagrams {
    fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// Sends each line; the first error counts, and the others go all the same.
    fn send(&mut self, lines: &[u8], word: impl Fn(&[u8], &mut Vec<u8>)) -> io::Result<()> {
        let mut text = Vec::new();
        let mut result = Ok(());
        // No line has a line break within.
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            text.clear();
            word(line, &mut text);
            let sent = self.socket.send(&text).or_else(|_| {
                *self = Self::connect(&self.path)?;
                self.socket.send(&text)
            });
            result = result.and(sent.map(drop));
        }
        result
    }
}

/// `Jan  2 03:04:05` (RFC 3164 §4.1.2), in UTC as all of ours.
fn local_time() -> String {
    let now = time::OffsetDateTime::from(std::time::SystemTime::now());
    let month = now.month().to_string();
    let (hour, minute, second) = now.time().as_hms();
    format!("{} {:2} {hour:02}:{minute:02}:{second:02}", &month[..3], now.day())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Whether the output of `access-log` can be written, without making a file.
pub(crate) fn check(config: &Config) -> Option<Problem> {
    let (path, error) = match &config.access_log.output {
        LogOutput::Off | LogOutput::Stdout => return None,
        LogOutput::Syslog(path) | LogOutput::Journald(path) => (path, Datagrams::connect(path).err()?),
        LogOutput::File(path) => match OpenOptions::new().append(true).open(path) {
            Ok(_) => return None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
                (path, rustix::fs::access(parent, access).err()?.into())
            }
            Err(error) => (path, error),
        },
    };
    let message = format!("access-log.path: cannot write {}: {error}", path.display());
    Some(config.positions.problem("access-log.path", message))
}

/// Until nobody has lines any more.
pub(super) fn write_lines(queue: &Queue<Reopen>, mut output: Output) {
    // Reported once, until writing works again.
    let mut failing = false;
    while let Ok(item) = queue.items.recv() {
        match output.take(&item) {
            Err(error) if !failing => {
                failing = true;
                tracing::error!(target: "access_log", "cannot write: {error}; lines are lost until this is mended");
            }
            Ok(()) => failing = false,
            Err(_) => {}
        }
        let lost = queue.take_lost();
        if lost > 0 {
            tracing::warn!(target: "access_log", lost, "lines were lost: the output is slower than the traffic");
        }
    }
}
