//! Cells as child processes of this program, a few at a time.

use super::board::Board;
use super::files::{LOG, last_words};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use std::fs::{self, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Tells a child who started it.
const PARENT: &str = "TD_KOOPMAN_STUDY_PROCESS";

/// A cell to run.
pub struct Job {
    /// What the progress calls it.
    pub name: String,
    /// The arguments of this program that do it.
    pub arguments: Vec<String>,
    /// Its folder, which gets the console output.
    pub folder: PathBuf,
    /// How much there is to do, in a unit that all jobs share.
    pub work: u64,
    /// How much of it is done.
    pub done: Box<dyn Fn() -> u64>,
}

impl Job {
    fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// The last line of its log behind the byte `begun`, where its process began: earlier ones had their own to say.
    pub(super) fn last_words(&self, begun: u64) -> Option<String> {
        last_words(&self.log(), begun)
    }
}

/// How a cell ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did what it was asked to.
    Finished,
    /// It did not; why.
    Failed(String),
    /// It was stopped, or not begun, because the study was.
    Stopped,
}

/// Runs `jobs`, `parallel` at a time, until all have ended or `stop` is raised: then the running ones are told to save
/// and end. `ended` hears of each finished or failed one. A failure does not stop the others.
pub fn run(
    jobs: &[Job],
    parallel: usize,
    stop: &AtomicBool,
    mut ended: impl FnMut(usize, &Ending) -> Result<()>,
) -> Result<Vec<Ending>> {
    let program = std::env::current_exe().context("cannot find the program's own file")?;
    let mut endings: Vec<Option<Ending>> = jobs.iter().map(|_| None).collect();
    let mut running: Vec<(usize, Process)> = Vec::new();
    let mut waiting = (0..jobs.len()).peekable();
    let mut told = false;
    let mut board = Board::new(jobs);
    while waiting.peek().is_some() || !running.is_empty() {
        if stop.load(Ordering::Relaxed) {
            waiting = (0..0).peekable();
            if !told {
                told = true;
                board.line(&format!("stopping: waiting for {} cells to save", running.len()));
                running.iter().for_each(|(_, process)| interrupt(&process.child));
            }
        }
        while running.len() < parallel
            && let Some(index) = waiting.next()
        {
            match start(&program, &jobs[index]) {
                Ok(process) => {
                    board.begin(&jobs[index], process.begun);
                    running.push((index, process));
                }
                Err(error) => {
                    let ending = Ending::Failed(format!("{error:#}"));
                    board.end(&jobs[index], &ending);
                    ended(index, &ending)?;
                    endings[index] = Some(ending);
                }
            }
        }
        let mut still = Vec::new();
        for (index, mut process) in running {
            let Some(status) = process.child.try_wait().context("cannot wait for a cell's process")? else {
                still.push((index, process));
                continue;
            };
            let ending = judge(status, told, &jobs[index], process.begun);
            board.end(&jobs[index], &ending);
            if ending != Ending::Stopped {
                ended(index, &ending)?;
            }
            endings[index] = Some(ending);
        }
        running = still;
        board.show();
        if !running.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(endings.into_iter().map(|ending| ending.unwrap_or(Ending::Stopped)).collect())
}

/// A job's process.
struct Process {
    child: Child,
    /// Bytes of the log that are of earlier ones.
    begun: u64,
}

fn start(program: &std::path::Path, job: &Job) -> Result<Process> {
    let open = || {
        fs::create_dir_all(&job.folder)?;
        let log = OpenOptions::new().create(true).append(true).open(job.log())?;
        let begun = log.metadata()?.len();
        Ok::<_, std::io::Error>((log, begun))
    };
    let (log, begun) = open().with_context(|| format!("cannot write {}", job.log().display()))?;
    let twin = log.try_clone().context("cannot share the log")?;
    let child = Command::new(program)
        .args(&job.arguments)
        .env(PARENT, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(twin)
        // Ctrl-C in the terminal must reach a child once, from us: its second one would end it at once, unsaved
        .process_group(0)
        .spawn()
        .context("cannot start a process")?;
    Ok(Process { child, begun })
}

/// Asks a child to save and end.
fn interrupt(child: &Child) {
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        // it may have ended by itself in the meantime
        let _ = kill_process(pid, Signal::INT);
    }
}

fn judge(status: ExitStatus, told: bool, job: &Job, begun: u64) -> Ending {
    if status.success() {
        return Ending::Finished;
    }
    if told {
        return Ending::Stopped;
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "it ended".into(),
    };
    Ending::Failed(match job.last_words(begun) {
        Some(line) => format!("{how}: {line}; all of it in {}", job.log().display()),
        None => format!("{how}, and it said nothing"),
    })
}

/// In a process that a study started: if the study is killed, this one stops as after Ctrl-C, and the same command can
/// go on from what it saves.
pub fn stop_with_parent() -> Result<()> {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|pid| pid.parse::<i32>().ok()) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot watch the study's process")?;
    // it may have died before the watch was set
    if getppid() != Pid::from_raw(parent) {
        anyhow::bail!("the study that started this process is gone");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_its_last_words_and_a_stop_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let job = Job {
            name: "x".into(),
            arguments: vec![],
            folder: folder.path().into(),
            work: 1,
            done: Box::new(|| 0),
        };
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let silent = Ending::Failed("exit code 1, and it said nothing".into());
        assert_eq!(judge(exit(0), true, &job, 0), Ending::Finished);
        assert_eq!(judge(exit(130), true, &job, 0), Ending::Stopped);
        assert_eq!(judge(exit(1), false, &job, 0), silent);
        let log = "train\nerror: the loss is no longer a number\n";
        fs::write(job.log(), log).unwrap();
        let Ending::Failed(why) = judge(ExitStatus::from_raw(9), false, &job, 0) else { panic!() };
        let whole = format!("; all of it in {}", job.log().display());
        assert_eq!(why, format!("killed by signal 9: error: the loss is no longer a number{whole}"));
        assert_eq!(judge(exit(1), false, &job, log.len() as u64), silent, "an earlier process said it");
        // of a panic the last line was advice about backtraces
        let panic = "\nthread 'main' (7) panicked at src/x.rs:3:5:\ncapacity overflow\nnote: run with `RUST_BACKTRACE=1`\n";
        fs::write(job.log(), log.to_owned() + panic).unwrap();
        let Ending::Failed(why) = judge(exit(101), false, &job, 0) else { panic!() };
        assert_eq!(
            why,
            format!("exit code 101: thread 'main' (7) panicked at src/x.rs:3:5: capacity overflow{whole}")
        );
    }
}
