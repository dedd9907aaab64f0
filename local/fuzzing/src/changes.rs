//! Single changes of an input, each read from a few numbers, so that fewer and smaller numbers are
//! fewer and smaller changes.

use std::ops::Range;

use crate::pieces::pieces;

/// No input becomes longer by changes that repeat.
const MAX_BYTES: usize = 64 * 1024;

/// What readers stumble over, in whatever grammar.
const TROUBLE: &[&str] = &[
    "\0",
    "\\u0000",
    "\\ud83d",
    "\u{fffd}",
    "\u{1f980}",
    "\u{e9}",
    "\u{feff}",
    "\r\n",
    "\"",
    "'",
    "\\",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    ":",
    ";",
    "=",
    "&",
    "?",
    "@",
    "/",
    "%",
    "%00",
    "%ff",
    "%25",
    "+",
    "-",
    "--",
    "/*",
    "*/",
    "$$",
    "$1",
    "0",
    "-1",
    "1e999",
    "2147483648",
    "9223372036854775808",
    "18446744073709551616",
    "NaN",
    "null",
    "true",
    "\"\"",
    "{}",
    "[]",
];

/// What a piece is wrapped in.
const WRAPS: &[(&str, &str)] = &[
    ("[", "]"),
    ("{\"a\":", "}"),
    ("{", "}"),
    ("(", ")"),
    ("\"", "\""),
    ("'", "'"),
    ("/*", "*/"),
    ("$$", "$$"),
];

/// The numbers of one change.
pub(crate) type Change = (u8, u32, u32, u32);

/// What is put into inputs besides their own pieces.
pub(crate) trait Stock {
    /// A valid input.
    fn seed(&self, n: u32) -> &[u8];
    /// A word of the grammar.
    fn word(&self, n: u32) -> Option<&[u8]>;
}

/// Changes `input` once.
pub(crate) fn apply(input: &mut Vec<u8>, (kind, a, b, c): Change, stock: &impl Stock) {
    let found = pieces(input);
    let piece = |n: u32| pick(&found, n).cloned().unwrap_or(0..0);
    let here = piece(a);
    let copy = |range: Range<usize>| input.get(range).unwrap_or_default().to_vec();
    let new = match kind % 12 {
        0 => Vec::new(),
        1 => copy(here.clone()).repeat(2),
        2 => copy(piece(b)),
        3 | 4 => {
            let other = stock.seed(b);
            let range = pick(&pieces(other), c).cloned().unwrap_or(0..0);
            other.get(range).unwrap_or_default().to_vec()
        }
        5 | 6 => stock.word(b).unwrap_or_default().to_vec(),
        7 => pick(TROUBLE, b).map_or(Vec::new(), |word| word.as_bytes().to_vec()),
        8 => wrapped(&copy(here.clone()), b, times(c)),
        9 => copy(here.clone()).repeat(times(c)),
        10 => return flip(input, a, b),
        _ => return cut(input, a),
    };
    // In place of the piece, or before it.
    let goes_before = matches!(kind % 12, 2..=7) && c % 2 == 0;
    let end = if goes_before { here.start } else { here.end };
    if input.len() + new.len() <= MAX_BYTES {
        input.splice(here.start..end, new);
    }
}

fn pick<T>(from: &[T], n: u32) -> Option<&T> {
    let at = usize::try_from(n).ok()?.checked_rem(from.len())?;
    from.get(at)
}

/// Mostly a few, now and then enough to be deep or long.
fn times(n: u32) -> usize {
    match n % 32 {
        31 => 2_000,
        28..=30 => 130,
        few => usize::try_from(few % 4).unwrap_or(0) + 1,
    }
}

fn wrapped(piece: &[u8], kind: u32, times: usize) -> Vec<u8> {
    let (before, after) = pick(WRAPS, kind).copied().unwrap_or_default();
    let before = before.as_bytes().repeat(times);
    [&before, piece, &after.as_bytes().repeat(times)].concat()
}

/// One bit, or the whole byte.
fn flip(input: &mut [u8], at: u32, how: u32) {
    let at = usize::try_from(at)
        .ok()
        .and_then(|n| n.checked_rem(input.len()));
    let [how, value, ..] = how.to_le_bytes();
    if let Some(byte) = at.and_then(|at| input.get_mut(at)) {
        *byte = match how % 2 {
            0 => *byte ^ (1 << (value % 8)),
            _ => value,
        };
    }
}

fn cut(input: &mut Vec<u8>, at: u32) {
    let at = usize::try_from(at)
        .ok()
        .and_then(|n| n.checked_rem(input.len()));
    input.truncate(at.unwrap_or(0));
}
