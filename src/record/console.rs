//! What a person sees of a run in the terminal, or finds in its log.

use super::rate::Rate;
use super::{Episode, Evaluation, Progress, Recorder, Start};
use anyhow::Result;
use indicatif::{FormattedDuration, HumanCount, ProgressBar, ProgressFinish, ProgressStyle};
use std::{
    io::Write,
    time::{Duration, Instant},
};
use td_koopman_agents::learner::Losses;

/// Says a line on standard error. That nobody can read it any more is no reason to stop, as `eprintln!` would.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Shows how far the run is, how fast it goes, when it will be done, and how it is doing.
///
/// A terminal gets a progress bar on standard error; a file or a pipe gets a plain line every ten seconds or so.
pub struct ConsoleRecorder {
    screen: Screen,
    rate: Rate,
    /// When the progress was last shown.
    shown: Option<Instant>,
    last: Option<Progress>,
}

enum Screen {
    Bar(ProgressBar),
    Lines(Box<dyn Write>),
}

impl Screen {
    /// The bar is redrawn as often as an eye can follow; each line stays in the log.
    fn interval(&self) -> Duration {
        match self {
            Screen::Bar(_) => Duration::from_millis(100),
            Screen::Lines(_) => Duration::from_secs(10),
        }
    }

    /// A line that stays, above the bar. That nobody can read it any more is no reason to stop a run.
    fn line(&mut self, text: &str) {
        match self {
            Screen::Bar(bar) => bar.println(text),
            Screen::Lines(out) => drop(writeln!(out, "{text}")),
        }
    }
}

impl ConsoleRecorder {
    /// A bar or lines on standard error, depending on whether it is a terminal.
    pub fn stderr() -> Self {
        let bar = bar();
        // indicatif hides the bar where it cannot be redrawn
        Self::on(if bar.is_hidden() { Screen::Lines(Box::new(std::io::stderr())) } else { Screen::Bar(bar) })
    }

    fn on(screen: Screen) -> Self {
        Self { screen, rate: Rate::default(), shown: None, last: None }
    }

    fn progress_at(&mut self, now: Instant, progress: &Progress) {
        self.last = Some(*progress);
        if self.shown.is_some_and(|then| now.saturating_duration_since(then) < self.screen.interval()) {
            return;
        }
        self.shown = Some(now);
        match progress.phase {
            "explore" => self.rate.forget(), // random steps take microseconds, planned ones milliseconds
            _ => self.rate.observe(now, progress.env_step),
        }
        self.show(progress);
    }

    fn show(&mut self, progress: &Progress) {
        let pace = pace(progress, &self.rate);
        let state = state(progress);
        match &mut self.screen {
            Screen::Bar(bar) => {
                bar.set_length(progress.total_env_steps);
                bar.set_prefix(pace);
                bar.set_message(format!("{}  {state}", progress.phase));
                bar.set_position(progress.env_step);
            }
            Screen::Lines(_) => {
                let separator = if state.is_empty() { "" } else { "  " };
                self.screen.line(&format!("{}  {pace}{separator}{state}", progress.phase));
            }
        }
    }
}

impl Recorder for ConsoleRecorder {
    fn start(&mut self, start: &Start) {
        let like = start.matched.map(|name| format!(" (matched to {name})")).unwrap_or_default();
        self.screen.line(&format!(
            "{} parameters in {} dynamics{like}, {} in all networks",
            HumanCount(start.parameters.dynamics as u64),
            start.dynamics,
            HumanCount(start.parameters.total as u64),
        ));
    }

    fn episode(&mut self, episode: &Episode) -> Result<()> {
        if episode.bad_scores > 0 {
            self.screen.line(&format!(
                "warning: {} candidates of episode {} had a score that is infinite or not a number; they were ranked last",
                HumanCount(episode.bad_scores),
                episode.episode,
            ));
        }
        Ok(())
    }

    fn evaluation(&mut self, evaluation: &Evaluation) -> Result<()> {
        self.screen.line(&format!(
            "evaluation after {} env steps: return {} ± {} over {} episodes",
            HumanCount(evaluation.env_step),
            short(evaluation.return_mean),
            short(evaluation.return_sd),
            evaluation.episodes,
        ));
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        self.progress_at(Instant::now(), progress);
    }

    fn finish(&mut self) -> Result<()> {
        // the last state stays on the screen, whenever the one before was shown
        if let Some(progress) = self.last.take() {
            self.show(&progress);
        }
        if let Screen::Bar(bar) = &self.screen {
            bar.abandon();
        }
        Ok(())
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar:.cyan/dim} {percent:>3}%  {prefix}\n{wide_msg}")
        .expect("the template is a constant that every run shows")
        .progress_chars("━╸─");
    let bar = ProgressBar::new(0).with_style(style).with_finish(ProgressFinish::Abandon);
    // goes on drawing while an evaluation or the first compilation of kernels takes its time
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Where the run stands and how fast it goes.
fn pace(progress: &Progress, rate: &Rate) -> String {
    let mut text =
        format!("{} / {} env steps", HumanCount(progress.env_step), HumanCount(progress.total_env_steps));
    if let Some(steps_per_second) = rate.steps_per_second() {
        text += &format!("  {} steps/s", short(steps_per_second));
    }
    let remaining = progress.total_env_steps.saturating_sub(progress.env_step);
    if let Some(time) = rate.time_for(remaining).filter(|_| remaining > 0) {
        text += &format!("  ETA {}", FormattedDuration(time));
    }
    text
}

/// How the run is doing; nothing while nothing is known.
fn state(progress: &Progress) -> String {
    let mut parts = Vec::new();
    if let Some(value) = progress.last_return {
        parts.push(format!("return {}", short(value)));
    }
    if let Some(value) = progress.last_evaluation {
        parts.push(format!("evaluation {}", short(value)));
    }
    if let Some(losses) = &progress.losses {
        let [total, terms @ ..] = losses.terms().map(short);
        let terms: Vec<_> =
            Losses::TERMS[1..].iter().zip(terms).map(|(name, value)| format!("{name} {value}")).collect();
        parts.push(format!("loss {total} ({})", terms.join(", ")));
    }
    parts.join("  ")
}

/// A number with three or four digits that matter.
fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        value.to_string()
    } else if (1e-3..1e6).contains(&size) {
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 5);
        format!("{value:.*}", decimals as usize)
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::events::samples::{episode, evaluation, losses};
    use std::{cell::RefCell, rc::Rc};
    use td_koopman_agents::model::Parameters;

    #[derive(Clone, Default)]
    struct Log(Rc<RefCell<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.borrow().clone()).unwrap().lines().map(String::from).collect()
        }
    }

    fn progress(env_step: u64) -> Progress {
        Progress {
            env_step,
            total_env_steps: 50_000,
            last_return: None,
            last_evaluation: None,
            losses: None,
            phase: "train",
        }
    }

    #[test]
    fn a_log_gets_a_line_every_ten_seconds_and_the_last_state_at_the_end() {
        let log = Log::default();
        let mut console = ConsoleRecorder::on(Screen::Lines(Box::new(log.clone())));
        let start = Instant::now();
        // resumed at 40 000, then a hundred steps a second, reported at each
        for tick in 0..2_500 {
            console.progress_at(start + Duration::from_millis(10 * tick), &progress(40_000 + tick));
        }
        console.finish().unwrap();
        let expected = [
            "train  40,000 / 50,000 env steps",
            "train  41,000 / 50,000 env steps  100 steps/s  ETA 00:01:30",
            "train  42,000 / 50,000 env steps  100 steps/s  ETA 00:01:20",
            "train  42,499 / 50,000 env steps  100 steps/s  ETA 00:01:15",
        ];
        assert_eq!(log.lines(), expected);
    }

    #[test]
    fn the_first_line_tells_how_large_the_networks_are() {
        let log = Log::default();
        let mut console = ConsoleRecorder::on(Screen::Lines(Box::new(log.clone())));
        let parameters = Parameters { dynamics: 22_700, total: 1_234_567 };
        console.start(&Start { dynamics: "koopman", matched: None, parameters });
        console.start(&Start { dynamics: "gru", matched: Some("koopman"), parameters });
        let expected = [
            "22,700 parameters in koopman dynamics, 1,234,567 in all networks",
            "22,700 parameters in gru dynamics (matched to koopman), 1,234,567 in all networks",
        ];
        assert_eq!(log.lines(), expected);
    }

    #[test]
    fn a_line_tells_return_evaluation_and_losses_once_they_are_known() {
        let log = Log::default();
        let mut console = ConsoleRecorder::on(Screen::Lines(Box::new(log.clone())));
        let known = Progress {
            last_return: Some(-1234.56),
            last_evaluation: Some(0.0),
            losses: Some(losses()),
            ..progress(5)
        };
        console.progress_at(Instant::now(), &known);
        console.evaluation(&evaluation(10_000)).unwrap();
        let expected = [
            "train  5 / 50,000 env steps  return -1235  evaluation 0  \
             loss 1.50 (consistency 0.250, reward 0.125, value 0.500, policy -0.750)",
            "evaluation after 10,000 env steps: return 512 ± 20.5 over 10 episodes",
        ];
        assert_eq!(log.lines(), expected);
    }

    #[test]
    fn discarded_candidates_are_warned_of_and_their_absence_is_not() {
        let log = Log::default();
        let mut console = ConsoleRecorder::on(Screen::Lines(Box::new(log.clone())));
        console.episode(&Episode { bad_scores: 0, ..episode(3) }).unwrap();
        console.episode(&Episode { bad_scores: 1_234, ..episode(4) }).unwrap();
        let warning = "warning: 1,234 candidates of episode 4 had a score that is infinite or not a number; they were \
                       ranked last";
        assert_eq!(log.lines(), [warning]);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.031_24, "0.0312"),
            (231.44, "231"),
            (12_345.6, "12346"),
            (4.2e-5, "4.20e-5"),
            (-7.0e8, "-7.00e8"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
    }
}
