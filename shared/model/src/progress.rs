//! How far a source has got.

/// Whether a source may have more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Closed,
}
