//! Owns how SAM puts `Globals` into a resource: maps are merged, lists follow the global ones, and
//! of anything else the resource's own value counts.

use super::node::{Kind, Node};

/// Sections of `Globals` that are read.
pub(super) const SECTIONS: [&str; 2] = ["Function", "Api"];

pub(super) fn merge(global: &Node, own: Node) -> Node {
    let line = own.line;
    let kind = match (&global.kind, own.kind) {
        (Kind::Map(global), Kind::Map(mut own)) => {
            for entry in global {
                match own.iter_mut().find(|own| own.key == entry.key) {
                    Some(own) => own.value = merge(&entry.value, own.value.clone()),
                    None => own.push(entry.clone()),
                }
            }
            Kind::Map(own)
        }
        (Kind::List(global), Kind::List(own)) => Kind::List([global.as_slice(), &own].concat()),
        (_, own) => own,
    };
    Node { line, kind }
}
