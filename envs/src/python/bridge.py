"""Serves one Gymnasium environment over stdin and stdout, a line a message; started by td-koopman.

  ours                    theirs
                          spec OBSERVATIONS ACTIONS STEPS SECONDS|none LOW... HIGH...
  reset SEED              observation VALUE...
  step VALUE...           step REWARD running|terminated|truncated VALUE...
  render                  picture WIDTH HEIGHT RGB-IN-HEX, or picture none WHY

Any may be answered by `error TEXT`, after which this process ends. It also ends, after the request it is at, when
stdin does, so it does not outlive the program that started it. SEED has up to 64 bits.
"""
import os
import sys
import threading
import time
import traceback
import warnings

# What an environment prints must not get between the messages.
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(*words):
    print(*words, file=replies, flush=True)


def tell(error):
    why = f"{type(error).__name__}: {error}"
    if frames := traceback.extract_tb(error.__traceback__):
        why += f" ({frames[-1].filename}, line {frames[-1].lineno})"
    if isinstance(error, ImportError):
        why = f"{error} in {sys.executable}; set PYTHON to an interpreter that has it"
    say("error", " ".join(why.split()))


def end_with(parent):
    """An environment that hangs reads no end of stdin."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def reset(env, seed):
    try:
        return env.reset(seed=seed)
    except (ValueError, OverflowError):
        # NumPy's older generators, which many environments have, refuse more than 32 bits, other libraries more than 31
        return env.reset(seed=(seed ^ seed >> 32) & 0x7FFFFFFF)


def numbers(values):
    return " ".join(repr(float(value)) for value in values)


def made(gymnasium, name):
    """The environment, ready to be drawn if it can be; not all are, and some only where there is a screen."""
    try:
        # that it cannot be drawn is no news, and would be the last that is heard of an environment that dies
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*render_mode")
            return gymnasium.make(name, render_mode="rgb_array")
    except Exception:
        return gymnasium.make(name)


def opened(module, name):
    import importlib

    import gymnasium
    import numpy

    importlib.import_module(module)
    env = made(gymnasium, name)
    for kind, space in (("observation", env.observation_space), ("action", env.action_space)):
        if not isinstance(space, gymnasium.spaces.Box):
            raise TypeError(f"its {kind} space is {space}; only Box spaces can be used")
    low, high = env.action_space.low.ravel(), env.action_space.high.ravel()
    if not (numpy.isfinite(low).all() and numpy.isfinite(high).all()):
        raise ValueError(f"its action space {env.action_space} has no finite limits")
    return env, low, high


def picture(env):
    import numpy

    try:
        rgb = numpy.asarray(env.render())
    except Exception as error:
        return "none", f"{type(error).__name__}: {error}".replace("\n", " ")
    if rgb.dtype != numpy.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        return "none", "its render() gives no picture in RGB"
    return rgb.shape[1], rgb.shape[0], rgb.tobytes().hex()


def serve(module, name):
    env, low, high = opened(module, name)
    failed = False
    try:
        answer(env, low, high)
    except Exception as error:
        failed = True
        tell(error)  # first: nobody knows how an environment closes that has failed
    try:
        env.close()  # it may have started programs of its own
    except Exception:
        pass
    raise SystemExit(failed)


def answer(env, low, high):
    import numpy

    steps = (env.spec.max_episode_steps if env.spec else None) or 1000
    seconds = getattr(env.unwrapped, "dt", None)
    seconds = repr(float(seconds)) if isinstance(seconds, (int, float)) else "none"
    say("spec", int(numpy.prod(env.observation_space.shape)), low.size, steps, seconds, numbers(low), numbers(high))
    box = env.action_space
    for line in sys.stdin:
        kind, *words = line.split()
        if kind == "reset":
            observation, _ = reset(env, int(words[0]))
            say("observation", numbers(numpy.asarray(observation).ravel()))
        elif kind == "step":
            action = numpy.array([float(word) for word in words]).reshape(box.shape).astype(box.dtype)
            observation, reward, terminated, truncated, _ = env.step(action)
            end = "terminated" if terminated else "truncated" if truncated else "running"
            say("step", repr(float(reward)), end, numbers(numpy.asarray(observation).ravel()))
        elif kind == "render":
            say("picture", *picture(env))


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    try:
        serve(sys.argv[1], sys.argv[2])
    except Exception as error:
        tell(error)
        raise SystemExit(1)
