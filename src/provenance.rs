//! Where a result comes from.

use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use td_koopman_agents::model::Parameters;

/// The commit this program was built from, with `-dirty` if files had been changed; `unknown` outside a checkout.
pub const COMMIT: &str = env!("TD_KOOPMAN_COMMIT");

/// Appends who made the results of a run folder, when and with what, to its `provenance.txt`: one line a process.
pub fn append(run_folder: &Path, device: &str, parameters: Parameters, env_step: u64) -> Result<()> {
    let path = run_folder.join("provenance.txt");
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // a folder's name need not be UTF-8
    let arguments = std::env::args_os().skip(1);
    let command: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let line = format!(
        "unix_time={seconds} from_env_step={env_step} version={} commit={COMMIT} device={device} dynamics_parameters={} \
         parameters={} command=td-koopman {}\n",
        env!("CARGO_PKG_VERSION"),
        parameters.dynamics,
        parameters.total,
        command.join(" ")
    );
    let write = || OpenOptions::new().create(true).append(true).open(&path)?.write_all(line.as_bytes());
    write().with_context(|| format!("cannot write {}", path.display()))
}
