//! The body of a successful answer: what node-postgres would report, as JSON, written straight from the server's rows.

use dsql::text::{TextAnswer, TextField, TextRow};
use serde::Serialize;

use crate::request::Output;
use crate::value;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Field<'a> {
    name: &'a str,
    #[serde(rename = "dataTypeID")]
    data_type: u32,
    #[serde(rename = "tableID")]
    table: u32,
    #[serde(rename = "columnID")]
    column: i16,
    data_type_size: i16,
    data_type_modifier: i32,
    format: &'static str,
}

impl<'a> From<&'a TextField> for Field<'a> {
    fn from(field: &'a TextField) -> Self {
        Self {
            name: &field.name,
            data_type: field.type_oid,
            table: field.table_oid,
            column: field.column_id,
            data_type_size: field.type_size,
            data_type_modifier: field.type_modifier,
            format: "text",
        }
    }
}

/// The answer to one query.
pub(crate) fn one(answer: &TextAnswer, output: Output) -> String {
    let mut body = String::with_capacity(256 + answer.rows.len() * 32);
    write(answer, output, &mut body);
    body
}

/// The answer to a batch.
pub(crate) fn batch(answers: &[TextAnswer], outputs: &[Output]) -> String {
    let mut body = String::from("{\"results\":[");
    for (at, (answer, output)) in answers.iter().zip(outputs).enumerate() {
        if at > 0 {
            body.push(',');
        }
        write(answer, *output, &mut body);
    }
    body.push_str("]}");
    body
}

fn write(answer: &TextAnswer, output: Output, body: &mut String) {
    let fields: Vec<Field<'_>> = answer.fields.iter().map(Field::from).collect();
    body.push_str("{\"fields\":");
    put(&fields, body);
    body.push_str(",\"rows\":[");
    let names = (!output.array_mode).then(|| last_of_each(&answer.fields));
    for (at, row) in answer.rows.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        match &names {
            None => array(row, &answer.fields, output, body),
            Some(is_last) => object(row, &answer.fields, is_last, output, body),
        }
    }
    body.push_str("],\"command\":");
    put(&answer.command(), body);
    body.push_str(",\"rowCount\":");
    put(&answer.row_count(), body);
    body.push_str(",\"rowAsArray\":");
    put(&output.array_mode, body);
    body.push('}');
}

fn array(row: &TextRow, fields: &[TextField], output: Output, body: &mut String) {
    body.push('[');
    for (at, value) in row.values().enumerate() {
        if at > 0 {
            body.push(',');
        }
        cell(value.as_deref(), fields.get(at), output, body);
    }
    body.push(']');
}

fn object(
    row: &TextRow,
    fields: &[TextField],
    is_last: &[bool],
    output: Output,
    body: &mut String,
) {
    body.push('{');
    let mut is_first = true;
    for ((value, field), is_last) in row.values().zip(fields).zip(is_last) {
        if !is_last {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            body.push(',');
        }
        put_text(&field.name, body);
        body.push(':');
        cell(value.as_deref(), Some(field), output, body);
    }
    body.push('}');
}

/// Of columns with one name the last counts, as in every client.
fn last_of_each(fields: &[TextField]) -> Vec<bool> {
    let later = |at: usize| fields.get(at + 1..).unwrap_or_default();
    fields
        .iter()
        .enumerate()
        .map(|(at, field)| !later(at).iter().any(|other| other.name == field.name))
        .collect()
}

fn cell(value: Option<&str>, field: Option<&TextField>, output: Output, body: &mut String) {
    match (value, field) {
        (None, _) => body.push_str("null"),
        (Some(text), Some(field)) if !output.raw_text => value::write(text, field.type_oid, body),
        (Some(text), _) => put_text(text, body),
    }
}

/// Appends a value as JSON.
pub(crate) fn put(value: &impl Serialize, body: &mut String) {
    let json = serde_json::to_string(value).expect("texts, numbers and lists can be serialised");
    body.push_str(&json);
}

/// Appends text as a JSON string; most needs no escapes.
pub(crate) fn put_text(text: &str, body: &mut String) {
    if text.bytes().any(|b| b < b' ' || matches!(b, b'"' | b'\\')) {
        put(&text, body);
        return;
    }
    body.push('"');
    body.push_str(text);
    body.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_the_string_that_serde_would_write(text in ".*|\\PC*|[\u{0}-\u{7f}]*") {
            let mut body = String::new();
            put_text(&text, &mut body);
            prop_assert_eq!(body, serde_json::to_string(&text).unwrap());
        }
    }

    const RAW: Output = Output {
        raw_text: true,
        array_mode: true,
    };

    fn answer(tag: Option<&str>, names: &[&str]) -> TextAnswer {
        let field = |name: &&str| TextField {
            name: (*name).to_owned(),
            type_oid: 23,
            table_oid: 0,
            column_id: 0,
            type_size: 4,
            type_modifier: -1,
        };
        TextAnswer {
            fields: names.iter().map(field).collect(),
            rows: Vec::new(),
            tag: tag.map(str::to_owned),
        }
    }

    #[test]
    fn the_keys_come_in_the_order_of_the_protocol() {
        assert_eq!(
            one(&answer(Some("SELECT 0"), &["n"]), RAW),
            "{\"fields\":[{\"name\":\"n\",\"dataTypeID\":23,\"tableID\":0,\"columnID\":0,\"dataTypeSize\":4,\
             \"dataTypeModifier\":-1,\"format\":\"text\"}],\"rows\":[],\"command\":\"SELECT\",\"rowCount\":0,\"rowAsArray\":true}"
        );
        assert_eq!(
            batch(
                &[answer(None, &[]), answer(Some("CREATE TABLE"), &[])],
                &[RAW; 2]
            ),
            "{\"results\":[{\"fields\":[],\"rows\":[],\"command\":null,\"rowCount\":null,\"rowAsArray\":true},\
             {\"fields\":[],\"rows\":[],\"command\":\"CREATE\",\"rowCount\":null,\"rowAsArray\":true}]}"
        );
        assert_eq!(batch(&[], &[]), "{\"results\":[]}");
    }

    #[test]
    fn of_columns_with_one_name_the_last_counts() {
        let fields = answer(None, &["a", "b", "a"]).fields;
        assert_eq!(last_of_each(&fields), [false, true, true]);
    }
}
