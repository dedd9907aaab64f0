//! Owns the libraries that are preloaded into unmodified programs: small C sources, compiled once.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::binary::target_dir;

/// The library of `tests/<name>.c`, whose text is `source`: its path, by which the text is known.
///
/// # Panics
/// When it does not compile.
pub fn library(name: &str, source: &str) -> PathBuf {
    static COMPILING: Mutex<()> = Mutex::new(());
    let _alone = COMPILING.lock().expect("no holder panics");
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let folder = target_dir().join("tmp");
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let library = folder.join(format!("{name}-{:016x}.so", hasher.finish()));
    if !library.exists() {
        // Renamed into place: another test process may be doing the same.
        let unfinished = folder.join(format!("{name}-{}.so", std::process::id()));
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&unfinished)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.c")))
            .arg("-ldl")
            .status()
            .expect("a C compiler `cc`, which Rust needs to link anyway");
        assert!(status.success(), "{name}.c does not compile");
        fs::rename(&unfinished, &library).expect("the target folder is writable");
    }
    library
}
