//! Owns the queues of an application as SQS offers them: kept in memory and lost with the process
//! ([`Queues`]), reached by the AWS SDKs through `AWS_ENDPOINT_URL_SQS` ([`Endpoint`]), and fed to
//! functions in batches ([`EventSources`]). Standard queues only: no order is promised, a message
//! may come twice.

mod api;
mod contents;
mod entries;
mod error;
mod exchange;
mod message;
mod source;
mod store;

pub use api::Endpoint;
pub use error::QueueError;
pub use exchange::{QueueId, Receive, Sent};
pub use message::{AttributeValue, MessageAttribute, NewMessage, Received};
pub use source::{EventSources, SourceError};
pub use store::Queues;
