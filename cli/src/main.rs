//! The program `livespan`. It receives spans while they are open and serves the page, runs commands and shows their
//! spans, and asks a running livespan. This file only selects the command.

mod args;
mod ask;
mod config;
mod console;
mod failure;
mod follow;
mod http;
mod invitations;
mod open;
mod paths;
mod run;
mod serve;
mod signals;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Arguments, Command},
    failure::Failure,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(arguments));
            // Does not wait for blocking work, such as a store that hangs. It ends with the program.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::of("start", &error)),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            console::print_message(&failure.to_string());
            failure.code()
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        None => serve::run(arguments.serve).await,
        Some(Command::Serve(options)) => serve::run(options).await,
        Some(Command::Run(options)) => run::run(options).await,
        Some(Command::Open(options)) => open::run(options).await,
        Some(Command::Running(options)) => ask::running(options).await,
        Some(Command::Traces(options)) => ask::traces(options).await,
        Some(Command::Trace(options)) => ask::trace(options).await,
        Some(Command::Tail(options)) => ask::tail(options).await,
        Some(Command::Wait(options)) => ask::wait(options).await,
        Some(Command::Problems(options)) => ask::problems(options).await,
    }
}
