//! What competes to be an elite: the candidates of an iteration and the policy's sequences.

use super::Candidates;
use super::prior::Prior;
use super::refit::Scored;
use burn::prelude::*;

/// The policy's sequences take part in every iteration. With a prior, all scores are less its price, which the first
/// iteration's candidates set.
pub(super) struct Contest {
    proposals: Option<Scored>,
    prior_weight: f64,
    prior: Option<Prior>,
    /// Scores that were no finite number: `[E]`; `None` before the first.
    bad_scores: Option<Tensor<1>>,
}

impl Contest {
    /// Scores the policy's sequences, `[E, P, H, A]`, if there are any.
    pub fn new(
        prior_weight: f64,
        proposals: Option<Tensor<4>>,
        score: impl Fn(Candidates) -> Tensor<2>,
    ) -> Self {
        let scored =
            |actions: Tensor<4>| Scored { scores: score(Candidates::Proposed(actions.clone())), actions };
        let proposals = proposals.map(scored);
        Self { bad_scores: proposals.as_ref().map(Scored::bad), proposals, prior_weight, prior: None }
    }

    /// All that compete in an iteration, `candidates` first.
    pub fn enter(&mut self, candidates: Scored) -> Vec<Scored> {
        let first = self.prior.is_none();
        let bad = candidates.bad();
        self.bad_scores = Some(match self.bad_scores.take() {
            Some(before) => before + bad,
            None => bad,
        });
        if first {
            self.prior = Prior::new(self.prior_weight, self.proposals.as_ref(), &candidates);
        }
        let candidates = match &self.prior {
            Some(prior) => {
                if first {
                    self.proposals = self.proposals.take().map(|proposals| prior.weigh(proposals));
                }
                prior.weigh(candidates)
            }
            None => candidates,
        };
        [candidates].into_iter().chain(self.proposals.clone()).collect()
    }

    /// How many scores so far were no finite numbers: `[E]`.
    ///
    /// # Panics
    /// If nothing took part.
    pub fn bad_scores(self) -> Tensor<1> {
        self.bad_scores.expect("at least one iteration, checked by the configuration")
    }
}
