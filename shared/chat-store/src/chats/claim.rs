//! Claiming: a guest's chats become those of the account the guest logged in to.

use dsql::{Db, Error, Type};
use jiff::Timestamp;

use crate::ids::OwnerId;

// An account may have a chat that it calls as the guest called one: then one of the two is called
// again. 25 chats with a reply and 100 uploads each are below the row limit. Votes and shares
// belong to their chat and need no change.
const CLAIM: &str = "\
WITH moved AS (
    UPDATE chats SET owner_id = $2, expires_at = NULL, public_id = CASE
        WHEN EXISTS (SELECT FROM chats c WHERE c.owner_id = $2 AND c.id = chats.public_id)
            OR EXISTS (SELECT FROM chats c WHERE c.owner_id = $2 AND c.public_id = chats.public_id)
        THEN gen_random_uuid()::text ELSE public_id END
    WHERE owner_id = $1 AND id IN (
        SELECT id FROM chats WHERE owner_id = $1 AND (expires_at IS NULL OR expires_at > $3)
        ORDER BY updated_at, id LIMIT 25
    )
    RETURNING id
), renamed AS (
    UPDATE chats SET public_id = gen_random_uuid()::text WHERE owner_id = $2 AND public_id IN (SELECT id FROM moved)
), g AS (
    UPDATE generations SET owner_id = $2 WHERE owner_id = $1 AND chat_id IN (SELECT id FROM moved)
), u AS (
    UPDATE uploads SET owner_id = $2
    WHERE owner_id = $1 AND id IN (SELECT upload_id FROM chat_uploads WHERE chat_id IN (SELECT id FROM moved))
)
SELECT count(*) AS moved FROM moved";

/// Moves the guest's chats to `owner`, in batches, and returns how many. They have no end any more.
/// What a lost connection interrupts, the next claim goes on with.
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
