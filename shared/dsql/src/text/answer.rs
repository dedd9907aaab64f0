//! The answer of a statement: its columns, its rows as the server sent them, its command tag.

use std::borrow::Cow;

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::{DataRowBody, RowDescriptionBody};

/// The answer to one statement.
#[derive(Debug, Clone, Default)]
pub struct TextAnswer {
    /// Its columns; none for a statement without rows.
    pub fields: Vec<TextField>,
    /// Its rows.
    pub rows: Vec<TextRow>,
    /// The command tag, such as `INSERT 0 5`; `None` for an empty statement.
    pub tag: Option<String>,
}

impl TextAnswer {
    /// The tag's first word.
    ///
    /// # Examples
    /// ```
    /// use dsql::text::TextAnswer;
    ///
    /// let answer = TextAnswer { tag: Some("INSERT 0 5".to_owned()), ..TextAnswer::default() };
    /// assert_eq!(answer.command(), Some("INSERT"));
    /// ```
    pub fn command(&self) -> Option<&str> {
        self.tag.as_deref()?.split(' ').next()
    }

    /// The number of rows in the tag, where it has one.
    ///
    /// # Examples
    /// ```
    /// use dsql::text::TextAnswer;
    ///
    /// let answer = TextAnswer { tag: Some("INSERT 0 5".to_owned()), ..TextAnswer::default() };
    /// assert_eq!(answer.row_count(), Some(5));
    /// ```
    pub fn row_count(&self) -> Option<u64> {
        let (_, count) = self.tag.as_deref()?.rsplit_once(' ')?;
        count.parse().ok()
    }
}

/// A column, as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextField {
    /// Its name.
    pub name: String,
    /// OID of its type.
    pub type_oid: u32,
    /// OID of the table it comes from, or 0.
    pub table_oid: u32,
    /// Its number in that table, or 0.
    pub column_id: i16,
    /// Size of its type in bytes; negative: variable.
    pub type_size: i16,
    /// Modifier of its type, or -1.
    pub type_modifier: i32,
}

impl TextField {
    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        const ALLOCATION: usize = 32; // the smallest one, and its bookkeeping
        size_of::<Self>() + self.name.len() + ALLOCATION
    }

    pub(super) fn all(description: &RowDescriptionBody) -> std::io::Result<Vec<Self>> {
        description
            .fields()
            .map(|field| {
                Ok(Self {
                    name: field.name().to_owned(),
                    type_oid: field.type_oid(),
                    table_oid: field.table_oid(),
                    column_id: field.column_id(),
                    type_size: field.type_size(),
                    type_modifier: field.type_modifier(),
                })
            })
            .collect()
    }
}

/// A row, not yet taken apart.
#[derive(Debug, Clone)]
pub struct TextRow(DataRowBody);

impl TextRow {
    pub(super) fn new(body: DataRowBody) -> Self {
        Self(body)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.buffer().len()
    }

    /// Its values in order; `None` is NULL.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example(answer: dsql::text::TextAnswer) {
    /// for row in &answer.rows {
    ///     let line: Vec<_> = row.values().map(|value| value.unwrap_or("NULL".into())).collect();
    ///     println!("{}", line.join("\t"));
    /// }
    /// # }
    /// ```
    pub fn values(&self) -> impl Iterator<Item = Option<Cow<'_, str>>> {
        let buffer = self.0.buffer();
        // A length that does not fit ends the row; the server sends none.
        self.0
            .ranges()
            .iterator()
            .map_while(Result::ok)
            .map(move |range| {
                let bytes = range.and_then(|range| buffer.get(range))?;
                Some(String::from_utf8_lossy(bytes)) // always UTF-8: it is the session's encoding
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_a_command_and_sometimes_a_count() {
        for (tag, command, count) in [
            (Some("INSERT 0 5"), Some("INSERT"), Some(5)),
            (Some("SELECT 12"), Some("SELECT"), Some(12)),
            (Some("CREATE TABLE"), Some("CREATE"), None),
            (Some("BEGIN"), Some("BEGIN"), None),
            (None, None, None),
        ] {
            let answer = TextAnswer {
                tag: tag.map(str::to_owned),
                ..TextAnswer::default()
            };
            assert_eq!((answer.command(), answer.row_count()), (command, count));
        }
    }
}
