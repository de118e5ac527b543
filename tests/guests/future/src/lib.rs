//! Built for a contract that does not exist yet: it wants a function of `request` that no proxy has.

wit_bindgen::generate!({
    inline: "
        package tidegate:policy@0.2.99;
        interface request {
            path: func() -> string;
            weather: func() -> string;
        }
        interface lifecycle {
            describe: func() -> list<tuple<string, string>>;
            configure: func(config: string) -> result<_, string>;
        }
        interface request-phase {
            enum verdict { next, finish, respond, fail }
            on-request: func() -> verdict;
        }
        world ahead {
            import request;
            export lifecycle;
            export request-phase;
        }
    ",
    generate_all,
});

use exports::tidegate::policy::lifecycle;
use exports::tidegate::policy::request_phase::{self, Verdict};
use tidegate::policy::request;

struct Future;

impl lifecycle::Guest for Future {
    fn describe() -> Vec<(String, String)> {
        vec![("name".to_owned(), "future".to_owned())]
    }

    fn configure(_: String) -> Result<(), String> {
        Ok(())
    }
}

impl request_phase::Guest for Future {
    fn on_request() -> Verdict {
        if request::path() == request::weather() { Verdict::Finish } else { Verdict::Next }
    }
}

export!(Future);
