//! The proxy's own log, and the access log, where nobody reads them.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tidegate_tests::{Client, Proxy, command, until, within};

/// Each has a line of hundreds of bytes in the access log, and some in the log.
const REQUESTS: usize = 2000;
/// What a pipe takes.
const PIPE: usize = 64 << 10;

#[tokio::test]
async fn logs_that_are_not_read_hold_up_neither_a_request_nor_the_end() {
    let config = "default-upstream = \"app\"\nworkers = 1\n[log]\nlevel = \"trace\"\n\
                  [listener.web]\naddress = \"127.0.0.1:0\"\n\
                  [upstream.app]\nservers = [\"unix:/nowhere/at-all\"]\neject = false\n";
    let folder = Proxy::bare().config(config).write();
    let mut command = command(&["run", "--config"]);
    command.arg(folder.path().join("tidegate.toml")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary at TIDEGATE_BIN");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let address = loop {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended");
        if let Some((_, address)) = line.split_once("address=").filter(|_| line.contains("listening")) {
            break address.split_whitespace().next().expect("an address").parse().expect("an address");
        }
    };
    // From here on nothing is read.
    let mut client = Client::http1(address).await;
    for number in 0..REQUESTS {
        let answer = within("an answer", client.get(&format!("/{number}"))).await;
        assert_eq!(answer.status, 503, "{number}");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    until("the process to end", async || child.try_wait().expect("a child").is_some()).await;
    let mut stdout = child.stdout.take().expect("a pipe");
    for (name, pipe) in [("stdout", &mut stdout as &mut dyn Read), ("stderr", &mut stderr)] {
        let mut left = Vec::new();
        pipe.read_to_end(&mut left).expect("what it wrote");
        assert!(left.len() > PIPE / 2, "{name} was not full: {}", left.len());
    }
}
