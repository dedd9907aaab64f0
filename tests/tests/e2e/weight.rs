//! What is deployed: its size, and what it must not contain.

use tests::binary::{cargo, crates, release_binary};

#[test]
fn no_deployed_crate_depends_on_aws_lc_openssl_or_the_legacy_http_stack() {
    for (package, ..) in BUDGETS {
        for forbidden in [
            "aws-lc-rs",
            "aws-lc-sys",
            "openssl-sys",
            "native-tls",
            "hyper@0.14",
            "rustls@0.21",
        ] {
            let output = cargo()
                .args([
                    "tree",
                    "--locked",
                    "--offline",
                    "--edges",
                    "normal",
                    "--package",
                    package,
                    "--invert",
                    forbidden,
                ])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            // A check that cannot run fails too: the absence has to be said in words.
            assert!(
                text.contains("did not match any packages")
                    || String::from_utf8_lossy(&output.stdout).is_empty()
                        && text.contains("nothing to print"),
                "{package} and {forbidden}: {text}"
            );
        }
    }
}

/// Every deployed function, its budget in bytes, and in crates; `make test` builds the release
/// binaries first.
const BUDGETS: &[(&str, u64, usize)] = &[
    ("admin", 4_700_000, 210),
    ("chat", 9_000_000, 215),
    // Uploads: 50 KB of routes, signing and deletion in chats and maintenance. The loop as a task:
    // 12 KB in every function, and two system calls less in each request.
    ("chats", 5_460_000, 210),
    ("jobs", 7_500_000, 220),
    // Prepared statements: 45 KB in every function. A tokenizer of HTML, 400 KB, and a parser of
    // XML, 40 KB: the blog's posts.
    ("maintenance", 6_780_000, 220),
    ("sql", 5_000_000, 215),
];

#[test]
fn every_function_stays_below_its_size_budget() {
    for (name, budget, _) in BUDGETS {
        let Some(path) = release_binary(name) else {
            assert!(
                std::env::var_os("TEST_PROFILE").is_none_or(|profile| profile != "release"),
                "no release binary of {name}"
            );
            continue;
        };
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size < *budget, "{name}: {size} bytes");
    }
}

#[test]
fn every_function_is_made_of_few_crates() {
    for (name, _, budget) in BUDGETS {
        let count = crates(name);
        assert!(count <= *budget, "{name}: {count} crates");
    }
}
