//! A value that is written as an object. A derived deserializer would also accept an array, field
//! by field, which nobody means.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Reads `T` from an object alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Pair<'a> {
        a: u8,
        #[serde(borrow)]
        b: &'a RawValue,
    }

    #[test]
    fn an_object_is_read_and_an_array_of_its_fields_is_not() {
        let Object(pair): Object<Pair<'_>> = serde_json::from_str(r#"{"a":1,"b":[2]}"#).unwrap();
        assert_eq!((pair.a, pair.b.get()), (1, "[2]"));
        assert!(serde_json::from_str::<Pair<'_>>("[1,[2]]").is_ok());
        assert!(serde_json::from_str::<Object<Pair<'_>>>("[1,[2]]").is_err());
    }
}
