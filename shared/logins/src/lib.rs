//! What a login of the SQL endpoint is: its name, its schemas, what is stored of its password.
//! `admin` makes logins and `sql` lets them in by the same rules.

mod digest;
mod identifier;
mod name;
mod schemas;

pub use digest::sha256_hex;
pub use name::{LoginName, is_login_name};
pub use schemas::Schemas;

/// The schema that all logins share, in which each has its record of requests, a table of its own
/// name that no other may use.
pub const REQUESTS_SCHEMA: &str = "sql_requests";
