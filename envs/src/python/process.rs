//! A child process that is talked to in lines, and does not outlive us.
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// Lines of its standard error that are kept for the report of a failure.
const LAST_WORDS: usize = 8;

/// How long it may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a process that is expected to end is looked at.
const GLANCE: Duration = Duration::from_millis(5);

pub(super) struct Process {
    child: Child,
    /// Closed to make it end.
    requests: Option<ChildStdin>,
    /// Lines of its standard output, without an end while processes that it started itself have that open.
    replies: Receiver<String>,
    /// The last lines of its standard error.
    complaints: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    pub(super) fn start(program: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // Ctrl-C is for us: we finish what we are at, and need it for that
            .spawn()
            .map_err(|error| {
                format!(
                    "cannot be started: `{program}`: {error}; set PYTHON to an interpreter that has its packages"
                )
            })?;
        let (send, replies) = mpsc::channel();
        each_line(child.stdout.take().expect("it was piped"), move |line| send.send(line).is_ok());
        let complaints = Arc::<Mutex<VecDeque<String>>>::default();
        let said = complaints.clone();
        each_line(child.stderr.take().expect("it was piped"), move |line| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if !line.trim().is_empty() {
                said.push_back(line);
                if said.len() > LAST_WORDS {
                    said.pop_front();
                }
            }
            true
        });
        Ok(Self { requests: child.stdin.take(), replies, complaints, child })
    }

    /// Sends a line. That nobody reads it shows when no reply comes.
    pub(super) fn say(&mut self, line: &str) {
        if let Some(requests) = &mut self.requests {
            let _ = writeln!(requests, "{line}").and_then(|()| requests.flush());
        }
    }

    /// The next line, which begins with the word `kind`, without it.
    pub(super) fn reply(&mut self, kind: &str) -> Result<String, String> {
        let Some(line) = self.next_line() else { return Err(self.last_words()) };
        match line.trim_end().split_once(' ') {
            Some((word, rest)) if word == kind => Ok(rest.to_owned()),
            Some(("error", text)) => Err(format!("failed: {text}")),
            _ => Err(format!("said `{}` where `{kind} …` was expected", line.trim_end())),
        }
    }

    /// However long it takes, while there is somebody to say it.
    fn next_line(&mut self) -> Option<String> {
        loop {
            match self.replies.recv_timeout(PATIENCE) {
                Ok(line) => return Some(line),
                Err(RecvTimeoutError::Disconnected) => return None,
                // what it said before it died may have come meanwhile
                Err(RecvTimeoutError::Timeout) if !matches!(self.child.try_wait(), Ok(None)) => {
                    return self.replies.recv_timeout(20 * GLANCE).ok();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// How it died.
    fn last_words(&mut self) -> String {
        self.end();
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        // they come through another pipe
        let since = Instant::now();
        while Arc::strong_count(&self.complaints) > 1 && since.elapsed() < PATIENCE {
            thread::sleep(GLANCE);
        }
        let said = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        match said.is_empty() {
            true => format!("died ({status})"),
            false => format!("died ({status}): {}", said.iter().cloned().collect::<Vec<_>>().join(" | ")),
        }
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it close what it has opened; kills it if that takes too long.
    fn end(&mut self) {
        self.requests = None;
        let since = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && since.elapsed() < PATIENCE {
            thread::sleep(GLANCE);
        }
        let _ = self.child.kill(); // it may have ended by itself
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}

/// Hands on what `pipe` brings, line by line in a thread of its own, until it ends or nobody `wants` more.
fn each_line(pipe: impl Read + Send + 'static, mut wants: impl FnMut(String) -> bool + Send + 'static) {
    thread::spawn(move || {
        let (mut pipe, mut line) = (BufReader::new(pipe), Vec::new());
        // not everybody writes UTF-8
        while matches!(pipe.read_until(b'\n', &mut line), Ok(length) if length > 0)
            && wants(String::from_utf8_lossy(&line).trim_end().to_owned())
        {
            line.clear();
        }
    });
}
