"""Let a trained agent drive a program of your own: here Gymnasium, elsewhere a simulator or a machine.

usage:  python examples/controller.py RUN [--env ENV] [--episodes N] [--program target/release/td-koopman] [--set KEY=VALUE ...]

`Controller` needs nothing but Python; the rest plays episodes of a Gymnasium environment (by default the one that the agent was
trained on) and prints their returns. `td-koopman act --help` has the protocol.
"""
import argparse
import json
import subprocess
import sys


class Controller:
    """`td-koopman act` in a process of its own."""

    def __init__(self, run, *flags, program="td-koopman"):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program, "act", run, *flags], stdin=pipe, stdout=pipe, text=True)
        # env, env_steps, observation_dim, action_low, action_high, action_repeat, timestep
        self.about = self._read()

    def reset(self, seed=0):
        """Begins an episode: the last plan is forgotten. `seed` is that of the planner's random numbers."""
        self._ask({"reset": seed})

    def act(self, observation):
        """The action, in the environment's own units, for the next `about["action_repeat"]` steps."""
        return self._ask([float(x) for x in observation])["action"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("td-koopman ended with status %d" % self.process.wait())
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer


def play(controller, env, seed):
    """Plays an episode and returns its return."""
    observation, _ = env.reset(seed=seed)
    controller.reset(seed)
    total, over = 0.0, False
    while not over:
        action = controller.act(observation)
        for _ in range(controller.about["action_repeat"]):
            observation, reward, terminated, truncated, _ = env.step(action)
            total += reward
            over = terminated or truncated
            if over:
                break
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("--env", help="Gymnasium environment")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--program", default="td-koopman")
    parser.add_argument("--set", action="append", default=[], help="a changed setting, e.g. threads=1")
    arguments = parser.parse_args()

    import gymnasium

    settings = ["--set=" + setting for setting in arguments.set]
    controller = Controller(arguments.run, *settings, program=arguments.program)
    name = arguments.env or controller.about["env"]
    try:
        env = gymnasium.make(name)
    except gymnasium.error.Error as error:
        sys.exit("Gymnasium has no %s (%s); use Controller with the simulator that has it" % (name, error))
    for seed in range(arguments.episodes):
        print("episode %d: return %.1f" % (seed + 1, play(controller, env, seed)), flush=True)
    controller.close()


if __name__ == "__main__":
    main()
