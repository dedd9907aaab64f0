//! What tools are called: a server's name and the tool's own, in the characters that every model
//! provider allows.

/// Longest name of a tool, as models are told it.
pub(crate) const MAX_NAME_CHARS: usize = 50;

/// The name of a server's tool; `None` if it would be too long. Names of two servers never meet: a
/// server's has no `_`.
pub(crate) fn joined(server: &str, tool: &str) -> Option<String> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = format!("{server}_")
        .chars()
        .chain(tool.chars().map(plain))
        .collect();
    (!tool.is_empty() && name.len() <= MAX_NAME_CHARS).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_characters_that_providers_allow_and_no_more_than_they_do() {
        assert_eq!(joined("docs", "search").as_deref(), Some("docs_search"));
        assert_eq!(joined("docs", "a.b/ç-1").as_deref(), Some("docs_a_b__-1"));
        assert_eq!(joined("docs", ""), None);
        assert!(joined("docs", &"x".repeat(45)).is_some());
        assert_eq!(joined("docs", &"x".repeat(46)), None);
    }
}
