//! Uploads that have ended: their objects are deleted, then the rows that lead to them.

use std::time::SystemTime;

use bucket::{Bucket, BucketError};
use chat_store::{microseconds, uploads};
use dsql::Dsql;
use serde_json::{Value, json};

use crate::tasks::has_time;

/// Why uploads are left that have ended.
#[derive(Debug, thiserror::Error)]
pub enum UploadsError {
    /// The bucket.
    #[error("the objects of uploads are not deleted: {0}")]
    Bucket(#[from] BucketError),
    /// The database.
    #[error("{}", .0.report())]
    Database(#[from] dsql::Error),
}

/// Deletes what has ended, and adds to the report of a purge how many and whether none is left.
pub(crate) async fn purge(
    dsql: &Dsql,
    bucket: &Bucket,
    deadline: SystemTime,
    report: &mut Value,
) -> Result<(), UploadsError> {
    let db = dsql.until(deadline);
    let begun = microseconds(dsql.clock().now());
    let (mut deleted, mut is_complete) = (0, true);
    loop {
        if !has_time(dsql, deadline) {
            is_complete = false;
            break;
        }
        let ids = uploads::ended_uploads(&db, begun).await?;
        if ids.is_empty() {
            break;
        }
        let now = dsql.clock().now();
        let left = deadline.duration_since(now).unwrap_or_default();
        bucket.delete(&ids, left, now).await?;
        deleted += uploads::delete_uploads(&db, &ids).await?;
    }
    if let Some(report) = report.as_object_mut() {
        if !is_complete {
            report.insert("complete".to_owned(), json!(false));
        }
        let rows = report.get_mut("deleted").and_then(Value::as_object_mut);
        if let Some(rows) = rows {
            rows.insert("uploads".to_owned(), json!(deleted));
        }
    }
    Ok(())
}
