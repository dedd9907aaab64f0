//! The SQL dialect of Aurora DSQL as data and pure functions: which statements it accepts, which it
//! refuses and in what words, and what PostgreSQL must be given in place of those that only DSQL
//! knows.
//!
//! 1. Nothing here does I/O, and no input panics.
//! 2. Every refusal is a row of [`RULES`], [`CATALOG_RULES`] or [`StateRule`].
//! 3. The rules stand for the service as of [`DIALECT_VERSION`].

mod body;
mod catalog;
mod classify;
mod iam;
mod lexer;
mod name;
mod parse;
mod refusal;
mod rewrite;
mod rows;
mod rules;
mod session;
mod settings;
mod split;
mod state;
mod statement;
mod tree;
mod types;

pub use catalog::{CATALOG_RULES, CatalogCheck, CatalogRule};
pub use classify::{classify, classify_in};
pub use iam::IamMapping;
pub use name::Name;
pub use refusal::Refusal;
pub use rows::Rows;
pub use rules::{REFUSED_FUNCTIONS, RULES, Rule};
pub use session::Session;
pub use settings::{ABSENT, SETTABLE, SYNC_INDEX, is_settable};
pub use split::{Piece, split};
pub use state::{DdlGuard, StateRule};
pub use statement::{
    Argument, Copy, Ddl, Dml, Edit, Effect, IndexBuild, Isolation, Kind, Lock, LockStrength,
    Rewritten, Select, Statement, Validation, Verb, Verdict,
};
pub use types::{column_types, key_types};

/// The year and month of the service that the rules describe. It changes monthly; so must they.
pub const DIALECT_VERSION: &str = "2026-11";

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
