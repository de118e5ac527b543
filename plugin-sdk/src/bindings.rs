//! What `wit-bindgen` makes of `wit/`: the imports once, and each exported interface by itself so that a
//! plugin exports only the phases it has.

/// Every interface this version of the SDK uses.
pub mod imports {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package tidegate:sdk;
            world imports { include tidegate:policy/imports@0.2.0; }
        ",
        world: "tidegate:sdk/imports",
        generate_all,
    });
}

/// `lifecycle`, required of every plugin.
#[cfg(target_family = "wasm")]
pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world lifecycle { export tidegate:policy/lifecycle@0.2.0; }",
        world: "tidegate:sdk/lifecycle",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::lifecycle",
        generate_all,
    });
}

/// `request-phase`.
#[cfg(target_family = "wasm")]
pub mod request {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world request { export tidegate:policy/request-phase@0.2.0; }",
        world: "tidegate:sdk/request",
        pub_export_macro: true,
        export_macro_name: "export_request",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::request",
        with: { "tidegate:policy/types@0.2.0": crate::bindings::imports::tidegate::policy::types },
        generate_all,
    });
}

/// `response-phase`.
#[cfg(target_family = "wasm")]
pub mod response {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world response { export tidegate:policy/response-phase@0.2.0; }",
        world: "tidegate:sdk/response",
        pub_export_macro: true,
        export_macro_name: "export_response",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::response",
        with: { "tidegate:policy/types@0.2.0": crate::bindings::imports::tidegate::policy::types },
        generate_all,
    });
}

/// `request-body-phase`.
#[cfg(target_family = "wasm")]
pub mod request_body {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world request-body { export tidegate:policy/request-body-phase@0.2.0; }",
        world: "tidegate:sdk/request-body",
        pub_export_macro: true,
        export_macro_name: "export_request_body",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::request_body",
        with: { "tidegate:policy/types@0.2.0": crate::bindings::imports::tidegate::policy::types },
        generate_all,
    });
}

/// `request-chunk-phase`.
#[cfg(target_family = "wasm")]
pub mod request_chunk {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world request-chunk { export tidegate:policy/request-chunk-phase@0.2.0; }",
        world: "tidegate:sdk/request-chunk",
        pub_export_macro: true,
        export_macro_name: "export_request_chunk",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::request_chunk",
        with: { "tidegate:policy/types@0.2.0": crate::bindings::imports::tidegate::policy::types },
        generate_all,
    });
}

/// `response-body-phase`.
#[cfg(target_family = "wasm")]
pub mod response_body {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world response-body { export tidegate:policy/response-body-phase@0.2.0; }",
        world: "tidegate:sdk/response-body",
        pub_export_macro: true,
        export_macro_name: "export_response_body",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::response_body",
        with: { "tidegate:policy/types@0.2.0": crate::bindings::imports::tidegate::policy::types },
        generate_all,
    });
}

/// `response-chunk-phase`.
#[cfg(target_family = "wasm")]
pub mod response_chunk {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world response-chunk { export tidegate:policy/response-chunk-phase@0.2.0; }",
        world: "tidegate:sdk/response-chunk",
        pub_export_macro: true,
        export_macro_name: "export_response_chunk",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::response_chunk",
        with: { "tidegate:policy/types@0.2.0": crate::bindings::imports::tidegate::policy::types },
        generate_all,
    });
}

/// `log-phase`.
#[cfg(target_family = "wasm")]
pub mod log {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world log { export tidegate:policy/log-phase@0.2.0; }",
        world: "tidegate:sdk/log",
        pub_export_macro: true,
        export_macro_name: "export_log",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::log",
        generate_all,
    });
}

/// `timer-phase`.
#[cfg(target_family = "wasm")]
pub mod timer {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidegate:sdk; world timer { export tidegate:policy/timer-phase@0.2.0; }",
        world: "tidegate:sdk/timer",
        pub_export_macro: true,
        export_macro_name: "export_timer",
        default_bindings_module: "::tidegate_plugin_sdk::bindings::timer",
        generate_all,
    });
}

/// The export macros of the phases, by the names `#[policy]` uses.
#[cfg(target_family = "wasm")]
pub mod phases {
    pub use super::log::export_log;
    pub use super::request::export_request;
    pub use super::request_body::export_request_body;
    pub use super::request_chunk::export_request_chunk;
    pub use super::response::export_response;
    pub use super::response_body::export_response_body;
    pub use super::response_chunk::export_response_chunk;
    pub use super::timer::export_timer;
}
