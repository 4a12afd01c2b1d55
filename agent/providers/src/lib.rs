//! The resource providers: observe, diff, apply.
