"""How fast a gait is: what recorded episodes turn by a step, to hold against the eigenvalues of Koopman models of them.

usage:  VENV/bin/python scripts/gait.py FILE.hdf5      (VENV: any Python with h5py and numpy)

Of each number of an observation, the frequency with the most power over all episodes (their first 200 steps left out: they are
the start), in degrees a step; and that of all numbers together, each in units of its standard deviation. FILE is in D4RL's
layout, as `td-koopman eval RUN --record FILE.hdf5` writes it. A pair of modes of a gait has λ̄ = r·exp(± i · that angle).
"""
import sys

import h5py
import numpy as np

START = 200


def episodes(file):
    """Observations of each episode, [steps, O]."""
    ends = np.flatnonzero(file["terminals"][:].astype(bool) | file["timeouts"][:].astype(bool)) + 1
    return np.split(file["observations"][:].astype(float), ends[:-1] if len(ends) else [])


def main(path):
    with h5py.File(path) as file:
        parts = [e[START:] for e in episodes(file) if len(e) >= 2 * START]
    if not parts:
        sys.exit(f"{path}: no episode has {2 * START} steps")
    length = min(len(part) for part in parts)
    parts = np.stack([part[:length] for part in parts])
    deviation = parts.std((0, 1))
    waves = (parts - parts.mean(1, keepdims=True)) / np.where(deviation > 0, deviation, 1.0)
    # a window, and zeros behind it: an angle lies between the frequencies of a short episode
    padded = 16 * length
    power = (np.abs(np.fft.rfft(waves * np.hanning(length)[None, :, None], n=padded, axis=1)) ** 2).mean(0)
    power[: padded // length] = 0.0  # what drifts is no gait
    degrees = 360.0 * power.argmax(0) / padded
    together = 360.0 * power.sum(1).argmax() / padded
    print(f"{len(parts)} episodes of {length} steps behind the first {START}")
    print("each number:", " ".join(f"{d:.1f}" for d in degrees))
    print(f"together: {together:.1f} degrees a step, a period of {360.0 / together:.1f} steps")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
