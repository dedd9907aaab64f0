//! The migrations: one DDL statement each, in the order of their numbers, embedded from
//! `migrations/`. An applied one is never changed, which a checksum proves.

use logins::sha256_hex;

/// The schema of the functions' tables: one that logins can neither see into nor be given.
pub(crate) const SCHEMA: &str = "chats";

/// One migration.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number, ascending without gaps.
    pub version: i64,
    /// Its file's name without the ending.
    pub name: &'static str,
    /// One statement that may run twice (`IF NOT EXISTS`, `DROP INDEX IF EXISTS`).
    pub sql: &'static str,
}

impl Migration {
    /// SHA-256 of the statement, in hexadecimal.
    pub fn checksum(&self) -> String {
        sha256_hex(self.sql.as_bytes())
    }
}

impl Migration {
    /// The index it builds asynchronously, if that is what it does.
    pub(crate) fn index(&self) -> Option<&'static str> {
        let (statement, rest) = self.sql.split_once(" IF NOT EXISTS ")?;
        statement
            .ends_with("INDEX ASYNC")
            .then(|| rest.split_whitespace().next())?
    }

    /// The index it drops, if that is what it does.
    fn dropped_index(&self) -> Option<&'static str> {
        let name = self.sql.trim().strip_prefix("DROP INDEX IF EXISTS ")?;
        Some(name.rsplit('.').next().unwrap_or(name))
    }
}

macro_rules! migrations {
    ($($version:literal $name:literal),+ $(,)?) => {
        /// All of them.
        pub const MIGRATIONS: &[Migration] = &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../../migrations/", $name, ".sql")),
        }),+];
    };
}

migrations! {
    1 "0001_create_chats",
    2 "0002_create_messages",
    3 "0003_create_generations",
    4 "0004_create_votes",
    5 "0005_create_shares",
    6 "0006_create_usage_daily",
    7 "0007_create_rate_buckets",
    8 "0008_create_idempotency",
    9 "0009_create_jobs",
    10 "0010_index_chats_by_owner",
    11 "0011_index_messages_by_seq",
    12 "0012_index_shares_by_chat",
    13 "0013_index_jobs_by_state",
    14 "0014_index_chats_by_expiry",
    15 "0015_index_generations_by_owner",
    16 "0016_index_idempotency_by_expiry",
    17 "0017_index_rate_buckets_by_expiry",
    18 "0018_index_generations_by_lease",
    19 "0019_index_usage_by_day",
    20 "0020_create_sql_logins",
    21 "0021_create_sql_session_roles",
    22 "0022_create_reservations",
    23 "0023_index_reservations_by_expiry",
    24 "0024_add_awaited_to_messages",
    25 "0025_add_folded_title_to_chats",
    26 "0026_add_public_id_to_chats",
    27 "0027_index_chats_by_public_id",
    28 "0028_create_posts",
    29 "0029_create_post_passages",
    30 "0030_create_post_words",
    31 "0031_index_post_words_by_text",
    32 "0032_create_post_listings",
    33 "0033_index_posts_by_text",
    34 "0034_create_uploads",
    35 "0035_create_chat_uploads",
    36 "0036_index_chat_uploads_by_upload",
    37 "0037_index_uploads_by_owner",
    38 "0038_index_uploads_by_expiry",
}

/// The indexes that the newest schema has, each with the migration that makes it.
pub(crate) fn indexes() -> Vec<(&'static Migration, &'static str)> {
    made_by(MIGRATIONS)
}

/// The indexes that are there after these migrations.
fn made_by(migrations: &'static [Migration]) -> Vec<(&'static Migration, &'static str)> {
    let mut indexes = Vec::new();
    for migration in migrations {
        if let Some(index) = migration.index() {
            indexes.push((migration, index));
        } else if let Some(dropped) = migration.dropped_index() {
            indexes.retain(|(_, index)| *index != dropped);
        }
    }
    indexes
}

/// The number of the newest migration.
pub(crate) fn latest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_without_gaps_and_every_file_is_embedded() {
        for (expected, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.version, expected, "{}", migration.name);
            let number = format!("{:04}_", migration.version);
            assert!(migration.name.starts_with(&number), "{}", migration.name);
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations"))
            .unwrap()
            .count();
        assert_eq!(files, MIGRATIONS.len());
    }

    #[test]
    fn an_index_is_known_by_its_name() {
        let indexes: Vec<&str> = MIGRATIONS.iter().filter_map(Migration::index).collect();
        assert_eq!(
            indexes,
            [
                "chats_owner",
                "messages_seq",
                "shares_chat",
                "jobs_state",
                "chats_expiry",
                "generations_owner",
                "idempotency_expiry",
                "rate_buckets_expiry",
                "generations_lease",
                "usage_daily_day",
                "reservations_expiry",
                "chats_public_id",
                "post_words_text",
                "posts_text",
                "chat_uploads_upload",
                "uploads_owner",
                "uploads_expiry"
            ]
        );
    }

    #[test]
    fn an_index_that_a_later_migration_drops_is_not_wanted() {
        const CHANGED: &[Migration] = &[
            Migration {
                version: 1,
                name: "0001_index_by_a",
                sql: "CREATE INDEX ASYNC IF NOT EXISTS t_a ON chats.t (a)",
            },
            Migration {
                version: 2,
                name: "0002_index_by_a_and_b",
                sql: "CREATE INDEX ASYNC IF NOT EXISTS t_a_b ON chats.t (a, b)",
            },
            Migration {
                version: 3,
                name: "0003_drop_index_by_a",
                sql: "DROP INDEX IF EXISTS chats.t_a\n",
            },
        ];
        let wanted: Vec<&str> = made_by(CHANGED).into_iter().map(|(_, i)| i).collect();
        assert_eq!(wanted, ["t_a_b"]);
    }

    #[test]
    fn each_is_one_statement_that_may_run_twice() {
        for migration in MIGRATIONS {
            assert!(!migration.sql.contains(';'), "{}", migration.name);
            assert!(
                ["IF NOT EXISTS", "DROP INDEX IF EXISTS"]
                    .iter()
                    .any(|words| migration.sql.contains(words)),
                "{}",
                migration.name
            );
        }
    }
}
