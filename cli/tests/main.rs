//! The program `livespan`, as a user starts it: real processes, free ports, a home directory of its own for each test.

mod ask;
mod follow;
mod join;
mod open;
mod program;
mod restart;
mod run;
mod sender;
mod serve;
mod support;
