//! A child process that is talked to in lines, and dies with us.
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::{self, JoinHandle},
};

/// Lines of its standard error that are kept for the report of a failure.
const LAST_WORDS: usize = 8;

pub(super) struct Process {
    child: Child,
    /// Closed to make it end; dropping does.
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    /// Ends, with the last lines, when the child closes its standard error.
    complaints: Option<JoinHandle<VecDeque<String>>>,
}

impl Process {
    pub(super) fn start(program: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                format!(
                    "cannot be started: `{program}`: {error}; set PYTHON to an interpreter that has its packages"
                )
            })?;
        let complaints = BufReader::new(child.stderr.take().expect("it was piped"));
        let collect = move || {
            let mut last = VecDeque::new();
            for line in complaints.lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
                last.push_back(line);
                if last.len() > LAST_WORDS {
                    last.pop_front();
                }
            }
            last
        };
        Ok(Self {
            requests: child.stdin.take(),
            replies: BufReader::new(child.stdout.take().expect("it was piped")),
            complaints: Some(thread::spawn(collect)),
            child,
        })
    }

    /// Sends a line. That nobody reads it shows when no reply comes.
    pub(super) fn say(&mut self, line: &str) {
        if let Some(requests) = &mut self.requests {
            let _ = writeln!(requests, "{line}").and_then(|()| requests.flush());
        }
    }

    /// The next line, which begins with the word `kind`, without it.
    pub(super) fn reply(&mut self, kind: &str) -> Result<String, String> {
        let mut line = String::new();
        match self.replies.read_line(&mut line) {
            Ok(length) if length > 0 => {}
            _ => return Err(self.last_words()),
        }
        let line = line.trim_end();
        match line.split_once(' ') {
            Some((word, rest)) if word == kind => Ok(rest.to_owned()),
            Some(("error", text)) => Err(format!("failed: {text}")),
            _ => Err(format!("said `{line}` where `{kind} …` was expected")),
        }
    }

    /// How it died.
    fn last_words(&mut self) -> String {
        self.end();
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let said = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let said: Vec<_> = said.into_iter().collect();
        match said.is_empty() {
            true => format!("died ({status})"),
            false => format!("died ({status}): {}", said.join(" | ")),
        }
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn end(&mut self) {
        self.requests = None;
        let _ = self.child.kill(); // it may have ended by itself
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}
