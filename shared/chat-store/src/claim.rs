//! Claiming: a guest's chats become those of the account the guest logged in to.

use dsql::{Db, Error, Type};
use jiff::Timestamp;

use crate::ids::OwnerId;

// 40 chats with a reply each are far below the row limit. Votes and shares belong to their chat and need no change.
const CLAIM: &str = "\
WITH moved AS (
    UPDATE chats SET owner_id = $2, expires_at = NULL
    WHERE owner_id = $1 AND id IN (
        SELECT id FROM chats WHERE owner_id = $1 AND (expires_at IS NULL OR expires_at > $3)
        ORDER BY updated_at, id LIMIT 40
    )
    RETURNING id
), g AS (
    UPDATE generations SET owner_id = $2 WHERE owner_id = $1 AND chat_id IN (SELECT id FROM moved)
)
SELECT count(*) AS moved FROM moved";

/// Moves the guest's chats to `owner`, in batches, and returns how many. They have no end any more. What a lost connection
/// interrupts, the next claim goes on with.
///
/// # Errors
/// Any [`Error`].
pub async fn claim(
    db: &Db,
    guest: &OwnerId,
    owner: &OwnerId,
    now: Timestamp,
) -> Result<u64, Error> {
    let mut total = 0;
    loop {
        let row = db
            .query_opt_idempotent(
                CLAIM,
                &[
                    (&guest.as_str(), Type::TEXT),
                    (&owner.as_str(), Type::TEXT),
                    (&now, Type::TIMESTAMPTZ),
                ],
            )
            .await?;
        let moved = row.map_or(0, |row| row.get::<_, i64>("moved"));
        if moved == 0 {
            return Ok(total);
        }
        total += moved.unsigned_abs();
    }
}
