//! The proxy's own log.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tidegate_tests::{Client, Proxy, command, within};

/// A pipe takes 64 KiB; each refused connection is a line of more than a hundred bytes.
const LINES: usize = 2000;

#[tokio::test]
async fn a_log_that_is_not_read_holds_up_no_request() {
    let config = "default-upstream = \"app\"\nworkers = 1\n[access-log]\npath = \"off\"\n\
                  [listener.web]\naddress = \"127.0.0.1:0\"\n\
                  [upstream.app]\nservers = [\"unix:/nowhere/at-all\"]\neject = false\n";
    let folder = Proxy::bare().config(config).write();
    let mut command = command(&["run", "--config"]);
    command.arg(folder.path().join("tidegate.toml")).stdin(Stdio::null()).stdout(Stdio::null());
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
    for number in 0..LINES {
        let answer = within("an answer", client.get(&format!("/{number}"))).await;
        assert_eq!(answer.status, 503, "{number}");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
