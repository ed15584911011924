//! An error with a cause, such as a step may return.

use std::{error::Error, fmt, io};

#[derive(Debug)]
pub(crate) struct Declined(pub(crate) io::Error);

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("card declined")
    }
}

impl Error for Declined {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
