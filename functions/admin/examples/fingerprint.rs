//! Prints what the custom resource's property `Fingerprint` has to be; with a template's path, puts
//! it there.

use std::process::ExitCode;

const PROPERTY: &str = "      Fingerprint: ";

fn main() -> ExitCode {
    match write(std::env::args().nth(1)) {
        Ok(text) => {
            #[expect(clippy::print_stdout, reason = "a program for a terminal")]
            {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a program for a terminal")]
            {
                eprintln!("{error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn write(path: Option<String>) -> Result<String, Box<dyn std::error::Error>> {
    let fingerprint = admin::fingerprint();
    if let Some(path) = path {
        let text = std::fs::read_to_string(&path)?;
        let old = text
            .lines()
            .find(|line| line.starts_with(PROPERTY))
            .ok_or("the template has no property Fingerprint")?;
        let new = format!("{PROPERTY}'{fingerprint}'");
        std::fs::write(&path, text.replace(old, &new))?;
    }
    Ok(fingerprint)
}
