//! Networks, planners and tasks of any sizes.

use super::*;
use crate::config::draw::{Draw, cases};

impl Draw {
    fn task(&mut self) -> Task {
        let (observation, action) = (self.size(1, 80), self.size(1, 20));
        Task { observation, action, environments: self.size(1, 4), horizon: self.size(1, 6) }
    }

    fn cut(&mut self) -> Cut {
        let team = self.of(&[0, TEAM]);
        let machine = Machine {
            multiprocessors: self.of(&[1, 1000]),
            shared: self.of(&[0, 100_000, 230_000]),
            team,
            clusters: 1000 * team,
        };
        (self.of(&[1, 2, 4]), self.of(&[1, 2, 4]), machine)
    }
}

/// A few, and more with `KERNEL_CASES=from..to` in the environment.
#[test]
fn plans_of_any_sizes_are_those_of_packed_networks() {
    for case in cases(2) {
        let mut draw = Draw::new(case);
        let (config, task, cut) = (draw.agent(), draw.task(), draw.cut());
        let what = format!("case {case}: {cut:?} {task:?} {:?} {:?}", config.model, config.planner);
        let decide = |precision| decide_by(Heads::Random, task, &observations(task), &config, precision, cut);
        std::thread::scope(|scope| {
            scope.spawn(|| agree_on(&what, decide(Precision::F32)));
            scope.spawn(|| nearly_agree(&what, 1.0, decide(Precision::Bf16)));
        });
    }
}
