//! Several recorders as one.

use super::{Diagnosis, Episode, Evaluation, Progress, Recorder, Start};
use anyhow::Result;

/// Hands every event to each of its recorders, in order.
///
/// Each recorder gets the event even when an earlier one failed – a broken TensorBoard folder does not cost the CSV
/// row –; the first error is then returned.
pub struct Multi(pub Vec<Box<dyn Recorder>>);

impl Multi {
    fn each(&mut self, mut call: impl FnMut(&mut dyn Recorder) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        for recorder in &mut self.0 {
            outcome = outcome.and(call(recorder.as_mut()));
        }
        outcome
    }
}

impl Recorder for Multi {
    fn start(&mut self, start: &Start) {
        for recorder in &mut self.0 {
            recorder.start(start);
        }
    }

    fn episode(&mut self, episode: &Episode) -> Result<()> {
        self.each(|recorder| recorder.episode(episode))
    }

    fn evaluation(&mut self, evaluation: &Evaluation) -> Result<()> {
        self.each(|recorder| recorder.evaluation(evaluation))
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) -> Result<()> {
        self.each(|recorder| recorder.diagnosis(diagnosis))
    }

    fn progress(&mut self, progress: &Progress) {
        for recorder in &mut self.0 {
            recorder.progress(progress);
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.each(|recorder| recorder.flush())
    }

    fn finish(&mut self) -> Result<()> {
        self.each(|recorder| recorder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::events::samples;
    use anyhow::bail;
    use std::{cell::RefCell, rc::Rc};

    /// Notes the calls it receives, and refuses evaluations when told to.
    struct Spy {
        name: &'static str,
        refuses: bool,
        calls: Rc<RefCell<Vec<String>>>,
    }

    impl Recorder for Spy {
        fn episode(&mut self, episode: &Episode) -> Result<()> {
            self.calls.borrow_mut().push(format!("{} episode {}", self.name, episode.episode));
            Ok(())
        }

        fn evaluation(&mut self, _: &Evaluation) -> Result<()> {
            self.calls.borrow_mut().push(format!("{} evaluation", self.name));
            if self.refuses { bail!("{} is broken", self.name) } else { Ok(()) }
        }

        fn flush(&mut self) -> Result<()> {
            self.calls.borrow_mut().push(format!("{} flush", self.name));
            Ok(())
        }
    }

    #[test]
    fn a_failing_recorder_does_not_starve_the_next_one_and_its_error_is_returned() {
        let calls = Rc::new(RefCell::new(Vec::new()));
        let spy = |name, refuses| Box::new(Spy { name, refuses, calls: calls.clone() }) as Box<dyn Recorder>;
        let mut both = Multi(vec![spy("a", true), spy("b", false)]);

        both.episode(&samples::episode(3)).unwrap();
        assert_eq!(both.evaluation(&samples::evaluation(0)).unwrap_err().to_string(), "a is broken");
        both.finish().unwrap();

        let expected = ["a episode 3", "b episode 3", "a evaluation", "b evaluation", "a flush", "b flush"];
        assert_eq!(*calls.borrow(), expected);
    }
}
