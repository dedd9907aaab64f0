//! What happens to the uploads of deleted chats.

/// The CTEs `unused` and `released` of a statement that deletes chats: no upload is used in
/// `$chats` any more, which follows on a column, and those that are used nowhere else have ended.
macro_rules! released {
    ($chats:literal) => {
        concat!(
            "unused AS (DELETE FROM chat_uploads WHERE chat_id ",
            $chats,
            " RETURNING upload_id),
    released AS (
        UPDATE uploads SET expires_at = CASE
            WHEN EXISTS (SELECT FROM chat_uploads u WHERE u.upload_id = uploads.id AND NOT u.chat_id ",
            $chats,
            ") THEN expires_at ELSE TIMESTAMPTZ 'epoch' END
        WHERE id IN (SELECT upload_id FROM unused)
    )"
        )
    };
}
pub(crate) use released;
