//! The fields of an object, asked for by name, so that a refusal can name the field. They stay as
//! they were written until they are asked for. A field that is `null` counts as absent; of two with
//! one name the last counts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Refused;

/// The known fields of an object.
#[derive(Debug)]
pub struct Fields<'a> {
    names: &'static [&'static str],
    values: Vec<Option<&'a RawValue>>,
}

impl<'a> Fields<'a> {
    /// The fields of `json` that have one of `names`.
    ///
    /// # Errors
    /// [`Refused::Malformed`] or [`Refused::NotAnObject`].
    pub fn parse(json: &'a str, names: &'static [&'static str]) -> Result<Self, Refused> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let fields = Known(names).deserialize(&mut deserializer);
        fields
            .and_then(|fields| deserializer.end().map(|()| fields))
            .map_err(|error| {
                if error.is_data() {
                    return Refused::NotAnObject;
                }
                // Position only: the text of the error may quote the body.
                Refused::Malformed {
                    line: error.line(),
                    column: error.column(),
                }
            })
    }

    /// The fields of a value inside another, if it is an object.
    pub fn of(value: &'a RawValue, names: &'static [&'static str]) -> Option<Self> {
        Self::parse(value.get(), names).ok()
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let at = self.names.iter().position(|known| *known == name);
        debug_assert!(
            at.is_some(),
            "{name} is not one of the names that were kept"
        );
        *self.values.get(at?)?
    }

    /// The field as it was written.
    pub fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.raw(name).filter(|value| value.get() != "null")
    }

    /// Whether the field is there and `null`.
    pub fn is_null(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|value| value.get() == "null")
    }

    /// The field as text.
    ///
    /// # Errors
    /// [`Refused::WrongType`], which names the field.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, Refused> {
        self.read(name, "a string")
    }

    /// The field as a boolean.
    ///
    /// # Errors
    /// [`Refused::WrongType`], which names the field.
    pub fn boolean(&self, name: &'static str) -> Result<Option<bool>, Refused> {
        self.read(name, "true or false")
    }

    /// The field as a whole number from 0.
    ///
    /// # Errors
    /// [`Refused::WrongType`], which names the field.
    pub fn number(&self, name: &'static str) -> Result<Option<u64>, Refused> {
        self.read(name, "a whole number")
    }

    /// The field as an object, of which the fields of these names are kept.
    ///
    /// # Errors
    /// [`Refused::WrongType`], which names the field.
    pub fn object(
        &self,
        name: &'static str,
        names: &'static [&'static str],
    ) -> Result<Option<Self>, Refused> {
        let expected = "an object";
        self.value(name)
            .map(|value| Self::of(value, names).ok_or(Refused::WrongType { name, expected }))
            .transpose()
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Refused> {
        self.value(name)
            .map(|value| {
                serde_json::from_str(value.get()).map_err(|_| Refused::WrongType { name, expected })
            })
            .transpose()
    }
}

/// Reads an object's fields of these names.
struct Known(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Known {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Known {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let names = self.0;
        let mut values = vec![None; names.len()];
        while let Some(place) = map.next_key_seed(Place(names))? {
            match place.and_then(|place| values.get_mut(place)) {
                Some(value) => *value = Some(map.next_value::<&RawValue>()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Fields { names, values })
    }
}

/// Reads a name as its place among those that are known.
struct Place(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["a", "b", "c", "d"];

    #[test]
    fn a_text_that_is_no_json_object_is_refused() {
        for json in ["[]", "1", "null", "\"x\""] {
            let refused = Fields::parse(json, NAMES).unwrap_err();
            assert_eq!(refused, Refused::NotAnObject, "{json}");
        }
        for json in ["", "{", "{\"a\":1} x", "a=b", "{\"x\":[1,}", "{\"a\":tru}"] {
            let refused = Fields::parse(json, NAMES).unwrap_err();
            assert!(matches!(refused, Refused::Malformed { .. }), "{json}");
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let fields = Fields::parse(r#"{"a":1,"b":"x","c":null,"x":[{}]}"#, NAMES).unwrap();
        let told = |refused: Refused| refused.to_string();
        assert_eq!(
            told(fields.text("a").unwrap_err()),
            "\"a\" must be a string"
        );
        assert_eq!(
            told(fields.boolean("b").unwrap_err()),
            "\"b\" must be true or false"
        );
        assert!(fields.object("b", NAMES).is_err());
        assert!(fields.number("b").is_err());
        assert_eq!(fields.number("a").unwrap(), Some(1));
        assert_eq!(fields.text("b").unwrap().as_deref(), Some("x"));
        assert_eq!(fields.text("c").unwrap(), None);
        assert!(fields.is_null("c") && !fields.is_null("d"));
    }

    #[test]
    fn of_two_fields_with_one_name_the_last_counts_and_names_may_be_escaped() {
        let fields = Fields::parse(r#"{"a":1,"\u0061":2}"#, NAMES).unwrap();
        assert_eq!(fields.number("a").unwrap(), Some(2));
    }

    #[test]
    fn what_is_not_known_may_nest_without_end() {
        let deep = format!(
            "{{\"x\":{}{},\"a\":1}}",
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        let fields = Fields::parse(&deep, NAMES).unwrap();
        assert_eq!(fields.number("a").unwrap(), Some(1));
    }
}
