//! Episodes as CSV, so that anybody can replay them in Gymnasium or dm_control and get the same rewards.
//!
//! A row is an environment step (not a decision): `episode,step`, the simulator state the episode started from on step
//! 0 (`qpos_…,qvel_…,extra_…`, empty afterwards), the observation before the action, the action in the environment's own units,
//! the reward and how the step ended. `scripts/replay_trace.py` is the other half.

use anyhow::{Context, Result};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use td_koopman_envs::wrappers::TapEvent;
use td_koopman_envs::{End, Spec, State};

/// Rows collected while episodes are played.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Vec<Row>>>);

struct Row {
    episode: u64,
    step: u64,
    state: Option<State>,
    observation: Vec<f64>,
    action: Vec<f64>,
    reward: f64,
    end: End,
}

impl Trace {
    /// A callback for [`Task::open_watched`](crate::task::Task::open_watched) that fills this trace.
    pub fn watcher(&self) -> impl FnMut(TapEvent<'_>) + Send + 'static {
        let rows = Arc::clone(&self.0);
        let (mut episodes, mut step, mut start) = (0, 0, None);
        move |event| match event {
            TapEvent::Start { state, .. } => {
                // one that nothing was done in is none: a video begins with a look at the task
                episodes += u64::from(episodes == 0 || step > 0);
                (step, start) = (0, state);
            }
            TapEvent::Step { observation, action, step: outcome } => {
                let row = Row {
                    episode: episodes - 1,
                    step,
                    state: start.take(),
                    observation: observation.to_vec(),
                    action: action.to_vec(),
                    reward: outcome.reward,
                    end: outcome.end,
                };
                rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                step += 1;
            }
        }
    }

    /// Writes the rows of the first `episodes` as CSV.
    pub fn write(&self, path: &Path, spec: &Spec, episodes: u64) -> Result<()> {
        let cannot = || format!("cannot write the trace {}", path.display());
        let mut writer = csv::Writer::from_path(path).with_context(cannot)?;
        let state = spec.state_dims.unwrap_or_default();
        let numbered = |name: &'static str, n: usize| (0..n).map(move |i| format!("{name}_{i}"));
        let header = ["episode".to_owned(), "step".to_owned()]
            .into_iter()
            .chain(numbered("qpos", state.qpos))
            .chain(numbered("qvel", state.qvel))
            .chain(numbered("extra", state.extra))
            .chain(numbered("obs", spec.observation_dim))
            .chain(numbered("action", spec.action_dim()))
            .chain(["reward".to_owned(), "end".to_owned()]);
        writer.write_record(header).with_context(cannot)?;
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows.iter().take_while(|row| row.episode < episodes) {
            // `{:?}` of a float is the shortest text that reads back as the same number
            let number = |x: &f64| format!("{x:?}");
            let state = match &row.state {
                Some(State { qpos, qvel, extra }) => {
                    qpos.iter().chain(qvel).chain(extra).map(number).collect()
                }
                None => vec![String::new(); state.qpos + state.qvel + state.extra],
            };
            let cells = [row.episode.to_string(), row.step.to_string()]
                .into_iter()
                .chain(state)
                .chain(row.observation.iter().map(number))
                .chain(row.action.iter().map(number))
                .chain([number(&row.reward), row.end.to_string()]);
            writer.write_record(cells).with_context(cannot)?;
        }
        writer.flush().with_context(cannot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;
    use td_koopman_envs::registry;

    /// The purpose of a trace: a bare environment put into its start state and fed its actions pays its rewards.
    #[test]
    fn a_trace_replays_to_the_bit() {
        let trace = Trace::default();
        let mut task = Task::open_watched(&"cartpole-swingup".into(), 0, trace.watcher()).unwrap();
        for seed in 0..2 {
            // a look at the task that a video begins with made the first episode the second
            task.reset(9);
            task.reset(seed);
            for k in 0..5 {
                task.step(&[(k as f32 * 0.9).sin()]);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.csv");
        trace.write(&path, task.spec(), 2).unwrap();

        let mut env = registry::make("cartpole-swingup").unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(
            header,
            "episode,step,qpos_0,qpos_1,qvel_0,qvel_1,obs_0,obs_1,obs_2,obs_3,obs_4,action_0,reward,end"
                .split(',')
                .collect::<Vec<_>>()
        );
        let mut rows = 0;
        let mut observation = vec![0.0; 5];
        for record in reader.records() {
            let record = record.unwrap();
            let n = |i: usize| record[i].parse::<f64>().unwrap();
            assert_eq!(record[0], (rows / 40).to_string(), "episodes are counted from 0");
            if &record[1] == "0" {
                let start = State { qpos: vec![n(2), n(3)], qvel: vec![n(4), n(5)], extra: vec![] };
                env.set_state(&start, &mut observation).unwrap();
            } else {
                assert_eq!(&record[2], "");
            }
            assert_eq!(observation, (6..11).map(n).collect::<Vec<_>>());
            let step = env.step(&[n(11)], &mut observation);
            assert_eq!((step.reward, &*step.end.to_string()), (n(12), &record[13]));
            rows += 1;
        }
        assert_eq!(rows, 2 * 5 * 8, "a row is an environment step, not a decision");
    }
}
