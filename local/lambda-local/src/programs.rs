//! Owns where a function's program lies: its `CodeUri` names a package, the package names its
//! binary, and a folder holds the binaries that cargo built.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::application::Function;

/// Why a function has no program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// `CodeUri` is no package.
    #[error("{function}: {path} does not name a binary: {reason}")]
    Package {
        /// Logical id.
        function: String,
        /// The manifest.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It was not built.
    #[error("{function}: {path} is missing: run 'cargo build --bin {binary}'")]
    NotBuilt {
        /// Logical id.
        function: String,
        /// Where it should be.
        path: PathBuf,
        /// Its name.
        binary: String,
    },
}

/// The name of a function's binary: what `BuildProperties.Binary` says, else the only `[[bin]]` of
/// the package, else the package's own name. Paths are relative to `base`, the template's folder.
///
/// # Errors
/// [`ProgramError::Package`] when the manifest says neither.
pub fn binary_name(base: &Path, function: &Function) -> Result<String, ProgramError> {
    if let Some(binary) = &function.binary {
        return Ok(binary.clone());
    }
    let path = base.join(&function.code_uri).join("Cargo.toml");
    let failed = |reason: String| ProgramError::Package {
        function: function.logical_id.clone(),
        path: path.clone(),
        reason,
    };
    let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let manifest: Table = text
        .parse()
        .map_err(|error: toml::de::Error| failed(error.message().to_owned()))?;
    let name = |table: &Table| table.get("name")?.as_str().map(str::to_owned);
    let binaries = manifest.get("bin").and_then(toml::Value::as_array);
    let named = match binaries.map(Vec::as_slice) {
        Some([only]) => only.as_table().and_then(name),
        Some([_, ..]) => {
            return Err(failed(
                "it has several binaries: Metadata.BuildProperties.Binary chooses one".to_owned(),
            ));
        }
        _ => manifest
            .get("package")
            .and_then(toml::Value::as_table)
            .and_then(name),
    };
    named.ok_or_else(|| failed("it has no name".to_owned()))
}

/// A function's program in `folder`.
///
/// # Errors
/// [`ProgramError`] when its name is not known or the file is missing.
pub fn program(base: &Path, folder: &Path, function: &Function) -> Result<PathBuf, ProgramError> {
    let binary = binary_name(base, function)?;
    let path = folder.join(&binary);
    if path.is_file() {
        return Ok(path);
    }
    Err(ProgramError::NotBuilt {
        function: function.logical_id.clone(),
        path,
        binary,
    })
}
