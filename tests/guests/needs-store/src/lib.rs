//! Imports the capability `store`, which nobody granted: it must not be loaded.
//!
//! Written against the contract itself, since the SDK offers only what the host grants.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package tidegate:guest;
        world needs-store {
            import tidegate:policy/request@0.2.0;
            import tidegate:policy/store@0.2.0;
            export tidegate:policy/lifecycle@0.2.0;
            export tidegate:policy/request-phase@0.2.0;
        }
    ",
    world: "tidegate:guest/needs-store",
    generate_all,
});

use exports::tidegate::policy::{lifecycle, request_phase};
use tidegate::policy::types::Verdict;
use tidegate::policy::{request, store};

struct NeedsStore;

impl lifecycle::Guest for NeedsStore {
    fn describe() -> Vec<(String, String)> {
        vec![("name".to_owned(), "needs-store".to_owned())]
    }

    fn configure(_: String) -> Result<(), String> {
        Ok(())
    }
}

impl request_phase::Guest for NeedsStore {
    fn on_request() -> Verdict {
        match store::increment(&request::path(), 1, 0) {
            Ok(_) => Verdict::Next,
            Err(_) => Verdict::Fail,
        }
    }
}

export!(NeedsStore);
