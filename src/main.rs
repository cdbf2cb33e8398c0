//! The program `smalti`: see `smalti --help`, and the library for what it does.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = match cli::args::Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::report::usage(&error).into(),
    };
    match cli::run(&arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            cli::report::failure(&failure);
            failure.exit.into()
        }
    }
}
