//! Golden vectors and black-box checks that anyone can run.
