//! The program `livespan` as a user runs it: real processes, free ports, and a home directory for
//! each test.

mod ask;
mod follow;
mod image;
mod join;
mod open;
mod program;
mod restart;
mod run;
mod sender;
mod serve;
mod support;
