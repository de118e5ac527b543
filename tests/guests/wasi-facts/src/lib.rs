//! Uses the WASI parts of the standard library and tells what it found: time works, nothing else is there.

use std::time::{Duration, SystemTime};

use tidegate_plugin_sdk::prelude::*;

struct WasiFacts;

#[policy]
impl Policy for WasiFacts {
    type Config = ();

    fn configure((): ()) -> Result<Self, Error> {
        Ok(Self)
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if let Some(wait) = request.header("x-wait") {
            let seconds = wait.parse().unwrap_or(0);
            std::thread::sleep(Duration::from_secs(seconds));
        }
        println!("a line on stdout for {}", request.path());
        eprintln!("a line on stderr for {}", request.path());
        let clock = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .is_ok_and(|now| now.as_secs() > 1_700_000_000);
        let facts = [
            ("x-clock", clock.to_string()),
            ("x-variables", std::env::vars().count().to_string()),
            ("x-arguments", std::env::args().count().to_string()),
            ("x-files", std::fs::read_dir("/").is_ok().to_string()),
            ("x-network", std::net::TcpStream::connect("127.0.0.1:80").is_ok().to_string()),
        ];
        match facts.into_iter().try_for_each(|(name, value)| request.set_header(name, value)) {
            Ok(()) => Verdict::Next,
            Err(_) => Verdict::Fail,
        }
    }
}
