//! Fuzz targets: what clients send, and what becomes of values on their way to the server and back.

mod array;
mod body;
mod connection_string;
mod leading_words;
mod value;
