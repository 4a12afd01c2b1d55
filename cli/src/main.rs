//! The writ command: client of the API, offline verifier, and writ dev.
fn main() {}
