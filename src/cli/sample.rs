//! `smalti sample`.
use crate::cli::args::SampleArgs;
use crate::cli::report::{Exit, Failure};
pub(crate) fn run(_args: &SampleArgs) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
