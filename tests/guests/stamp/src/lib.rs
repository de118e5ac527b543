//! Leaves its mark, `value`, in every phase, and ends the chain when the request asks this mark to.
//!
//! `x-finish: MARK` and `x-answer: MARK` choose the verdict of the request phase, `x-replace: MARK` that of
//! the response phase; `x-route: NAME` is where the request goes, `x-hash-key: KEY` what chooses the server
//! there, `x-timeout: MILLISECONDS` how long that may take; `x-cache-…` says what the function of that name does.

use std::time::Duration;

use tidegate_plugin_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The mark.
    value: String,
    /// Which requests are marked at all; all when empty.
    #[serde(default)]
    only_paths: Vec<String>,
}

struct Stamp {
    mark: String,
}

#[policy]
impl Policy for Stamp {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if !config.only_paths.is_empty() {
            activation::only_paths(config.only_paths)?;
        }
        Ok(Self { mark: config.value })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if request.append_header("x-stamp", &self.mark).is_err() {
            return Verdict::Fail;
        }
        if let Some(route) = request.header("x-route") {
            let answer = match request.route_to(&route) {
                Ok(()) => "routed".to_owned(),
                Err(error) => error.to_string(),
            };
            if request.set_header("x-routed", answer).is_err() {
                return Verdict::Fail;
            }
        }
        if let Some(key) = request.header("x-hash-key") {
            request.set_hash_key(&key);
        }
        for (name, value) in request.headers().into_iter().filter(|(name, _)| name.starts_with("x-cache-")) {
            let value = String::from_utf8_lossy(&value).into_owned();
            let said = match name.as_str() {
                "x-cache-use" => request.use_cache(&value).map_err(|error| error.to_string()),
                "x-cache-bypass" => {
                    request.bypass_cache();
                    Ok(())
                }
                "x-cache-key" => request.add_cache_key(&value).map_err(|error| error.to_string()),
                "x-cache-lifetime" => {
                    request.set_cache_lifetime(Duration::from_secs(value.parse().unwrap_or(0)));
                    Ok(())
                }
                "x-cache-tag" => request.add_cache_tag(&value).map_err(|error| error.to_string()),
                _ => Ok(()),
            };
            if let Err(error) = said {
                return request.respond(Reply::new(500).text(error));
            }
        }
        if let Some(time) = request.header("x-timeout") {
            let Ok(milliseconds) = time.parse() else { return Verdict::Fail };
            request.set_timeout(Duration::from_millis(milliseconds));
        }
        if self.is_meant(request, "x-answer") {
            return request.respond(Reply::new(299).header("x-answered-by", &self.mark).text("answered\n"));
        }
        if self.is_meant(request, "x-finish") { Verdict::Finish } else { Verdict::Next }
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        if self.is_meant(request, "x-replace") {
            return response.respond(Reply::new(298).header("x-replaced-by", &self.mark).text("replaced\n"));
        }
        match response.append_header("x-stamp", &self.mark) {
            Ok(()) => Verdict::Next,
            Err(_) => Verdict::Fail,
        }
    }

    fn on_log(&self, request: &Request, response: &Response) {
        log::info!("{} logged {} {}", self.mark, request.path(), response.status());
    }
}

impl Stamp {
    fn is_meant(&self, request: &Request, field: &str) -> bool {
        request.header(field).is_some_and(|mark| mark == self.mark)
    }
}
