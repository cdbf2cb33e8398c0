//! `smalti info`.
use crate::cli::args::InfoArgs;
use crate::cli::report::{Exit, Failure};
pub(crate) fn run(_args: &InfoArgs) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
