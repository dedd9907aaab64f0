//! Fuzz targets: a visitor's token, and the event that brings a request.

mod event;
mod jwt;
