//! The root of a chat: its own row. A statement that adds rows to a chat writes the chat's row as
//! well, and whoever deletes a chat deletes that row: of two at once, one meets a conflict, runs
//! again, and sees what the other did. Without this a vote could be stored for a chat that is
//! deleted meanwhile, and stay behind a receipt that says all is gone.
//!
//! A write, not `FOR KEY SHARE`: the table of rows that conflict is then the same in every
//! PostgreSQL.

/// Begins a statement that adds rows to chats which are there: the CTE `chat` is the chats of
/// `$where`, each written. What is inserted comes from it. With `of` the CTE [`key`](crate::key)
/// goes before it, by the parameters that are given.
macro_rules! root {
    (of ($($names:literal),*), $where:literal) => {
        root!(of ($($names),*), "next_seq = next_seq", $where, "id")
    };
    (of ($($names:literal),*), $set:literal, $where:literal, $returning:literal) => {
        concat!(
            "WITH ",
            $crate::key::key!($($names),*),
            ", ",
            root!(cte $set, $where, $returning)
        )
    };
    ($where:literal) => {
        root!("next_seq = next_seq", $where, "id")
    };
    ($set:literal, $where:literal, $returning:literal) => {
        concat!("WITH ", root!(cte $set, $where, $returning))
    };
    (cte $set:literal, $where:literal, $returning:literal) => {
        concat!(
            "chat AS (\n    UPDATE chats SET ",
            $set,
            "\n    WHERE ",
            $where,
            "\n    RETURNING ",
            $returning,
            "\n)"
        )
    };
}
pub(crate) use root;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    const HOME: &str = env!("CARGO_MANIFEST_DIR");

    /// A clause of a statement: the name it is known by (none for the statement itself), and its
    /// text.
    type Clause<'a> = (Option<&'a str>, &'a str);

    fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path, ending));
            } else if path.extension().is_some_and(|given| given == ending) {
                found.push(path);
            }
        }
        found
    }

    /// The tables whose rows belong to a chat, by the migrations.
    fn children() -> BTreeSet<String> {
        let tables = files(&Path::new(HOME).join("../../migrations"), "sql");
        let of_a_chat = tables.iter().filter_map(|path| {
            let sql = fs::read_to_string(path).unwrap();
            let (_, rest) = sql.split_once("CREATE TABLE IF NOT EXISTS chats.")?;
            let (table, columns) = rest.split_once(" (").unwrap();
            columns.contains("\n    chat_id ").then(|| table.to_owned())
        });
        of_a_chat.collect()
    }

    /// Every item of a source file that holds SQL, from its `const` or `macro_rules!` on.
    fn items(source: &str) -> Vec<&str> {
        let code = source.split("#[cfg(test)]").next().unwrap();
        let mut begins: Vec<usize> = [
            "\nconst ",
            "\npub const ",
            "\nmacro_rules! ",
            "\npub async fn ",
            "\nasync fn ",
            "\nfn ",
            "\nimpl ",
        ]
        .iter()
        .flat_map(|word| code.match_indices(word).map(|(at, _)| at))
        .collect();
        begins.sort_unstable();
        begins.push(code.len());
        begins
            .windows(2)
            .map(|pair| &code[pair[0]..pair[1]])
            .collect()
    }

    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
    }

    /// The text up to the bracket that closes what is open before it.
    fn up_to_the_end(text: &str) -> &str {
        let mut depth = 0;
        for (at, c) in text.char_indices() {
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return &text[..at],
                ')' => depth -= 1,
                _ => {}
            }
        }
        text
    }

    fn clauses(item: &str) -> Vec<Clause<'_>> {
        let named = item.match_indices(" AS (").map(|(at, opening)| {
            let name = words(&item[..at]).last();
            (name, up_to_the_end(&item[at + opening.len()..]))
        });
        named.chain([(None, item)]).collect()
    }

    /// What is wrong with the statements of an item: inserts into a child that do not come from a
    /// clause that writes the chat.
    fn unrooted(item: &str, children: &BTreeSet<String>) -> Vec<String> {
        let item = &item.replace("root!(", "chat AS (UPDATE chats SET ");
        let clauses = clauses(item);
        let roots: BTreeSet<&str> = clauses
            .iter()
            .filter(|(_, text)| {
                let begin: Vec<&str> = words(text).take(4).collect();
                matches!(
                    begin[..],
                    ["UPDATE", "chats", ..] | ["INSERT", "INTO", "chats", _]
                )
            })
            .filter_map(|(name, _)| *name)
            .collect();
        let mut wrong = Vec::new();
        for child in children {
            for (at, _) in item.match_indices(&format!("INSERT INTO {child} ")) {
                let insert = up_to_the_end(&item[at..]);
                if !words(insert).any(|word| roots.contains(word)) {
                    wrong.push(insert.to_owned());
                }
            }
        }
        wrong
    }

    #[test]
    fn every_row_that_is_added_to_a_chat_comes_from_a_clause_that_writes_the_chat() {
        let children = children();
        let expected = ["chat_uploads", "generations", "messages", "shares", "votes"];
        assert!(children.iter().eq(&expected), "{children:?}");
        let (mut inserts, mut wrong) = (0, Vec::new());
        for path in files(&Path::new(HOME).join("src"), "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]").next().unwrap();
            for child in &children {
                inserts += code.matches(&format!("INSERT INTO {child} ")).count();
                let reads_oddly = code
                    .match_indices("INSERT INTO")
                    .any(|(at, into)| !code[at + into.len()..].starts_with(' '));
                assert!(
                    !reads_oddly,
                    "{}: INSERT INTO and its table in one line",
                    path.display()
                );
            }
            for item in items(&source) {
                wrong.extend(unrooted(item, &children));
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert!(inserts >= 11, "all of them were read: {inserts}");
    }

    #[test]
    fn an_insert_beside_the_root_is_found() {
        let children = BTreeSet::from(["votes".to_owned()]);
        let insert = "INSERT INTO votes (chat_id) SELECT id FROM";
        for (statement, is_rooted) in [
            (
                format!("root!(\"id = $1\"), \", v AS ({insert} chat)"),
                true,
            ),
            (
                format!("WITH c AS (UPDATE chats SET x = 1 RETURNING id) {insert} c"),
                true,
            ),
            (
                format!("WITH c AS (INSERT INTO chats (id) VALUES ($1) RETURNING id) {insert} c"),
                true,
            ),
            (
                format!("root!(\"id = $1\"), \", v AS ({insert} chats)"),
                false,
            ),
            (
                format!("WITH c AS (SELECT id FROM chats FOR UPDATE), v AS ({insert} c)"),
                false,
            ),
            (
                format!("WITH c AS (UPDATE chats SET x = 1), v AS ({insert} d) SELECT FROM c"),
                false,
            ),
            (
                format!("WITH c AS (UPDATE chats_of SET x = 1 RETURNING id) {insert} c"),
                false,
            ),
        ] {
            assert_eq!(
                unrooted(&statement, &children).is_empty(),
                is_rooted,
                "{statement}"
            );
        }
    }
}
