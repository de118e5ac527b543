//! A terminal that a test looks at and types on.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::sync::watch;

use crate::wait::within;

/// A pseudoterminal, and a program on it; dropping it kills the program.
#[derive(Debug)]
pub struct Terminal {
    /// The side of who looks and types.
    screen: File,
    /// The side of programs.
    line: File,
    drawn: watch::Receiver<String>,
    program: Option<Child>,
}

impl Terminal {
    /// One with so many columns and rows.
    #[must_use]
    pub fn open(columns: u16, rows: u16) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudoterminal");
        grantpt(&screen).and_then(|()| unlockpt(&screen)).expect("a pseudoterminal of this user");
        let name = ptsname(&screen, Vec::new()).expect("a name");
        let screen = File::from(screen);
        let mut options = OpenOptions::new();
        let no_control = i32::try_from(OFlags::NOCTTY.bits()).expect("a flag");
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, no_control);
        let line = options.read(true).write(true).open(name.to_str().expect("a path")).expect("a terminal");
        let (sender, drawn) = watch::channel(String::new());
        let mut reader = screen.try_clone().expect("a descriptor");
        // Ends when nobody has the other side.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                sender.send_modify(|text| text.push_str(&String::from_utf8_lossy(&bytes[..count])));
            }
        });
        let terminal = Self { screen, line, drawn, program: None };
        terminal.resize(columns, rows);
        terminal
    }

    /// Starts a program that has the terminal for everything.
    pub fn run(&mut self, mut command: Command) {
        let line = || self.line.try_clone().expect("a descriptor");
        command.stdin(line()).stdout(line()).stderr(line()).env("TERM", "xterm-256color");
        self.program = Some(command.spawn().expect("the binary at TIDEGATE_BIN"));
    }

    /// Waits until `text` has been drawn.
    pub async fn until(&self, text: &str) {
        let mut drawn = self.drawn.clone();
        let found = within(text, drawn.wait_for(|drawn| drawn.contains(text))).await;
        assert!(found.is_ok(), "{text:?} is not drawn");
    }

    /// Whether `text` has been drawn.
    #[must_use]
    pub fn shows(&self, text: &str) -> bool {
        self.drawn.borrow().contains(text)
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Gives it another size. Tells its program so if it has one.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.line, size).expect("a terminal");
        // The kernel tells those alone whose terminal it is to control.
        if self.program.is_some() {
            self.signal(Signal::WINCH);
        }
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        let program = self.program.as_ref().expect("a program");
        kill_process(Pid::from_child(program), signal).expect("a running process");
    }

    /// Waits until the program ends.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut program = self.program.take().expect("a program");
        let ended = tokio::task::spawn_blocking(move || program.wait());
        within("the program to end", ended).await.expect("no panic").expect("a child of this process")
    }

    /// Whether what is typed is shown, and handed over line by line.
    #[must_use]
    pub fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&self.line).expect("a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(program) = &mut self.program {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}
