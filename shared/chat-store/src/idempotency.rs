//! `Idempotency-Key`: a request that is repeated with its key gets its first answer for 24 hours.
//! The answer is stored in the transaction that does the work; the key itself is not, only its
//! hash.

use dsql::{Db, Error, Transaction, Type};
use jiff::{SignedDuration, Timestamp};

use crate::ids::OwnerId;
use crate::secret::sha256_hex;
use crate::values::Invalid;

/// How long an answer is kept. By it `erasure` and `outbox` tell when a key came.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 64;

/// A request with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    key_hash: String,
    request_hash: String,
}

impl IdempotencyKey {
    /// `key` is the header; `request` is what must be the same when it is used again: method, path,
    /// body.
    ///
    /// # Errors
    /// Anything but 1 to 64 visible ASCII characters.
    pub fn new(key: &str, request: &[&[u8]]) -> Result<Self, Invalid> {
        check(key)?;
        Ok(Self {
            key_hash: sha256_hex(&[key.as_bytes()]),
            request_hash: sha256_hex(request),
        })
    }

    /// The same for the same request of the same owner: ids are made from it, so that repeated
    /// batches meet the rows of the first ones.
    pub fn seed(&self, owner: &OwnerId) -> String {
        sha256_hex(&[
            owner.as_str().as_bytes(),
            self.key_hash.as_bytes(),
            self.request_hash.as_bytes(),
        ])
    }
}

pub(crate) fn check(key: &str) -> Result<(), Invalid> {
    let fits =
        (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(()).ok_or(Invalid::Malformed(
        "an Idempotency-Key has 1 to 64 visible ASCII characters",
    ))
}

impl IdempotencyKey {
    /// The seed of an import that comes in parts, the same for each of them whatever it holds.
    pub fn seed_of_parts(&self, owner: &OwnerId) -> String {
        sha256_hex(&[owner.as_str().as_bytes(), self.key_hash.as_bytes()])
    }

    /// The key of the part `number`, which is a request of its own.
    #[must_use]
    pub fn part(&self, number: u16) -> Self {
        Self {
            key_hash: sha256_hex(&[self.key_hash.as_bytes(), &number.to_be_bytes()]),
            request_hash: self.request_hash.clone(),
        }
    }
}

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedResponse {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
}

/// How a request with or without key went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once<T> {
    /// It was done now.
    Now(T),
    /// It was answered before.
    Replayed(SavedResponse),
    /// The key belongs to another request.
    OtherRequest,
    /// Another attempt with the key ended while this one ran.
    InProgress,
}

const FIND: &str = "\
SELECT request_hash, status, response FROM idempotency WHERE owner_id = $1 AND key = $2 AND expires_at > $3";

const KEEP: &str = "\
INSERT INTO idempotency (owner_id, key, request_hash, status, response, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (owner_id, key) DO UPDATE SET request_hash = excluded.request_hash, status = excluded.status,
    response = excluded.response, expires_at = excluded.expires_at
WHERE idempotency.expires_at <= $7";

/// Reads what was answered to the key, without a transaction around it: for work in several of
/// them.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn given<T>(
    db: &Db,
    owner: &OwnerId,
    keyed: &IdempotencyKey,
    now: Timestamp,
) -> Result<Option<Once<T>>, Error> {
    let row = db
        .query_opt_idempotent(
            FIND,
            &[
                (&owner.as_str(), Type::TEXT),
                (&keyed.key_hash.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(row.map(|row| found(&row, keyed)))
}

const FIND_PARTS: &str =
    "SELECT response FROM idempotency WHERE owner_id = $1 AND key = ANY($2) AND expires_at > $3";

/// What was answered to the parts before the part `number`; fewer if some did not come.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn given_parts(
    db: &Db,
    owner: &OwnerId,
    keyed: &IdempotencyKey,
    number: u16,
    now: Timestamp,
) -> Result<Vec<String>, Error> {
    let keys: Vec<String> = (1..number).map(|n| keyed.part(n).key_hash).collect();
    let rows = db
        .query_idempotent(
            FIND_PARTS,
            &[
                (&owner.as_str(), Type::TEXT),
                (&keys, Type::TEXT_ARRAY),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get("response")).collect())
}

fn found<T>(row: &dsql::Row, keyed: &IdempotencyKey) -> Once<T> {
    if row.get::<_, &str>("request_hash") != keyed.request_hash {
        return Once::OtherRequest;
    }
    Once::Replayed(SavedResponse {
        status: u16::try_from(row.get::<_, i32>("status")).unwrap_or(200),
        body: row.get("response"),
    })
}

/// Does `work` in a transaction, once for each key. `answer` makes the answer that is kept from
/// what was done; work without one (a refusal) may be tried again with the same key.
///
/// # Errors
/// Any [`Error`] of a transaction.
pub async fn once<T, F, Fut>(
    db: &Db,
    owner: &OwnerId,
    keyed: Option<&IdempotencyKey>,
    now: Timestamp,
    work: F,
    answer: impl Fn(&T) -> Option<SavedResponse> + Sync,
) -> Result<Once<T>, Error>
where
    F: Fn(Transaction) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, Error>> + Send,
    T: Send,
{
    let (work, answer) = (&work, &answer);
    db.transaction(|tx| async move {
        let Some(keyed) = keyed else {
            return work(tx).await.map(Once::Now);
        };
        let params = [
            (&owner.as_str() as _, Type::TEXT),
            (&keyed.key_hash.as_str() as _, Type::TEXT),
            (&now as _, Type::TIMESTAMPTZ),
        ];
        if let Some(row) = tx.query_opt(FIND, &params).await? {
            return Ok(found(&row, keyed));
        }
        let done = work(tx.clone()).await?;
        if let Some(given) = answer(&done)
            && !keep(&tx, owner, keyed, &given, now).await?
        {
            return Ok(Once::InProgress);
        }
        Ok(Once::Now(done))
    })
    .await
}

async fn keep(
    tx: &Transaction,
    owner: &OwnerId,
    keyed: &IdempotencyKey,
    given: &SavedResponse,
    now: Timestamp,
) -> Result<bool, Error> {
    let expires_at = now.checked_add(KEPT).unwrap_or(Timestamp::MAX);
    let kept = tx
        .execute(
            KEEP,
            &[
                (&owner.as_str(), Type::TEXT),
                (&keyed.key_hash.as_str(), Type::TEXT),
                (&keyed.request_hash.as_str(), Type::TEXT),
                (&i32::from(given.status), Type::INT4),
                (&given.body.as_str(), Type::TEXT),
                (&expires_at, Type::TIMESTAMPTZ),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(kept > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_and_visible_and_not_kept_in_clear() {
        for key in ["", " ", "a b", "ä", "a\0", &"k".repeat(65)] {
            assert!(IdempotencyKey::new(key, &[]).is_err(), "{key}");
        }
        let keyed = IdempotencyKey::new("K-secret-1", &[b"POST", b"{}"]).unwrap();
        assert!(!format!("{keyed:?}").contains("secret"));
    }

    #[test]
    fn the_seed_is_that_of_owner_key_and_request() {
        let owner = |text| OwnerId::parse(text).unwrap();
        let keyed = |key, body: &[u8]| IdempotencyKey::new(key, &[body]).unwrap();
        let seed = keyed("k", b"x").seed(&owner("a"));
        assert_eq!(seed, keyed("k", b"x").seed(&owner("a")));
        for other in [
            keyed("k", b"x").seed(&owner("b")),
            keyed("l", b"x").seed(&owner("a")),
            keyed("k", b"y").seed(&owner("a")),
        ] {
            assert_ne!(seed, other);
        }
    }
}
