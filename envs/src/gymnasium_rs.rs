//! Environments of the `gymnasium-rs` crate as ours, and ours as its.
//!
//! ```no_run
//! use td_koopman_envs::{gymnasium_rs::Theirs, register};
//! # fn add<E>(make: fn() -> E)
//! # where E: gymnasium_rs::core::Env<ndarray::Array1<f32>, ndarray::Array1<f32>> + Send + 'static {
//! register("their-env", move || Ok(Box::new(Theirs::new("their-env", make(), 1000)?))).unwrap();
//! # }
//! ```
use gymnasium_rs::core::{Env as TheirEnv, Info, Options, Reward, Space};
use ndarray::{Array1, Array3};

use crate::{End, Env, Error, Spec, Step};

/// An environment of `gymnasium-rs` with box spaces, as ours. Its numbers are `f32`.
pub struct Theirs<E> {
    inner: E,
    spec: Spec,
}

impl<E: TheirEnv<Array1<f32>, Array1<f32>> + Send> Theirs<E> {
    /// Adapts `inner`, which does not know how long its episodes last.
    ///
    /// # Errors
    ///
    /// A space is discrete, or an action has no finite limits.
    pub fn new(name: &str, inner: E, max_episode_steps: usize) -> Result<Self, Error> {
        let refuse =
            |kind, space: &Space| Error::Space { env: name.into(), kind, space: format!("{space:?}") };
        let observations = match inner.observation_space() {
            Space::Box { low, .. } => low.len(),
            space => return Err(refuse("observation", &space)),
        };
        let range: Vec<_> = match &inner.action_space() {
            Space::Box { low, high } if low.iter().chain(high).all(|x| x.is_finite()) => {
                low.iter().zip(high).map(|(&low, &high)| (low.into(), high.into())).collect()
            }
            space => return Err(refuse("action", space)),
        };
        // gymnasium-rs does not say whether episodes can end early
        let spec = Spec { terminates: true, ..Spec::new(name, observations, &range, max_episode_steps) };
        Ok(Self { inner, spec })
    }
}

fn copy(from: &Array1<f32>, to: &mut [f64]) {
    assert_eq!(from.len(), to.len(), "the observation has another size than its space");
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from.into());
}

impl<E: TheirEnv<Array1<f32>, Array1<f32>> + Send> Env for Theirs<E> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Their seeds have 31 bits: the two halves of ours, folded together.
    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        let folded = (seed ^ (seed >> 32)) as u32 & 0x7fff_ffff;
        copy(&self.inner.reset_seed(folded as i32).0, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let action = action.iter().map(|&x| x as f32).collect();
        let (seen, reward, terminated, truncated, _) = self.inner.step(action);
        copy(&seen, observation);
        let end = match (terminated, truncated) {
            (true, _) => End::Terminated,
            (false, true) => End::Truncated,
            (false, false) => End::Running,
        };
        Step { reward: reward.into(), end }
    }
}

/// An environment of ours for `gymnasium-rs`. It has no pictures there, because theirs are drawn without a renderer.
pub struct Ours {
    inner: Box<dyn Env>,
    /// Of the next episode whose seed nobody says.
    seed: u64,
    buffer: Vec<f64>,
}

impl Ours {
    /// Adapts `inner`; [`registry::make`](crate::registry::make) makes one.
    pub fn new(inner: Box<dyn Env>) -> Self {
        let buffer = vec![0.0; inner.spec().observation_dim];
        Self { inner, seed: 0, buffer }
    }

    fn observation(&self) -> Array1<f32> {
        self.buffer.iter().map(|&x| x as f32).collect()
    }
}

impl TheirEnv<Array1<f32>, Array1<f32>> for Ours {
    fn observation_space(&self) -> Space {
        let dim = self.inner.spec().observation_dim;
        let all = |x| Array1::from_elem(dim, x);
        Space::Box { low: all(f32::NEG_INFINITY), high: all(f32::INFINITY) }
    }

    fn action_space(&self) -> Space {
        let limits = |values: &[f64]| values.iter().map(|&x| x as f32).collect();
        let spec = self.inner.spec();
        Space::Box { low: limits(&spec.action_low), high: limits(&spec.action_high) }
    }

    fn reset(&mut self, seed: Option<i32>, _options: Options) -> (Array1<f32>, Info) {
        let seed = seed.map_or(self.seed, |seed| u64::from(seed.cast_unsigned()));
        self.seed = seed.wrapping_add(1);
        self.inner.reset(seed, &mut self.buffer);
        (self.observation(), Info::new())
    }

    fn step(&mut self, action: Array1<f32>) -> (Array1<f32>, Reward, bool, bool, Info) {
        let action: Vec<f64> = action.iter().map(|&x| x.into()).collect();
        let step = self.inner.step(&action, &mut self.buffer);
        let (terminated, truncated) = (step.end == End::Terminated, step.end == End::Truncated);
        (self.observation(), step.reward as f32, terminated, truncated, Info::new())
    }

    fn render(&self) -> Option<Array3<u8>> {
        None
    }

    fn close(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Random, check, register, registry};
    use gymnasium_rs::wrappers::timelimit::TimeLimitWrapper;

    /// A point that is pushed and pays its distance from 0; off the road at 3.
    struct Point(f32);

    impl TheirEnv<Array1<f32>, Array1<f32>> for Point {
        fn observation_space(&self) -> Space {
            Space::Box { low: Array1::from_elem(1, -3.0), high: Array1::from_elem(1, 3.0) }
        }

        fn action_space(&self) -> Space {
            Space::Box { low: Array1::from_elem(1, -0.5), high: Array1::from_elem(1, 0.25) }
        }

        fn reset(&mut self, seed: Option<i32>, _: Options) -> (Array1<f32>, Info) {
            self.0 = Random::from_seed(seed.unwrap() as u64).uniform(-1.0, 1.0) as f32;
            (Array1::from_elem(1, self.0), Info::new())
        }

        fn step(&mut self, action: Array1<f32>) -> (Array1<f32>, Reward, bool, bool, Info) {
            self.0 += action[0];
            (Array1::from_elem(1, self.0), -self.0.abs(), self.0.abs() > 3.0, false, Info::new())
        }

        fn render(&self) -> Option<Array3<u8>> {
            None
        }

        fn close(&mut self) {}
    }

    #[test]
    fn theirs_is_ours() {
        register("their-point", || Ok(Box::new(Theirs::new("their-point", Point(0.0), 50)?))).unwrap();
        let report = check::run(|| registry::make("their-point")).unwrap();
        assert!(report.passed(), "{report}");
        let (mut env, mut seen) = (registry::make("their-point").unwrap(), [0.0]);
        assert_eq!((env.spec().action_low[0], env.spec().action_high[0]), (-0.5, 0.25));
        env.reset(9, &mut seen);
        let start = seen[0];
        let step = env.step(&[0.25], &mut seen);
        assert!((seen[0] - start - 0.25).abs() < 1e-6 && (step.reward + seen[0].abs()).abs() < 1e-6);
        let end = (0..).map(|_| env.step(&[-0.5], &mut seen).end).find(|end| end.is_over());
        assert_eq!(end, Some(End::Terminated));
    }

    #[test]
    fn a_space_that_is_no_box_is_refused() {
        struct Levels;
        impl TheirEnv<Array1<f32>, Array1<f32>> for Levels {
            fn observation_space(&self) -> Space {
                Point(0.0).observation_space()
            }
            fn action_space(&self) -> Space {
                Space::Discrete(4)
            }
            fn reset(&mut self, _: Option<i32>, _: Options) -> (Array1<f32>, Info) {
                unreachable!()
            }
            fn step(&mut self, _: Array1<f32>) -> (Array1<f32>, Reward, bool, bool, Info) {
                unreachable!()
            }
            fn render(&self) -> Option<Array3<u8>> {
                None
            }
            fn close(&mut self) {}
        }
        let error = Theirs::new("levels", Levels, 5).err().unwrap().to_string();
        assert!(error.starts_with("the action space of `levels` is Discrete(4);"), "{error}");
    }

    /// Our pendulum under their time limit pays what it pays with us.
    #[test]
    fn ours_is_theirs() {
        let mut theirs = Ours::new(registry::make("pendulum").unwrap());
        let mut limited = TimeLimitWrapper::new(&mut theirs, 20);
        let (mut ours, mut expected) = (registry::make("pendulum").unwrap(), [0.0; 3]);
        let Space::Box { low, high } = TheirEnv::action_space(&limited) else { panic!("it is a box") };
        assert_eq!((low[0], high[0], low.len()), (-2.0, 2.0, 1));
        let (seen, _) = TheirEnv::reset(&mut limited, Some(4), Options::new());
        ours.reset(4, &mut expected);
        assert_eq!(seen.to_vec(), expected.map(|x| x as f32));
        for step in 1..=20 {
            let (seen, reward, terminated, truncated, _) =
                TheirEnv::step(&mut limited, Array1::from_elem(1, 1.5));
            let own = ours.step(&[1.5], &mut expected);
            assert_eq!(seen.to_vec(), expected.map(|x| x as f32));
            assert_eq!((reward, terminated, truncated), (own.reward as f32, false, step == 20));
        }
    }
}
