//! What a person sees of a study: one bar with the time that is left, and a line for each running cell.

use super::pool::{Ending, Job};
use crate::record::say;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The progress of some jobs on standard error: bars on a terminal, lines elsewhere.
pub struct Board<'a> {
    jobs: &'a [Job],
    screen: MultiProgress,
    overall: ProgressBar,
    /// By the names of the jobs; with each the byte of its log where its process began.
    running: HashMap<String, (ProgressBar, u64)>,
    ended: usize,
    failed: usize,
    shown: Option<Instant>,
}

impl<'a> Board<'a> {
    /// A board for `jobs`, none of which has begun.
    pub fn new(jobs: &'a [Job]) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = "{bar:30} {percent:>3}%  {msg}  elapsed {elapsed_precise}  ETA {left}";
        let overall = screen.add(ProgressBar::new(jobs.iter().map(|job| job.work).sum()));
        let style = ProgressStyle::with_template(style).expect("the template is constant");
        overall.set_style(style.with_key("left", |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let seconds = state.eta().as_secs();
            // nothing is known before anything is done
            let _ = match seconds {
                0 => write!(text, "--:--:--"),
                _ => write!(text, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            };
        }));
        let board = Self { jobs, screen, overall, running: HashMap::new(), ended: 0, failed: 0, shown: None };
        // what earlier processes did says nothing about how fast this one goes
        board.overall.set_position(board.done());
        board.overall.reset_eta();
        board
    }

    fn done(&self) -> u64 {
        self.jobs.iter().map(|job| (job.done)().min(job.work)).sum()
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        if self.overall.is_hidden() {
            say(text);
        } else {
            // that nobody can read it any more is no reason to stop
            let _ = self.screen.println(text);
        }
    }

    /// A job has begun, at this byte of its log.
    pub fn begin(&mut self, job: &Job, begun: u64) {
        let bar = self.screen.insert_before(&self.overall, ProgressBar::new_spinner());
        bar.set_style(
            ProgressStyle::with_template("{prefix}  {wide_msg}").expect("the template is constant"),
        );
        bar.set_prefix(job.name.clone());
        self.running.insert(job.name.clone(), (bar, begun));
        if self.overall.is_hidden() {
            self.line(&format!("begun: {}", job.name));
        }
        self.shown = None;
    }

    /// A job has ended.
    pub fn end(&mut self, job: &Job, ending: &Ending) {
        if let Some((bar, _)) = self.running.remove(&job.name) {
            bar.finish_and_clear();
        }
        self.ended += 1;
        match ending {
            Ending::Finished => self.line(&format!("finished: {}", job.name)),
            Ending::Stopped => self.line(&format!("stopped: {}", job.name)),
            Ending::Failed(why) => {
                self.failed += 1;
                self.line(&format!("failed: {} ({why})", job.name));
            }
        }
        self.shown = None;
    }

    /// Brings the bars up to date, once a second.
    pub fn show(&mut self) {
        if self.overall.is_hidden() || self.shown.is_some_and(|then| then.elapsed() < Duration::from_secs(1))
        {
            return;
        }
        self.shown = Some(Instant::now());
        for job in self.jobs {
            if let Some((bar, begun)) = self.running.get(&job.name) {
                bar.set_message(job.last_words(*begun).unwrap_or_default());
            }
        }
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        self.overall.set_message(format!("{} of {} cells{failed}", self.ended, self.jobs.len()));
        self.overall.set_position(self.done());
    }
}

impl Drop for Board<'_> {
    fn drop(&mut self) {
        self.overall.finish_and_clear();
    }
}
