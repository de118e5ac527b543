//! `tidegate top`, on a terminal and without one.

use rustix::process::Signal;
use tidegate_tests::{Ended, Proxy, Terminal, Upstream, command, until};

#[tokio::test]
async fn it_draws_and_leaves_the_terminal_as_it_was() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let admin = proxy.address("admin").to_string();
    for end in ["q", "\u{3}", "a signal"] {
        let mut terminal = Terminal::open(80, 24);
        terminal.run(command(&["top", "--admin", &admin]));
        // Blanks are not drawn where there were some before.
        for word in ["requests/s", "in", "the", "last", "hour,"] {
            terminal.until(word).await;
        }
        assert!(!terminal.is_as_before(), "keys come one by one");
        terminal.press("3");
        // With another size all of it is drawn anew, and not what differs alone.
        let mut rows = 30;
        until("the servers", async || {
            rows = 61 - rows;
            terminal.resize(120, rows);
            terminal.shows("LAST FAILURE") && terminal.shows(&app.server())
        })
        .await;
        match end {
            "a signal" => terminal.signal(Signal::TERM),
            key => terminal.press(key),
        }
        assert!(terminal.ended().await.success(), "{end}");
        terminal.until("\u{1b}[?1049l").await;
        assert!(terminal.is_as_before(), "{end}");
    }
}

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
