//! An array, item by item.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why an array was not read to its end.
#[derive(Debug)]
pub enum Stopped<E> {
    /// It is no array, or no JSON.
    NotAnArray(serde_json::Error),
    /// The reader of its items stopped.
    Item(E),
}

/// Hands the items of the array `json` to `each`, as they were written, until it stops.
///
/// # Errors
/// [`Stopped`].
pub fn items<'a, E>(
    json: &'a str,
    each: impl FnMut(&'a RawValue) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let mut stopped = None;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let reader = Items {
        each,
        stopped: &mut stopped,
    };
    let read = deserializer
        .deserialize_seq(reader)
        .and_then(|()| deserializer.end());
    match (stopped, read) {
        (Some(error), _) => Err(Stopped::Item(error)),
        (None, Err(error)) => Err(Stopped::NotAnArray(error)),
        (None, Ok(())) => Ok(()),
    }
}

struct Items<'s, F, E> {
    each: F,
    stopped: &'s mut Option<E>,
}

impl<'de, F, E> Visitor<'de> for Items<'_, F, E>
where
    F: FnMut(&'de RawValue) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if let Err(error) = (self.each)(item) {
                *self.stopped = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_order_until_their_reader_stops() {
        let mut seen = Vec::new();
        let stopped = items(r#"[1, {"a": 2} ,"x",4]"#, |item| {
            seen.push(item.get());
            if seen.len() == 3 {
                Err("enough")
            } else {
                Ok(())
            }
        });
        assert!(matches!(stopped, Err(Stopped::Item("enough"))));
        assert_eq!(seen, ["1", "{\"a\": 2}", "\"x\""]);
        for json in ["{}", "1", "[1,", "[1]x"] {
            let read = items(json, |_| Ok::<_, ()>(()));
            assert!(matches!(read, Err(Stopped::NotAnArray(_))), "{json}");
        }
    }
}
