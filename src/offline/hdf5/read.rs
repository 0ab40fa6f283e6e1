//! Reading both layouts.

use anyhow::{Context, Result, bail, ensure};
use hdf5_pure::{DType, Error, File, FormatError, Group};
use std::ops::Range;
use std::path::Path;
use td_koopman_agents::offline::Recording;
use td_koopman_agents::replay::Episode;

/// Reads a D4RL or a Minari file; which one it is is seen from what is in it.
///
/// A D4RL episode ends where `terminals` or `timeouts` says so, and where `next_observations` is not the observation of
/// the next row (older files have no `timeouts`). Without `next_observations` nobody knows what the last action of an
/// episode led to: of its row, only the observation is used. Episodes without a transition are left out.
pub fn read(path: &Path) -> Result<Recording> {
    let read = || -> Result<Recording> {
        // not all at once: files also have what is of no use here, such as images
        let file = match File::open_streaming(path) {
            Err(Error::Format(FormatError::SignatureNotFound)) => bail!("it is not an HDF5 file"),
            other => other.map_err(told)?,
        };
        let (size, expected) = (file.file_size(), file.superblock().eof_address);
        ensure!(size >= expected, "it is cut off at {size} of {expected} bytes: copy or download it again");
        let root = file.root();
        let recording = match root.dataset("observations") {
            Err(Error::Format(FormatError::PathNotFound(_))) => minari(&root, size)?,
            _ => d4rl(&root, size)?,
        };
        ensure!(!recording.episodes.is_empty(), "it has no transition, so there is nothing to learn from");
        Ok(recording)
    };
    read().with_context(|| format!("cannot read the recording {}", path.display()))
}

/// An error of the crate without its source, which its text has already.
fn told(error: Error) -> anyhow::Error {
    anyhow::Error::msg(error)
}

/// `[N, width]`
struct Table {
    rows: usize,
    width: usize,
    values: Vec<f32>,
}

impl Table {
    fn part(&self, rows: Range<usize>) -> &[f32] {
        &self.values[rows.start * self.width..rows.end * self.width]
    }
}

/// The file or one of its episodes, whose name is in what is said of its datasets.
struct Place<'a> {
    group: &'a Group,
    prefix: String,
    /// Bytes of the whole file.
    size: u64,
}

impl Place<'_> {
    fn table(&self, name: &str, rows: Option<usize>, width: Option<usize>) -> Result<Table> {
        let table = self.optional(name, rows, width)?;
        table.with_context(|| format!("it has no dataset `{}{name}`", self.prefix))
    }

    /// A dataset, if it is there, with as many rows and numbers in a row as those that were read before ask for.
    fn optional(&self, name: &str, rows: Option<usize>, width: Option<usize>) -> Result<Option<Table>> {
        const BOX: &str = "only Box spaces, vectors of real numbers, are supported";
        let shown = format!("`{}{name}`", self.prefix);
        let unreadable = || format!("{shown} cannot be read as numbers");
        let dataset = match self.group.dataset(name) {
            Err(Error::Format(FormatError::PathNotFound(_))) => return Ok(None),
            Err(Error::NotADataset(_)) => bail!("{shown} is a group, of a Dict or Tuple space: {BOX}"),
            other => other.map_err(told).with_context(unreadable)?,
        };
        let kind = dataset.dtype().map_err(told).with_context(unreadable)?;
        let shape = dataset.shape().map_err(told).with_context(unreadable)?;
        // an allocation for what a damaged file claims could end the process; nothing is deflated to less than a 1032nd
        let claimed = shape.iter().try_fold(1, |numbers: u64, &n| numbers.checked_mul(n));
        let possible = claimed.is_some_and(|numbers| numbers / 1100 <= self.size);
        ensure!(possible, "{shown} is damaged: a file of {} bytes has no {shape:?} numbers", self.size);
        let shape: Vec<_> = shape.into_iter().map(|n| n as usize).collect();

        use DType::{Enum, I8, I16, I32, I64, U8, U16, U32, U64};
        let integers = matches!(kind, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64 | Enum(_));
        // observations of more dimensions may be images, and then it is the shape that is wrong
        let discrete = integers && (name == "actions" || name == "observations" && shape.len() == 1);
        ensure!(!discrete, "{shown} holds integers, of a Discrete space: {BOX}");

        let found = match shape[..] {
            [n] if width == Some(1) => Some((n, 1)),
            [n, found] if found > 0 => Some((n, found)),
            _ => None,
        };
        let fits = |(n, found)| rows.is_none_or(|rows| rows == n) && width.is_none_or(|width| width == found);
        let Some((rows, width)) = found.filter(|&found| fits(found)) else {
            let known = |n: Option<usize>, otherwise: &str| n.map_or(otherwise.to_owned(), |n| n.to_string());
            let [rows, width] = [known(rows, "rows"), known(width, "numbers of a row")];
            bail!("{shown} has shape {shape:?} where [{rows}, {width}] is needed");
        };

        // h5py's booleans are enumerations
        let values = match kind {
            Enum(_) => dataset.read_u8().map(|flags| flags.into_iter().map(f32::from).collect()),
            _ => dataset.read_f32(),
        };
        let values: Vec<f32> = values.map_err(told).with_context(unreadable)?;
        ensure!(rows.checked_mul(width) == Some(values.len()), "{shown} is damaged: it lacks numbers");
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            let row = at / width;
            bail!("{shown} holds {} in row {row} (the first is row 0): leave out its episode", values[at]);
        }
        Ok(Some(Table { rows, width, values }))
    }
}

fn d4rl(root: &Group, size: u64) -> Result<Recording> {
    let place = Place { group: root, prefix: String::new(), size };
    let observations = place.table("observations", None, None)?;
    let rows = Some(observations.rows);
    let actions = place.table("actions", rows, None)?;
    let rewards = place.table("rewards", rows, Some(1))?;
    let terminals = place.table("terminals", rows, Some(1))?;
    let timeouts = place.optional("timeouts", rows, Some(1))?;
    let next = place.optional("next_observations", rows, Some(observations.width))?;
    let mut episodes = Vec::new();
    let mut start = 0;
    for t in 0..observations.rows {
        let after = t + 1;
        let ends = after == observations.rows
            || terminals.values[t] != 0.0
            || timeouts.as_ref().is_some_and(|flags| flags.values[t] != 0.0)
            || next.as_ref().is_some_and(|next| next.part(t..after) != observations.part(after..after + 1));
        if !ends {
            continue;
        }
        let (end, last) = match &next {
            Some(next) => (after, next.part(t..after)),
            None => (t, observations.part(t..after)),
        };
        if start < end {
            episodes.push(Episode {
                observations: [observations.part(start..end), last].concat(),
                actions: actions.part(start..end).to_vec(),
                rewards: rewards.part(start..end).to_vec(),
            });
        }
        start = after;
    }
    Ok(Recording { observation_dim: observations.width, action_dim: actions.width, episodes })
}

fn minari(root: &Group, size: u64) -> Result<Recording> {
    let mut groups: Vec<_> = root
        .iter_groups()
        .map_err(told)?
        .filter_map(|(name, group)| Some((name.strip_prefix("episode_")?.parse::<u64>().ok()?, group)))
        .collect();
    ensure!(
        !groups.is_empty(),
        "it is neither a D4RL file (datasets `observations`, `actions`, `rewards`, `terminals`) nor a Minari one \
         (groups `episode_0`, `episode_1`, …)"
    );
    // the file has them in the order of text, in which 10 comes before 2, or in that of writing
    groups.sort_unstable_by_key(|(number, _)| *number);
    let mut recording = Recording::default();
    for (number, group) in &groups {
        let place = Place { group, prefix: format!("episode_{number}/"), size };
        // those of the episodes before
        let width = |n| Some(n).filter(|&n| n > 0);
        let actions = place.table("actions", None, width(recording.action_dim))?;
        let observations =
            place.table("observations", Some(actions.rows + 1), width(recording.observation_dim))?;
        let rewards = place.table("rewards", Some(actions.rows), Some(1))?.values;
        (recording.observation_dim, recording.action_dim) = (observations.width, actions.width);
        if !rewards.is_empty() {
            let (observations, actions) = (observations.values, actions.values);
            recording.episodes.push(Episode { observations, actions, rewards });
        }
    }
    Ok(recording)
}
