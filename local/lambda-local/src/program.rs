//! Owns what the programs of this crate share: the log, the runtime, and an error in one line.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs a program's work to its end, with a log to standard error at a level that counts `-v`.
pub fn run(
    name: &str,
    verbose: u8,
    work: impl Future<Output = Result<(), Box<dyn Error>>>,
) -> ExitCode {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(name, &error),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(name, error.as_ref()),
    }
}

fn complain(name: &str, error: &dyn Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // A transparent error repeats its cause.
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    let _unheard = writeln!(std::io::stderr(), "{name}: {text}");
    ExitCode::FAILURE
}
