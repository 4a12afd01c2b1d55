//! halt
