//! Tries a policy against its cases (`NAME.cases.toml`): in the real sandbox, with the operator's budgets, and with time,
//! chance, store and callouts as each case says.
//!
//! `run` makes an exchange of a case and calls the policy about it, `script` answers its callouts, `expect` compares what
//! came of it with what was to come.

mod expect;
mod run;
mod script;

pub(crate) use run::{Trial, run};
