//! The contract in Rust: types and exports generated from `wit/0.1/policy.wit`.
//!
//! Imports are linked by hand (see [`super::imports`]): the generated traits would copy every text
//! a plugin passes, and the functions called most only need to look at it.

wasmtime::component::bindgen!({
    inline: "
        package tidegate:host;
        world host {
            import tidegate:policy/http@0.1.0;
            import tidegate:policy/log@0.1.0;
            import tidegate:policy/matching@0.1.0;
            export tidegate:policy/lifecycle@0.1.0;
            export tidegate:policy/request-phase@0.1.0;
            export tidegate:policy/request-body-phase@0.1.0;
            export tidegate:policy/request-chunk-phase@0.1.0;
            export tidegate:policy/response-phase@0.1.0;
            export tidegate:policy/response-body-phase@0.1.0;
            export tidegate:policy/response-chunk-phase@0.1.0;
            export tidegate:policy/log-phase@0.1.0;
        }
    ",
    path: "../../wit/0.1",
    world: "tidegate:host/host",
});
