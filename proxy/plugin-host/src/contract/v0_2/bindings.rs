//! The contract in Rust: types and exports generated from `wit/policy.wit`. Imports are linked by hand (see
//! [`super::imports`]).

wasmtime::component::bindgen!({
    inline: "
        package tidegate:host;
        world host {
            import tidegate:policy/types@0.2.0;
            import tidegate:policy/response@0.2.0;
            import tidegate:policy/body@0.2.0;
            import tidegate:policy/log@0.2.0;
            import tidegate:policy/matching@0.2.0;
            import tidegate:policy/crypto@0.2.0;
            import tidegate:policy/password@0.2.0;
            import tidegate:policy/metrics@0.2.0;
            import tidegate:policy/rate-limit@0.2.0;
            import tidegate:policy/store@0.2.0;
            import tidegate:policy/callout@0.2.0;
            export tidegate:policy/lifecycle@0.2.0;
            export tidegate:policy/request-phase@0.2.0;
            export tidegate:policy/request-body-phase@0.2.0;
            export tidegate:policy/request-chunk-phase@0.2.0;
            export tidegate:policy/response-phase@0.2.0;
            export tidegate:policy/response-body-phase@0.2.0;
            export tidegate:policy/response-chunk-phase@0.2.0;
            export tidegate:policy/log-phase@0.2.0;
            export tidegate:policy/timer-phase@0.2.0;
        }
    ",
    path: "../../wit",
    world: "tidegate:host/host",
});
