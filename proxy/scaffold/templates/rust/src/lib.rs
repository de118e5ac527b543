//! Closes some paths and marks the requests that pass.

use tidegate_plugin_sdk::prelude::*;

/// The `[config]` table of `{{name}}.toml`; operators read these comments.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Globs over the path. Who asks for one of these gets 403.
    closed: Vec<String>,
}

struct Plugin {
    closed: Patterns,
}

#[policy] // exports the phases written below, and no others
impl Policy for Plugin {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let closed = Patterns::for_paths().glob(config.closed).map_err(|error| error.within("closed"))?;
        Ok(Self { closed })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if self.closed.matches_path(request).is_some() {
            return request.respond(Reply::new(403).text("closed\n"));
        }
        match request.set_header("x-checked-by", "{{name}}") {
            Ok(()) => Verdict::Next,
            Err(_) => Verdict::Fail, // the operator's `on-error` decides
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_path_is_refused_in_every_spelling() {
        let plugin = testing::configure::<Plugin>(serde_json::json!({ "closed": ["/internal/**"] })).unwrap();
        for path in ["/internal", "/internal/a", "/%69nternal/a", "/x/../internal"] {
            let request = testing::Request::new("GET", path);
            assert_eq!(plugin.on_request(&request), Verdict::Respond, "{path}");
            assert_eq!(request.reply().map(|reply| reply.status), Some(403), "{path}");
        }
    }

    #[test]
    fn what_passes_is_marked() {
        let plugin = testing::configure::<Plugin>(serde_json::json!({ "closed": ["/internal/**"] })).unwrap();
        let request = testing::Request::new("GET", "/").with_header("x-checked-by", "somebody");
        assert_eq!(plugin.on_request(&request), Verdict::Next);
        assert_eq!(request.header("x-checked-by").as_deref(), Some("{{name}}"));
    }
}
