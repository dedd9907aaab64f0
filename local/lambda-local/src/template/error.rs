//! Owns what can be wrong with a template: every fault names its file, its line and its place, on
//! one line of text.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a template cannot be run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The template.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is wrong with it, a line each.
    #[error("{}", Lines(.0))]
    Faults(Vec<Fault>),
}

impl TemplateError {
    /// What is wrong with the template; empty when it could not be read at all.
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Read { .. } => &[],
            Self::Faults(faults) => faults,
        }
    }
}

/// One fault of a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}{}", Within(.path))]
pub struct Fault {
    /// Name of the template's file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Keys that lead to the place, such as `Resources.Api.Type`; empty for the whole file.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong in one place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not YAML, or YAML that no template may use.
    #[error("{0}")]
    Syntax(String),
    /// A section, resource type, property, event type or intrinsic function that is not run here.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A name that the template does not define.
    #[error("{0} is not defined in the template")]
    Undefined(String),
    /// A resource that its condition leaves out.
    #[error("{0} is not part of this stack, because its condition is false")]
    Absent(String),
    /// A value that only the running stack knows, and that was not given.
    #[error("{0} is not known before the stack runs")]
    Unresolved(String),
    /// A required key that is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// A value of the wrong kind or out of its bounds.
    #[error("{0}")]
    Invalid(String),
    /// Resources or conditions that need each other.
    #[error("circular dependency: {0}")]
    Circle(String),
}

struct Lines<'a>(&'a [Fault]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{fault}")?;
        }
        Ok(())
    }
}

struct Within<'a>(&'a str);

impl fmt::Display for Within<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(formatter, " ({})", self.0)
    }
}
