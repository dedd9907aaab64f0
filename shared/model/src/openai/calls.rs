//! Calls of tools in a stream, put together from their pieces. Servers disagree about what tells
//! one call from another: an index, an id, or both, and some give every call the same index.

use serde_json::Value;

use crate::blocks::{Blocks, input};

/// The calls of one reply, as far as they were said.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    input: String,
    /// Whether it was told that it begins: only once the tool is known.
    is_begun: bool,
}

impl Calls {
    /// Reads one item of `tool_calls`.
    pub(super) fn read(&mut self, said: &Value, blocks: &mut Blocks) {
        let text = |pointer: &str| said.pointer(pointer).and_then(Value::as_str);
        let index = said.get("index").and_then(Value::as_u64);
        let id = text("/id").filter(|id| !id.is_empty());
        let input = match said.pointer("/function/arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(whole @ Value::Object(_)) => whole.to_string(),
            _ => String::new(),
        };
        let call = self.find(index, id);
        if call.name.is_empty() {
            text("/function/name")
                .unwrap_or_default()
                .clone_into(&mut call.name);
        }
        call.input.push_str(&input);
        if call.is_begun {
            blocks.call_delta(&call.id, &input);
        } else if !call.name.is_empty() {
            call.is_begun = true;
            blocks.begin_call(&call.id, &call.name);
            blocks.call_delta(&call.id, &call.input);
        }
    }

    /// The call that a piece belongs to. One without index and id goes on with the last.
    fn find(&mut self, index: Option<u64>, id: Option<&str>) -> &mut Call {
        let is_meant = |call: &Call| {
            let has_index = index.is_none() || call.index == index;
            has_index && id.is_none_or(|id| call.id == id)
        };
        let at = self.0.iter().rposition(is_meant).unwrap_or(self.0.len());
        if at == self.0.len() {
            let id = id.map_or_else(|| format!("call-{at}"), str::to_owned);
            self.0.push(Call {
                index,
                id,
                ..Call::default()
            });
        }
        self.0
            .get_mut(at)
            .expect("it was found, or was pushed there")
    }

    /// The calls are whole.
    pub(super) fn end(&mut self, blocks: &mut Blocks) {
        for call in self.0.drain(..) {
            blocks.call(&call.id, &call.name, input(&call.input));
        }
    }
}
