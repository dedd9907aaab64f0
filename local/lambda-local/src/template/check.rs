//! Owns what can be said of a template before any value is known: its sections, its intrinsic
//! functions, and that every name it refers to exists, on the branches that are not taken too.

use super::conditions::CONDITION_FUNCTIONS;
use super::error::{Fault, Problem};
use super::globals;
use super::node::{Kind, Node};
use super::order::sub_names;
use super::scope::{VALUE_FUNCTIONS, display_name, get_att};

const SECTIONS: [&str; 11] = [
    "AWSTemplateFormatVersion",
    "Transform",
    "Description",
    "Metadata",
    "Parameters",
    "Mappings",
    "Conditions",
    "Rules",
    "Globals",
    "Resources",
    "Outputs",
];
const SAM: &str = "AWS::Serverless-2016-10-31";

/// Every fault of the template's own text.
pub(super) fn check(file: &str, root: &Node) -> Vec<Fault> {
    let mut check = Check {
        file,
        root,
        faults: Vec::new(),
    };
    check.sections();
    for name in ["Conditions", "Rules", "Globals", "Resources", "Outputs"] {
        if let Some(section) = root.get(name) {
            check.walk(section, name);
        }
    }
    check.faults
}

struct Check<'a> {
    file: &'a str,
    root: &'a Node,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn report(&mut self, line: usize, path: &str, problem: Problem) {
        self.faults.push(Fault {
            file: self.file.to_owned(),
            line,
            path: path.to_owned(),
            problem,
        });
    }

    fn sections(&mut self) {
        let root = self.root;
        if !matches!(root.kind, Kind::Map(_)) {
            let text = format!("a template is a map, not {}", root.kind_name());
            self.report(root.line, "", Problem::Syntax(text));
            return;
        }
        for entry in root.entries() {
            if !SECTIONS.contains(&entry.key.as_str()) {
                let problem = Problem::Unsupported(format!("the section {}", entry.key));
                self.report(entry.line, &entry.key, problem);
            }
            let is_map = matches!(entry.value.kind, Kind::Map(_));
            let holds_names = !["AWSTemplateFormatVersion", "Transform", "Description"]
                .contains(&entry.key.as_str());
            if holds_names && !is_map {
                let text = format!("a map is needed here, not {}", entry.value.kind_name());
                self.report(entry.line, &entry.key, Problem::Invalid(text));
            }
        }
        if root.get("Resources").is_none() {
            self.report(root.line, "", Problem::Missing("Resources".to_owned()));
        }
        if let Some(transform) = root.get("Transform") {
            let names = match &transform.kind {
                Kind::List(names) => names.as_slice(),
                _ => std::slice::from_ref(transform),
            };
            for name in names.iter().filter(|name| name.as_text() != Some(SAM)) {
                let name_text = name.as_text().unwrap_or(name.kind_name());
                let problem = Problem::Unsupported(format!("the transform {name_text}"));
                self.report(name.line, "Transform", problem);
            }
        }
        for entry in root.get("Globals").map_or(&[][..], Node::entries) {
            if !globals::SECTIONS.contains(&entry.key.as_str()) {
                let path = format!("Globals.{}", entry.key);
                self.report(entry.line, &path, Problem::Unsupported(entry.key.clone()));
            }
        }
    }

    fn walk(&mut self, node: &Node, path: &str) {
        match &node.kind {
            Kind::Null | Kind::Text(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.walk(item, &format!("{path}[{index}]"));
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    self.walk(&entry.value, &format!("{path}.{}", entry.key));
                }
                let resource = path.strip_prefix("Resources.");
                if resource.is_some_and(|id| !id.contains('.')) {
                    self.depends_on(node, path);
                }
            }
            Kind::Call(function, given) => {
                self.function(node.line, function, given, path);
                self.walk(given, path);
            }
        }
    }

    fn function(&mut self, line: usize, function: &str, given: &Node, path: &str) {
        let decides = ["Conditions", "Rules"]
            .iter()
            .any(|section| path.starts_with(section));
        let is_known = VALUE_FUNCTIONS.contains(&function)
            || (decides && CONDITION_FUNCTIONS.contains(&function));
        if !is_known {
            let problem = Problem::Unsupported(display_name(function));
            return self.report(line, path, problem);
        }
        match function {
            "Ref" => {
                if let Some(name) = given.as_text() {
                    self.name(line, name, None, path, !decides);
                }
            }
            "GetAtt" => match get_att(given) {
                Ok((name, attribute)) => self.name(line, &name, Some(&attribute), path, !decides),
                Err(problem) => self.report(line, path, problem),
            },
            "Sub" => {
                for (name, attribute) in sub_names(given) {
                    self.name(line, &name, attribute.as_deref(), path, !decides);
                }
            }
            "If" => {
                if let Kind::List(arguments) = &given.kind
                    && let Some(name) = arguments.first().and_then(Node::as_text)
                    && self.section_lacks("Conditions", name)
                {
                    let problem = Problem::Undefined(format!("the condition {name}"));
                    self.report(line, path, problem);
                }
            }
            _ => {}
        }
    }

    fn name(
        &mut self,
        line: usize,
        name: &str,
        attribute: Option<&str>,
        path: &str,
        may_be_resource: bool,
    ) {
        let is_parameter = attribute.is_none()
            && (name.starts_with("AWS::") || !self.section_lacks("Parameters", name));
        let base = name.strip_suffix(".Stage").unwrap_or(name);
        let is_resource =
            may_be_resource && (!self.section_lacks("Resources", base) || self.is_made_role(base));
        if !is_parameter && !is_resource {
            let full_name = match attribute {
                Some(attribute) => format!("{name}.{attribute}"),
                None => name.to_owned(),
            };
            self.report(line, path, Problem::Undefined(full_name));
        }
    }

    fn is_made_role(&self, name: &str) -> bool {
        let function = name.strip_suffix("Role");
        function.is_some_and(|function| !self.section_lacks("Resources", function))
    }

    fn depends_on(&mut self, resource: &Node, path: &str) {
        let Some(node) = resource.get("DependsOn") else {
            return;
        };
        let nodes = match &node.kind {
            Kind::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for node in nodes {
            let name = node.as_text().unwrap_or(node.kind_name());
            if self.section_lacks("Resources", name) {
                let path = format!("{path}.DependsOn");
                self.report(node.line, &path, Problem::Undefined(name.to_owned()));
            }
        }
    }

    fn section_lacks(&self, section: &str, name: &str) -> bool {
        let section = self.root.get(section);
        section.and_then(|section| section.get(name)).is_none()
    }
}
