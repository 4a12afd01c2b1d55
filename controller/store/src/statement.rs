//! The registry macro: a file's statements as constants, and the list of them.

/// Declares statements and `ALL`, the list that the preparing test reads.
macro_rules! statements {
    ($($name:ident = $text:expr;)*) => {
        $(const $name: &str = $text;)*
        /// Every statement of this noun.
        pub const ALL: &[&str] = &[$($name,)*];
    };
}

pub(crate) use statements;
