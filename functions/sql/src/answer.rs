//! The body of a successful answer: what node-postgres would report, as JSON, written straight from
//! the server's rows.

use std::collections::HashSet;

use dsql::text::{TextAnswer, TextField, TextRow};
use serde::Serialize;

use crate::failure::{Failure, PAGE_HINT};
use crate::json::Json;
use crate::request::Output;
use crate::value;

/// The longest body that is written, before it is packed. With the rows that it is written from it
/// stays below the memory that a function has at least.
const MAX_BODY_BYTES: usize = 24 * 1024 * 1024;

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
pub(crate) fn one(answer: &TextAnswer, output: Output) -> Result<String, Failure> {
    let mut body = Json::new(256 + answer.rows.len() * 32, MAX_BODY_BYTES);
    write(answer, output, &mut body);
    finish(body)
}

fn finish(body: Json) -> Result<String, Failure> {
    body.finish()
        .ok_or_else(|| Failure::answer_too_large(MAX_BODY_BYTES).hint(PAGE_HINT))
}

/// The answer to a batch.
pub(crate) fn batch(answers: &[TextAnswer], outputs: &[Output]) -> Result<String, Failure> {
    let mut body = Json::new(256, MAX_BODY_BYTES);
    body.push_str("{\"results\":[");
    for (at, (answer, output)) in answers.iter().zip(outputs).enumerate() {
        if at > 0 {
            body.push_str(",");
        }
        write(answer, *output, &mut body);
    }
    body.push_str("]}");
    finish(body)
}

fn write(answer: &TextAnswer, output: Output, body: &mut Json) {
    body.push_str("{\"fields\":[");
    for (at, field) in answer.fields.iter().enumerate() {
        if at > 0 {
            body.push_str(",");
        }
        body.put(&Field::from(field));
    }
    body.push_str("],\"rows\":[");
    let names = (!output.array_mode).then(|| last_of_each(&answer.fields));
    for (at, row) in answer.rows.iter().enumerate() {
        if body.is_full() {
            return;
        }
        if at > 0 {
            body.push_str(",");
        }
        match &names {
            None => array(row, &answer.fields, output, body),
            Some(is_last) => object(row, &answer.fields, is_last, output, body),
        }
    }
    body.push_str("],\"command\":");
    body.put(&answer.command());
    body.push_str(",\"rowCount\":");
    body.put(&answer.row_count());
    body.push_str(",\"rowAsArray\":");
    body.put(&output.array_mode);
    body.push_str("}");
}

fn array(row: &TextRow, fields: &[TextField], output: Output, body: &mut Json) {
    body.push_str("[");
    for (at, value) in row.values().enumerate() {
        if at > 0 {
            body.push_str(",");
        }
        cell(value.as_deref(), fields.get(at), output, body);
    }
    body.push_str("]");
}

fn object(row: &TextRow, fields: &[TextField], is_last: &[bool], output: Output, body: &mut Json) {
    body.push_str("{");
    let mut is_first = true;
    for ((value, field), is_last) in row.values().zip(fields).zip(is_last) {
        if !is_last {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            body.push_str(",");
        }
        body.put_text(&field.name);
        body.push_str(":");
        cell(value.as_deref(), Some(field), output, body);
    }
    body.push_str("}");
}

/// Of columns with one name the last counts, as in every client.
fn last_of_each(fields: &[TextField]) -> Vec<bool> {
    let mut later = HashSet::with_capacity(fields.len());
    let from_the_end = fields.iter().rev();
    let mut is_last: Vec<bool> = from_the_end
        .map(|field| later.insert(field.name.as_str()))
        .collect();
    is_last.reverse();
    is_last
}

fn cell(value: Option<&str>, field: Option<&TextField>, output: Output, body: &mut Json) {
    match (value, field) {
        (None, _) => body.push_str("null"),
        (Some(text), Some(field)) if !output.raw_text => value::write(text, field.type_oid, body),
        (Some(text), _) => body.put_text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            one(&answer(Some("SELECT 0"), &["n"]), RAW).unwrap(),
            "{\"fields\":[{\"name\":\"n\",\"dataTypeID\":23,\"tableID\":0,\"columnID\":0,\"dataTypeSize\":4,\
             \"dataTypeModifier\":-1,\"format\":\"text\"}],\"rows\":[],\"command\":\"SELECT\",\"rowCount\":0,\"rowAsArray\":true}"
        );
        assert_eq!(
            batch(
                &[answer(None, &[]), answer(Some("CREATE TABLE"), &[])],
                &[RAW; 2]
            )
            .unwrap(),
            "{\"results\":[{\"fields\":[],\"rows\":[],\"command\":null,\"rowCount\":null,\"rowAsArray\":true},\
             {\"fields\":[],\"rows\":[],\"command\":\"CREATE\",\"rowCount\":null,\"rowAsArray\":true}]}"
        );
        assert_eq!(batch(&[], &[]).unwrap(), "{\"results\":[]}");
    }

    #[test]
    fn of_columns_with_one_name_the_last_counts() {
        let fields = answer(None, &["a", "b", "a"]).fields;
        assert_eq!(last_of_each(&fields), [false, true, true]);
    }
}
