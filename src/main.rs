//! `td-koopman`: see `td-koopman --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    td_koopman::run()
}
