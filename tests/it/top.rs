//! `tidegate top`, where it has nothing to show or no terminal to show it on.

use tidegate_tests::{Ended, Terminal, command};

#[tokio::test]
async fn without_a_terminal_it_says_what_there_is_instead() {
    let ended = Ended::of(&mut command(&["top", "--admin", "127.0.0.1:1"]));
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("tidegate status --json"), "{ended}");
    let mut terminal = Terminal::open(80, 24);
    terminal.run(command(&["top", "--admin", "127.0.0.1:1"]));
    assert_eq!(terminal.ended().await.code(), Some(1));
    terminal.until("the admin interface at 127.0.0.1:1: ").await;
    assert!(terminal.is_as_before());
}
