//! Follows the proxy, and asks again after it was out of reach.

use std::io;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::state::{About, Message};
use crate::commands::remote::Interface;

/// Before it is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// Events between two looks at what they do not tell: ten seconds, as the points of the last hour are.
const LOOKS: u64 = 10;

/// Nobody draws any more.
struct Over;

/// Starts the thread; it ends with the process, or when nobody takes its messages.
pub(super) fn start(interface: Interface, messages: SyncSender<Message>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("follow".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = follow(&interface, &messages) => {}
                // The terminal has to be put back first.
                () = told_to_stop() => drop(messages.send(Message::Stop)),
            }
        });
    })?;
    Ok(())
}

async fn told_to_stop() {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

async fn follow(interface: &Interface, messages: &SyncSender<Message>) -> Result<(), Over> {
    let tell = |message| messages.send(message).map_err(|_| Over);
    loop {
        let error = match interface.follow().await {
            Err(error) => error,
            Ok(mut events) => {
                let (mut count, mut reload) = (0, Value::Null);
                loop {
                    match events.next().await {
                        Err(error) => break error,
                        Ok(event) => {
                            let is_other = event["reload"] != reload;
                            reload = event["reload"].clone();
                            tell(Message::Event(event))?;
                            if count % LOOKS == 0 || is_other {
                                match about(interface).await {
                                    Ok(about) => tell(Message::About(about))?,
                                    Err(error) => break error,
                                }
                            }
                            count += 1;
                        }
                    }
                }
            }
        };
        tell(Message::Lost(error))?;
        sleep(PAUSE).await;
    }
}

async fn about(interface: &Interface) -> Result<About, String> {
    let ask = async |path| interface.ask(&Method::GET, path, None).await;
    Ok(About { status: ask("status").await?, history: ask("history").await?, reloads: ask("reloads").await? })
}
