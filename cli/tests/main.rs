//! The program `livespan`, as a user starts it: real processes, free ports, a home directory of its own for each test.

mod serve;
mod support;
