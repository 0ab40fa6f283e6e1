"""Times TD-MPC v1 (MLP dynamics) in PyTorch: milliseconds of process CPU time per plan and per update.

The peer of `td-koopman bench`, written by us from the paper (Hansen et al. 2022) at the sizes of its presets: small
(128 candidates, widths 256, batch 256), light (128, 64, 256) and paper (512, 512, 512); 17 observations, 6 actions, latent 50.
`scripts/bench_compare.sh` runs both in turn.

usage: python bench_torch.py [--preset small|light|paper] [--horizons 5,20] [--threads 1] [--repeats 20] [--bf16] [--json FILE]
needs: torch. On AMD processors PyTorch's MKL refuses its AVX-512 kernels; preload a library that defines
`int mkl_serv_intel_cpu_true(void) { return 1; }` for a fair peer.
"""

import argparse
import copy
import functools
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

OBSERVATION, ACTION, LATENT = 17, 6, 50
PRESETS = {
    "small": dict(samples=128, hidden=256, batch=256, elites=16),
    "light": dict(samples=128, hidden=64, batch=256, elites=16),
    "paper": dict(samples=512, hidden=512, batch=512, elites=64),
}


def mlp(*sizes, zero=False):
    layers = []
    for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
        layer = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ELU()]
    if zero:
        nn.init.zeros_(layers[-2].weight)
    return nn.Sequential(*layers[:-1])


class World(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        za = LATENT + ACTION
        self.encoder = mlp(OBSERVATION, 256, LATENT)
        self.dynamics = mlp(za, hidden, hidden, LATENT)
        self.reward = mlp(za, hidden, hidden, 1, zero=True)
        self.policy = mlp(LATENT, hidden, hidden, ACTION)
        critic = lambda: nn.Sequential(nn.Linear(za, hidden), nn.LayerNorm(hidden), nn.Tanh(), *mlp(hidden, hidden, 1, zero=True))
        self.q1, self.q2 = critic(), critic()

    def act(self, z, std=0.05):
        a = torch.tanh(self.policy(z))
        noise = (torch.randn_like(a) * std).clamp(-0.3, 0.3)
        raw = a + noise
        return raw - raw.detach() + raw.detach().clamp(-1 + 1e-6, 1 - 1e-6)

    def next(self, z, a):
        za = torch.cat([z, a], -1)
        return self.dynamics(za), self.reward(za)

    def value(self, z, a):
        za = torch.cat([z, a], -1)
        return torch.min(self.q1(za), self.q2(za))


class Agent:
    def __init__(self, horizon, samples, hidden, batch, elites):
        self.horizon, self.samples, self.batch, self.elites = horizon, samples, batch, elites
        self.world = World(hidden)
        self.target = copy.deepcopy(self.world)
        self.optimizer = torch.optim.Adam(self.world.parameters(), lr=1e-3)
        self.policy_optimizer = torch.optim.Adam(self.world.policy.parameters(), lr=1e-3)
        self.updates = 0
        self.warm = torch.zeros(horizon, ACTION)

    @torch.no_grad()
    def plan(self, observation):
        w = self.world
        n_policy = int(0.05 * self.samples)
        z = w.encoder(observation[None])
        zp, proposals = z.repeat(n_policy, 1), []
        for _ in range(self.horizon):
            proposals.append(w.act(zp))
            zp, _ = w.next(zp, proposals[-1])
        proposals = torch.stack(proposals)
        z = z.repeat(self.samples + n_policy, 1)
        mean = torch.cat([self.warm[1:], torch.zeros(1, ACTION)])
        std = torch.full_like(mean, 2.0)
        for _ in range(6):
            actions = (mean[:, None] + std[:, None] * torch.randn(self.horizon, self.samples, ACTION)).clamp(-1, 1)
            actions = torch.cat([actions, proposals], 1)
            zk, value, discount = z, 0.0, 1.0
            for a in actions:
                zk, reward = w.next(zk, a)
                value = value + discount * reward
                discount *= 0.99
            value = (value + discount * w.value(zk, w.act(zk))).nan_to_num_(0).squeeze(-1)
            best = value.topk(self.elites)
            chosen = actions[:, best.indices]
            score = torch.softmax(0.5 * (best.values - best.values[0]), 0)
            new = (chosen * score[None, :, None]).sum(1)
            std = ((chosen - new[:, None]) ** 2 * score[None, :, None]).sum(1).sqrt().clamp(0.05, 2.0)
            mean = 0.1 * mean + 0.9 * new
        self.warm = mean
        return chosen[0, torch.multinomial(score, 1)[0]] + std[0] * torch.randn(ACTION)

    def update(self, observations, actions, rewards, weights):
        """observations [H+1, B, O], actions [H, B, A], rewards [H, B, 1]"""
        w, rho = self.world, 0.5
        self.optimizer.zero_grad(set_to_none=True)
        z = w.encoder(observations[0])
        latents, consistency, reward_loss, value_loss, priority = [z.detach()], 0.0, 0.0, 0.0, 0.0
        for t in range(self.horizon):
            za = torch.cat([z, actions[t]], -1)
            q1, q2 = w.q1(za), w.q2(za)
            z, reward = w.next(z, actions[t])
            with torch.no_grad():
                zt = w.encoder(observations[t + 1])
                target_latent = self.target.encoder(observations[t + 1])
                td = rewards[t] + 0.99 * self.target.value(zt, w.act(zt))
            latents.append(z.detach())
            consistency = consistency + rho**t * F.mse_loss(z, target_latent, reduction="none").mean(1, keepdim=True)
            reward_loss = reward_loss + rho**t * F.mse_loss(reward, rewards[t], reduction="none")
            value_loss = value_loss + rho**t * ((q1 - td) ** 2 + (q2 - td) ** 2)
            priority = priority + rho**t * ((q1 - td).abs() + (q2 - td).abs()).detach()
        loss = 2 * consistency.clamp(max=1e4) + 0.5 * reward_loss.clamp(max=1e4) + 0.1 * value_loss.clamp(max=1e4)
        ((loss.squeeze(1) * weights).mean() / self.horizon).backward()
        torch.nn.utils.clip_grad_norm_(w.parameters(), 10.0)
        self.optimizer.step()

        self.policy_optimizer.zero_grad(set_to_none=True)
        critics = [*w.q1.parameters(), *w.q2.parameters()]
        for p in critics:
            p.requires_grad_(False)
        policy_loss = -sum(rho**t * w.value(z, w.act(z)).mean() for t, z in enumerate(latents))
        policy_loss.backward()
        torch.nn.utils.clip_grad_norm_(w.policy.parameters(), 10.0)
        self.policy_optimizer.step()
        for p in critics:
            p.requires_grad_(True)
        self.updates += 1
        if self.updates % 2 == 0:
            with torch.no_grad():
                torch._foreach_lerp_(list(self.target.parameters()), list(w.parameters()), 0.01)
        return priority


def cpu_ms(work, repeats):
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times), min(times), max(times)


def rows(preset, horizon, repeats, bf16):
    size = PRESETS[preset]
    agent, b = Agent(horizon, **size), size["batch"]
    batch = (torch.randn(horizon + 1, b, OBSERVATION), torch.rand(horizon, b, ACTION) * 2 - 1, torch.rand(horizon, b, 1), torch.ones(b))
    for _ in range(5):  # heads that start at zero make degenerate numbers
        agent.update(*batch)
    observation = torch.randn(OBSERVATION)

    def update():
        agent.update(*batch)

    def plan():
        agent.plan(observation)

    def rounded(run):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            run()

    work = {}
    for what, size, run in [("update", f"B {b} H {horizon}", update), ("plan", f"E 1 N {size['samples']} H {horizon}", plan)]:
        work[what, "torch mlp", size] = run
        if bf16:
            work[what, "torch mlp bf16", size] = functools.partial(rounded, run)
    for (what, of, size), run in work.items():
        median, low, high = cpu_ms(run, repeats)
        yield dict(what=what, of=of, size=size, cpu_ms=median, cpu_ms_range=[low, high])


def write_json(path, threads, rows):
    """Timings for bench_table.py; nothing without a path."""
    if path:
        with open(path, "w") as file:
            json.dump(dict(program=f"torch {torch.__version__}", threads=threads, rows=rows), file, indent=2)
            file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--horizons", type=lambda text: [int(h) for h in text.split(",")], default=[5])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--bf16", action="store_true", help="also time both with bfloat16 products")
    parser.add_argument("--json", metavar="FILE", help="also write the timings there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    print(f"torch {torch.__version__}, {args.threads} thread(s); process CPU ms: median (min-max)")
    timings = []
    for horizon in args.horizons:
        for row in rows(args.preset, horizon, args.repeats, args.bf16):
            timings.append(row)
            low, high = row["cpu_ms_range"]
            print(f"{row['what']:<7} {row['of']:<15} {row['size']:<20} {row['cpu_ms']:10.3f}  ({low:.3f}-{high:.3f})")
    write_json(args.json, args.threads, timings)


if __name__ == "__main__":
    main()
