//! Version 0.2: `wit/policy.wit`. Its functions speak of the exchange of their call, without handles.

pub(super) mod bindings;
pub(super) mod exports;
pub(super) mod imports;
