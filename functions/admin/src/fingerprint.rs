//! What this build needs of a database, in one short text: the migrations, the indexes among them,
//! and what each function's role may do. The template's custom resource has it as a property,
//! because CloudFormation asks for an update only when a property changes; a grant without a
//! migration would never be made otherwise.

use std::fmt::Write as _;

use logins::sha256_hex;

use crate::migrations::MIGRATIONS;
use crate::roles::ROLES;

/// Hexadecimal digits that are kept: enough to tell versions apart.
const DIGITS: usize = 16;

/// The fingerprint of this build, 16 hexadecimal digits.
pub fn fingerprint() -> String {
    let mut text = String::new();
    for migration in MIGRATIONS {
        let _ = writeln!(text, "{} {}", migration.name, migration.checksum()); // a String takes everything
    }
    for role in ROLES {
        for (table, privileges) in role.privileges {
            let _ = writeln!(text, "{} {table} {privileges}", role.name);
        }
    }
    let mut digits = sha256_hex(text.as_bytes());
    digits.truncate(DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_the_fingerprint_of_this_build() {
        let template = include_str!("../../../template.yaml");
        let line = format!("      Fingerprint: '{}'\n", fingerprint());
        assert!(
            template.contains(&line),
            "template.yaml has another fingerprint, so that a deployment would not bring the database up to date. \
             Run: make fingerprint"
        );
    }
}
