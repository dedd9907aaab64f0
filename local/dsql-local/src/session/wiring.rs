//! A session: its parts, and the steps that need more than one of them.

use std::io;

use super::attachment::{Attached, Attachment};
use super::client::ClientStream;
use super::pipeline::{Expected, Pipeline};
use super::transaction::{Ended, Transaction};
use crate::backend::AttachError;
use crate::cluster::Cluster;
use crate::dialect::is_off;
use crate::transport::Transport;
use crate::wire::{Backend, Frontend};

/// Why a session ends; none of it is an error to anybody but the client.
pub(crate) enum End {
    /// The client said goodbye, closed, or broke the protocol.
    Client,
    /// A fault dropped the connection.
    Dropped,
    /// The connection to the client or to PostgreSQL failed.
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) type Flow<T = ()> = Result<T, End>;

/// A session of a logged-in client.
pub(crate) struct Session<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) client: ClientStream,
    pub(super) attachment: Attachment<'a>,
    pub(super) pipeline: Pipeline,
    pub(super) transaction: Transaction,
    /// What the session has set that changes how a statement is read.
    pub(super) reading: dsql_dialect::Session,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        stream: Box<dyn Transport>,
        attachment: Attachment<'a>,
    ) -> Self {
        let reading = dsql_dialect::Session {
            sync_create_index: attachment
                .startup()
                .setting(dsql_dialect::SYNC_INDEX)
                .is_some_and(is_off),
            postgres_major: cluster.postgres.major,
        };
        Self {
            cluster,
            client: ClientStream::new(stream),
            attachment,
            pipeline: Pipeline::new(),
            transaction: Transaction::new(cluster.schema.current()),
            reading,
        }
    }

    /// Writes the answers that have gathered.
    pub(super) async fn flush(&mut self) -> Flow {
        let registration = self.attachment.registration();
        Ok(self.client.flush(registration).await?)
    }

    /// The backend, attached if it is not yet.
    pub(super) async fn attach(&mut self) -> Flow<&mut Attached> {
        match self.attachment.attach().await {
            Ok(attached) => Ok(attached),
            Err(AttachError::Refused(error)) => {
                self.client.emit(&Backend::ErrorResponse(error));
                self.client.flush(None).await?;
                Err(End::Client)
            }
            Err(AttachError::Io(error)) => Err(error.into()),
        }
    }

    /// Sends a message on, and expects its answer.
    pub(super) async fn forward(&mut self, message: &Frontend, expected: Expected) -> Flow {
        self.attach().await?.backend.queue(message);
        self.pipeline.expect(expected);
        Ok(())
    }

    /// The transaction is over.
    pub(super) fn end_transaction(&mut self, ended: Ended) {
        let registration = self.attachment.registration();
        self.transaction.end(ended, self.cluster, registration);
    }

    /// Tells the client that it may go on.
    pub(super) fn emit_ready(&mut self) {
        let status = self.transaction.status;
        self.client.emit(&Backend::ReadyForQuery(status));
    }
}
