//! The files of a new plugin's project, for `tidegate plugin new`.
//!
//! A [`Project`] is made of a [`Name`] and a [`Language`]: [`template`](mod@template) fills in what stands in `templates/`,
//! [`sdk`] adds what a project in Rust depends on, [`declarations`] the types of the contract for TypeScript. All of it is in the binary;
//! nothing is read or written here.

mod declarations;
mod embedded;
mod language;
mod name;
mod project;
mod sdk;
mod template;

pub use language::Language;
pub use name::{BadName, Name};
pub use project::{File, Project, Steps};
