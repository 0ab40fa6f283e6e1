"""Write the small HDF5 files that the tests of src/offline/hdf5 read: what h5py makes of recordings, beside what we think it does.

usage:  VENV/bin/python scripts/write_hdf5_fixtures.py      (VENV: any Python with h5py and numpy)

Writes tests/data/*.hdf5, in place of the ones there; needed again only where a fixture is to change. Every number is a
formula of its place, exact in float32, that the tests compute anew: observation j of step t in episode e is
100 e + t + 0.25 j, action j is -(that), the reward is 100 e + t + 0.5. All have O = 3 and A = 2.
"""
import pathlib

import h5py
import numpy as np

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"
LENGTHS = [4, 2, 5]  # rows of the episodes of a D4RL file


def vectors(episode, steps, dims):
    """[len(steps), dims]"""
    return 100.0 * episode + np.asarray(steps, dtype=float)[:, None] + 0.25 * np.arange(dims)


def columns(lengths):
    """The datasets of a D4RL file with episodes of these lengths; the second is terminated, the others are cut off."""
    parts = {name: [] for name in ("observations", "next_observations", "actions", "rewards", "terminals", "timeouts")}
    for episode, length in enumerate(lengths):
        steps = np.arange(length)
        parts["observations"].append(vectors(episode, steps, 3))
        parts["next_observations"].append(vectors(episode, steps + 1, 3))
        parts["actions"].append(-vectors(episode, steps, 2))
        parts["rewards"].append(100.0 * episode + steps + 0.5)
        last = steps == length - 1
        parts["terminals"].append(last & (episode == 1))
        parts["timeouts"].append(last & (episode != 1))
    return {name: np.concatenate(part) for name, part in parts.items()}


def write_d4rl(name, leave_out=(), dtype=np.float32, **options):
    """One D4RL file; booleans become what h5py makes of them, an enumeration of FALSE and TRUE."""
    with h5py.File(DATA / name, "w") as file:
        for key, values in columns(LENGTHS).items():
            if key not in leave_out:
                kept = values if values.dtype == bool else values.astype(dtype)
                file.create_dataset(key, data=kept, **options)
        # D4RL has these beside the recording, and nobody should stumble over them
        file["metadata/algorithm"] = "none"
        file["infos/qpos"] = np.zeros((sum(LENGTHS), 2))


def write_minari(name, episodes):
    """One Minari file; episode e has 2 + e % 3 steps. Only episode 1 has all that Minari writes, which takes 15 KB."""
    with h5py.File(DATA / name, "w", track_order=True) as file:
        for episode in range(episodes):
            steps = np.arange(2 + episode % 3)
            group = file.create_group("episode_%d" % episode)
            group.attrs["id"] = episode
            parts = {
                "observations": vectors(episode, np.arange(len(steps) + 1), 3),
                "actions": (-vectors(episode, steps, 2)).astype(np.float32),
                "rewards": 100.0 * episode + steps + 0.5,
            }
            if episode == 1:
                parts["terminations"] = np.zeros(len(steps), dtype=bool)
                parts["truncations"] = steps == len(steps) - 1
                group.create_dataset("infos", data=["{}"] * len(steps), dtype=h5py.string_dtype())
            for key, values in parts.items():
                growing = {"chunks": True, "maxshape": (None, *values.shape[1:])} if episode == 1 else {}
                group.create_dataset(key, data=values, **growing)


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    write_d4rl("d4rl.hdf5", dtype=np.float64, compression="gzip", shuffle=True, chunks=True)
    write_d4rl("d4rl_no_timeouts.hdf5", leave_out=["timeouts"])
    write_d4rl("d4rl_no_next_observations.hdf5", leave_out=["next_observations"])
    write_minari("minari.hdf5", 11)


if __name__ == "__main__":
    main()
