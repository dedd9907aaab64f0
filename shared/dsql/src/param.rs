//! Values that are bound to a statement.

use tokio_postgres::types::{ToSql, Type};

/// A bound value and its type: with the types known, a statement needs no prepare round trip.
pub type Param<'a> = (&'a (dyn ToSql + Sync), Type);
