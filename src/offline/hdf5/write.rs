//! Writing D4RL's layout.

use crate::report::write_atomically;
use anyhow::{Context, Result, ensure};
use hdf5_pure::{EnumTypeBuilder, FileBuilder, make_i8_type};
use std::path::Path;
use td_koopman_agents::offline::Recording;

/// Rows that are compressed together. The crate's default is all of them: who wants a few would have to unpack the file.
pub(super) const CHUNK: usize = 4096;

/// Writes a D4RL file that is whole or, after a kill, the one before. The last row of episode i is terminal where
/// `terminated[i]`, and a time-out where not.
pub fn write(path: &Path, recording: &Recording, terminated: &[bool]) -> Result<()> {
    let bytes = d4rl_bytes(recording, terminated);
    write_atomically(path, &bytes.with_context(|| format!("cannot write the recording {}", path.display()))?)
}

fn d4rl_bytes(recording: &Recording, terminated: &[bool]) -> Result<Vec<u8>> {
    let Recording { observation_dim, action_dim, episodes } = recording;
    let (o, a) = (*observation_dim, *action_dim);
    ensure!(o > 0 && a > 0, "it has {o} numbers of an observation and {a} of an action");
    ensure!(!episodes.is_empty(), "it has no episodes");
    ensure!(
        terminated.len() == episodes.len(),
        "it has {} episodes, but of {} it is known how they ended",
        episodes.len(),
        terminated.len()
    );
    let [mut observations, mut next, mut actions, mut rewards] = [const { Vec::new() }; 4];
    let [mut terminals, mut timeouts] = [const { Vec::new() }; 2];
    for (i, (episode, &terminated)) in episodes.iter().zip(terminated).enumerate() {
        let steps = episode.len();
        ensure!(steps > 0, "episode {i} has no transition, for which the format has no row");
        let found = [episode.observations.len(), episode.actions.len()];
        let expected = [(steps + 1) * o, steps * a];
        ensure!(
            found == expected,
            "episode {i} of {steps} steps has {found:?} numbers of observations and actions, not {expected:?}"
        );
        observations.extend_from_slice(&episode.observations[..steps * o]);
        next.extend_from_slice(&episode.observations[o..]);
        actions.extend_from_slice(&episode.actions);
        rewards.extend_from_slice(&episode.rewards);
        for (flags, set) in [(&mut terminals, terminated), (&mut timeouts, !terminated)] {
            flags.resize(rewards.len(), 0);
            flags[rewards.len() - 1] = u8::from(set);
        }
    }
    let rows = rewards.len() as u64;
    let chunk = rows.min(CHUNK as u64);
    let mut file = FileBuilder::new();
    for (name, values, width) in
        [("observations", observations, o), ("next_observations", next, o), ("actions", actions, a)]
    {
        let width = width as u64;
        let dataset = file.create_dataset(name).with_f32_data(&values).with_shape(&[rows, width]);
        dataset.with_chunks(&[chunk, width]).with_shuffle().with_deflate(4);
    }
    file.create_dataset("rewards")
        .with_f32_data(&rewards)
        .with_chunks(&[chunk])
        .with_shuffle()
        .with_deflate(4);
    for (name, flags) in [("terminals", terminals), ("timeouts", timeouts)] {
        // what h5py makes of booleans, and reads as such
        let boolean =
            EnumTypeBuilder::with_base(make_i8_type()).value("FALSE", 0).value("TRUE", 1).build()?;
        file.create_dataset(name).with_enum_u8_data(boolean, &flags).with_chunks(&[chunk]).with_deflate(4);
    }
    Ok(file.finish()?)
}
