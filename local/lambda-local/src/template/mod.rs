//! Owns SAM templates: reads `template.yaml` and resolves it to an [`Application`].
//!
//! 1. What a template says is either done here, known to have no effect here, or a fault that names
//!    file, line and place. Nothing is passed over in silence.
//! 2. Values are read as CloudFormation and SAM read them; a value that only the running stack
//!    knows comes from [`Inputs::attributes`].
//! 3. No input makes it panic.

mod api;
mod bucket;
mod check;
mod conditions;
mod custom_resource;
mod error;
mod event;
mod fields;
mod function;
mod globals;
mod inputs;
mod node;
mod order;
mod outputs;
mod parameters;
mod queue;
mod references;
mod resource;
mod role;
mod scope;
mod sub;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use self::error::{Fault, Problem, TemplateError};
pub use self::inputs::Inputs;
use self::node::Node;
use self::resource::{Resource, ResourceKind};
use self::scope::Scope;
use crate::application::{Application, Route};

/// A template whose names are known to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    file: String,
    base_dir: PathBuf,
    root: Node,
}

impl Template {
    /// Reads a template, YAML or JSON.
    ///
    /// # Errors
    /// [`TemplateError::Read`] when the file cannot be read; else as [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self, TemplateError> {
        let text = fs::read_to_string(path).map_err(|source| TemplateError::Read {
            path: path.to_owned(),
            source,
        })?;
        let file = path.file_name().unwrap_or(path.as_os_str());
        let base_dir = path.parent().unwrap_or(Path::new(""));
        Self::parse_named(&file.to_string_lossy(), &text, base_dir)
    }

    /// Reads the text of a template that stands in `base_dir`. Faults call it `template.yaml`.
    ///
    /// # Errors
    /// [`TemplateError::Faults`] when it is not YAML, or has sections, intrinsic functions or names
    /// that are unknown.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, TemplateError> {
        Self::parse_named("template.yaml", text, base_dir)
    }

    fn parse_named(file: &str, text: &str, base_dir: &Path) -> Result<Self, TemplateError> {
        let root = node::read(text).map_err(|(line, problem)| {
            TemplateError::Faults(vec![Fault {
                file: file.to_owned(),
                line,
                path: String::new(),
                problem,
            }])
        })?;
        none_of(check::check(file, &root))?;
        Ok(Self {
            file: file.to_owned(),
            base_dir: base_dir.to_owned(),
            root,
        })
    }

    /// The folder that `CodeUri` is relative to.
    pub fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// Logical ids of the resources of a type, whatever their conditions.
    pub fn logical_ids(&self, resource_type: &str) -> Vec<String> {
        let resources = self.root.get("Resources");
        let entries = resources.map(Node::entries).unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry.value.get("Type").and_then(Node::as_text) == Some(resource_type))
            .map(|entry| entry.key.clone())
            .collect()
    }

    /// Resolves every parameter, condition and intrinsic function. An output that refers to what
    /// only the running stack knows is named in [`Application::pending_outputs`]; resolve again
    /// once the attribute is known.
    ///
    /// # Errors
    /// [`TemplateError::Faults`]: every parameter that is missing or out of its bounds; then every
    /// rule that fails; then every resource that cannot be run here.
    pub fn resolve(&self, inputs: &Inputs) -> Result<Application, TemplateError> {
        let root = &self.root;
        let (parameters, faults) = parameters::values(&self.file, root.get("Parameters"), inputs);
        none_of(faults)?;
        let mut scope = Scope {
            file: &self.file,
            inputs,
            parameters,
            mappings: root.get("Mappings"),
            conditions: BTreeMap::new(),
            resources: Vec::new(),
        };
        none_of(conditions::check_rules(&scope, root.get("Rules")).map_err(one)?)?;
        scope.conditions = conditions::evaluate(&scope, root.get("Conditions")).map_err(one)?;
        let (resources, faults) = resource::read(&self.file, root, &scope.conditions);
        none_of(faults)?;
        scope.resources = resources;
        let order = order::order(&scope).map_err(one)?;

        let mut reading = Reading::new(inputs);
        for resource in scope
            .resources
            .iter()
            .filter(|resource| resource.is_present)
        {
            reading.resource(&scope, resource);
        }
        reading.place_routes(&scope);
        reading.outputs(&scope, root.get("Outputs"));
        none_of(reading.faults)?;
        let mut application = reading.application;
        application
            .custom_resources
            .sort_by_key(|resource| order.iter().position(|id| *id == resource.logical_id));
        Ok(application)
    }
}

/// An application as it comes together, and what was wrong on the way.
struct Reading {
    application: Application,
    /// Logical id of the API, line of the event, and the route.
    routes: Vec<(String, usize, Route)>,
    faults: Vec<Fault>,
}

impl Reading {
    fn new(inputs: &Inputs) -> Self {
        let application = Application {
            stack: inputs.stack.clone(),
            ..Application::default()
        };
        Self {
            application,
            routes: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn resource(&mut self, scope: &Scope<'_>, resource: &Resource) {
        if let Err(fault) = self.try_resource(scope, resource) {
            self.faults.push(fault);
        }
    }

    fn try_resource(&mut self, scope: &Scope<'_>, resource: &Resource) -> Result<(), Fault> {
        let application = &mut self.application;
        match resource.kind {
            ResourceKind::Function => {
                let read = function::read(scope, resource)?;
                application.functions.push(read.function);
                application.roles.extend(read.role);
                self.routes.extend(read.events.routes);
            }
            ResourceKind::Api => application.apis.push(api::read(scope, resource)?),
            ResourceKind::Queue => application.queues.push(queue::read(scope, resource)?),
            ResourceKind::Bucket => application.buckets.push(bucket::read(scope, resource)?),
            ResourceKind::Role => application.roles.push(role::read(scope, resource)?),
            ResourceKind::Custom => {
                let custom_resource = custom_resource::read(scope, resource)?;
                application.custom_resources.push(custom_resource);
            }
            ResourceKind::Cluster => application.clusters.push(resource.logical_id.clone()),
            ResourceKind::LogGroup
            | ResourceKind::Topic
            | ResourceKind::Secret
            | ResourceKind::WithoutCounterpart => {}
        }
        Ok(())
    }

    /// Gives every API its routes. Of two that are the same, API Gateway would keep one.
    fn place_routes(&mut self, scope: &Scope<'_>) {
        for (api, line, route) in std::mem::take(&mut self.routes) {
            let apis = &mut self.application.apis;
            let Some(api) = apis.iter_mut().find(|known| known.logical_id == api) else {
                continue;
            };
            let is_same = |known: &&Route| known.method == route.method && known.path == route.path;
            if let Some(known) = api.routes.iter().find(is_same) {
                let text = format!(
                    "{} {} already leads to {}",
                    route.method, route.path, known.function
                );
                let path = format!("Resources.{}.Properties.Events", route.function);
                self.faults
                    .push(scope.fault(line, &path, Problem::Invalid(text)));
                continue;
            }
            api.routes.push(route);
        }
    }

    fn outputs(&mut self, scope: &Scope<'_>, section: Option<&Node>) {
        for entry in section.map_or(&[][..], Node::entries) {
            match outputs::read(scope, entry) {
                Ok(Some(value)) => {
                    self.application.outputs.insert(entry.key.clone(), value);
                }
                Ok(None) => {}
                Err(fault) if matches!(fault.problem, Problem::Unresolved(_)) => {
                    self.application.pending_outputs.push(entry.key.clone());
                }
                Err(fault) => self.faults.push(fault),
            }
        }
    }
}

fn one(fault: Fault) -> TemplateError {
    TemplateError::Faults(vec![fault])
}

fn none_of(faults: Vec<Fault>) -> Result<(), TemplateError> {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(TemplateError::Faults(faults))
    }
}
