//! enrol
