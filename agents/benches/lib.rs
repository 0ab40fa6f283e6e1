//! Criterion benches of `td-koopman-agents`; see the README beside this file.
