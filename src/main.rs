//! The program `openbucket`: the command line of the library.

fn main() -> std::process::ExitCode {
    openbucket::cli::run(std::env::args_os())
}
