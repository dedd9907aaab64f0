//! Every parser of what a client sends.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dsql_local::fuzz::parse(bytes));
