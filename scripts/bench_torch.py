"""Times TD-MPC v1 (MLP dynamics) in PyTorch: milliseconds of process CPU time per plan and per update.

The peer of `td-koopman bench`, written by us from the paper (Hansen et al. 2022) at the sizes of its presets: small
(128 candidates, widths 256, batch 256), light (128, 64, 256) and paper (512, 512, 512); 17 observations, 6 actions, latent 50.
`scripts/bench_compare.sh` runs both in turn.

With --device cuda it prints wall milliseconds beside them, from host to host: a plan takes its observation from pinned host
memory and gives its action back there, an update takes its batch and gives its priorities. Each is timed in three ways,
with TF32 and with bfloat16 products (autocast): eagerly, as one CUDA graph, and as one CUDA graph of functions that went
through torch.compile (a plan's iteration and its policy's step, an update's two losses).

usage: python bench_torch.py [--preset small|light|paper] [--horizons 5,20] [--samples 512,8192] [--threads 1] [--repeats 20]
           [--bf16] [--json FILE]
       python bench_torch.py --device cuda [--preset ...] [--horizons 5,20] [--samples 512,8192] [--repeats 50]
           [--ways eager graph compile] [--seconds-limit 150] [--json FILE]
needs: torch. On AMD processors PyTorch's MKL refuses its AVX-512 kernels; preload a library that defines
`int mkl_serv_intel_cpu_true(void) { return 1; }` for a fair peer.
"""

import argparse
import contextlib
import copy
import functools
import gc
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
    def __init__(self, horizon, samples, hidden, batch, elites, device="cpu", bf16=False):
        """With bf16 it enters autocast itself, as a CUDA graph needs; the CPU's timings enter it around the agent."""
        self.horizon, self.samples, self.batch, self.elites = horizon, samples, batch, elites
        self.world = World(hidden).to(device)
        self.target = copy.deepcopy(self.world)
        self.precision = functools.partial(torch.autocast, device, dtype=torch.bfloat16) if bf16 else contextlib.nullcontext
        self.rounded = copy.deepcopy(self.world).bfloat16().requires_grad_(False) if bf16 else None
        options = dict(fused=True, capturable=True) if device == "cuda" else {}
        self.optimizer = torch.optim.Adam(self.world.parameters(), lr=1e-3, **options)
        self.policy_optimizer = torch.optim.Adam(self.world.policy.parameters(), lr=1e-3, **options)
        self.updates = 0
        self.warm = torch.zeros(horizon, ACTION, device=device)

    def propose(self, w, z):
        """One step of the policy's own candidates."""
        a = w.act(z)
        return a, w.next(z, a)[0]

    def iterate(self, w, z, proposals, mean, std):
        """One iteration of MPPI: sample, roll out, score, keep the elites, refit."""
        noise = torch.randn(self.horizon, self.samples, ACTION, device=z.device)
        actions = (mean[:, None] + std[:, None] * noise).clamp(-1, 1)
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
        return mean, std, chosen, score

    @torch.no_grad()
    def plan(self, observation):
        w = self.world
        if self.rounded:  # once per plan: autocast would round float32 weights again in every compiled call
            w = self.rounded
            torch._foreach_copy_(list(w.parameters()), list(self.world.parameters()))
        with self.precision():
            n_policy = int(0.05 * self.samples)
            z = w.encoder(observation[None])
            zp, proposals = z.repeat(n_policy, 1), []
            for _ in range(self.horizon):
                a, zp = self.propose(w, zp)
                proposals.append(a)
            proposals = torch.stack(proposals)
            z = z.repeat(self.samples + n_policy, 1)
            mean = torch.cat([self.warm[1:], torch.zeros_like(self.warm[:1])])
            std = torch.full_like(mean, 2.0)
            for _ in range(6):
                mean, std, chosen, score = self.iterate(w, z, proposals, mean, std)
            self.warm.copy_(mean)
            # torch.multinomial(score, 1) draws so too, but first asks the host whether score is valid
            one = (score / torch.empty_like(score).exponential_()).argmax(0, keepdim=True)
            return chosen[0].index_select(0, one)[0] + std[0] * torch.randn_like(std[0])

    def world_loss(self, observations, actions, rewards, weights):
        """observations [H+1, B, O], actions [H, B, A], rewards [H, B, 1]"""
        w, rho = self.world, 0.5
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
        return (loss.squeeze(1) * weights).mean() / self.horizon, latents, priority

    def policy_loss(self, latents):
        w, rho = self.world, 0.5
        return -sum(rho**t * w.value(z, w.act(z)).mean() for t, z in enumerate(latents))

    def learn(self, *batch):
        """Fits the world, then the policy; nothing here needs the host."""
        w = self.world
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            loss, latents, priority = self.world_loss(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.parameters(), 10.0)
        self.optimizer.step()

        self.policy_optimizer.zero_grad(set_to_none=True)
        critics = [*w.q1.parameters(), *w.q2.parameters()]
        for p in critics:
            p.requires_grad_(False)
        with self.precision():
            policy_loss = self.policy_loss(latents)
        policy_loss.backward()
        torch.nn.utils.clip_grad_norm_(w.policy.parameters(), 10.0)
        self.policy_optimizer.step()
        for p in critics:
            p.requires_grad_(True)
        return priority

    @torch.no_grad()
    def follow(self):
        torch._foreach_lerp_(list(self.target.parameters()), list(self.world.parameters()), 0.01)

    def update(self, *batch):
        priority = self.learn(*batch)
        self.updates += 1
        if self.updates % 2 == 0:
            self.follow()
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


def preset_at(preset, samples):
    """The preset at this number of candidates; its elites go with them."""
    size = PRESETS[preset]
    return size | dict(samples=samples, elites=max(1, size["elites"] * samples // size["samples"]))


def example_batch(horizon, b):
    observations, actions = torch.randn(horizon + 1, b, OBSERVATION), torch.rand(horizon, b, ACTION) * 2 - 1
    return observations, actions, torch.rand(horizon, b, 1), torch.ones(b)


def rows(preset, horizon, samples, repeats, bf16, kinds=("update", "plan")):
    size = preset_at(preset, samples)
    agent, b = Agent(horizon, **size), size["batch"]
    batch = example_batch(horizon, b)
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
        if what in kinds:
            work[what, "torch mlp", size] = run
            if bf16:
                work[what, "torch mlp bf16", size] = functools.partial(rounded, run)
    for (what, of, size), run in work.items():
        median, low, high = cpu_ms(run, repeats)
        yield dict(what=what, of=of, size=size, cpu_ms=median, cpu_ms_range=[low, high])


UNFINISHED = []  # graphs whose capture failed: the allocator goes on referring to them


def on_cuda(work):
    """work, of host tensors."""
    return lambda *inputs: work(*(t.to("cuda", non_blocking=True) for t in inputs))


def graphed(work, *inputs):
    """work, of host tensors like these, as one CUDA graph; what it returns is overwritten by the next call."""
    static = [t.cuda() for t in inputs]
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):  # warm up where the capture runs: compile, make Adam's state, choose kernels
        for _ in range(3):
            work(*static)
        gc.collect()
        try:
            with torch.cuda.graph(graph, stream=stream):
                result = work(*static)
        except Exception:
            UNFINISHED.append(graph)
            raise
    torch.cuda.synchronize()

    def replay(*inputs):
        for to, t in zip(static, inputs):
            to.copy_(t, non_blocking=True)
        graph.replay()
        return result

    return replay


def cuda_work(preset, what, way, horizon, samples, bf16):
    """One plan or update, ready to be timed: it starts and ends with its tensors on the host."""
    agent = Agent(horizon, **preset_at(preset, samples), device="cuda", bf16=bf16)
    batch = [t.pin_memory() for t in example_batch(horizon, agent.batch)]
    observation = torch.randn(OBSERVATION).pin_memory()
    if what == "plan":
        for _ in range(5):  # heads that start at zero make degenerate numbers
            on_cuda(agent.update)(*batch)
    if "compile" in way:
        torch.compiler.reset()  # else earlier agents count towards the limit on recompilations
        for name in ("propose", "iterate", "world_loss", "policy_loss"):
            setattr(agent, name, torch.compile(getattr(agent, name), fullgraph=True, dynamic=False))
    if what == "plan":
        plan = graphed(agent.plan, observation) if "graph" in way else on_cuda(agent.plan)
        return lambda: plan(observation).cpu()
    if "graph" in way:
        agent.learn, agent.follow = graphed(agent.learn, *batch), graphed(agent.follow)
    else:
        agent.learn = on_cuda(agent.learn)
    return lambda: agent.update(*batch).cpu()


WAYS = {"eager": "", "graph": " graph", "compile": " compile+graph"}


def cuda_cases(horizons, samples, wanted):
    """What to time, in this order: what takes long to compile comes last."""
    for ways in ("eager", "graph"), ("compile",):
        ways = [WAYS[way] for way in ways if way in wanted]
        for what in "plan", "update":
            for horizon in horizons:
                for n in samples if what == "plan" else samples[:1]:
                    for bf16 in False, True:
                        for way in ways:
                            yield what, way, horizon, n, bf16


def cuda_row(what, of, size, work, repeats):
    for _ in range(3):
        work()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        cpus.append(1e3 * (time.process_time() - cpu))
        walls.append(1e3 * (time.perf_counter() - wall))
    row = dict(what=what, of=of, size=size)
    for name, times in ("cpu_ms", cpus), ("wall_ms", walls):
        row |= {name: statistics.median(times), f"{name}_range": [min(times), max(times)]}
    return row


def time_cuda(args):
    started = time.monotonic()
    torch.set_float32_matmul_precision("high")
    device = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {device}; float32 products in TF32, bf16 by autocast")
    print("wall ms from host to host: median (min-max), process CPU ms, seconds to prepare", flush=True)
    timings, per_step = [], {}  # per_step: seconds that the last of its kind took for each step of its horizon
    for what, way, horizon, n, bf16 in cuda_cases(args.horizons, args.samples, args.ways):
        of = f"torch mlp{way}{' bf16' * bf16}"
        b = PRESETS[args.preset]["batch"]
        size = f"E 1 N {n} H {horizon}" if what == "plan" else f"B {b} H {horizon}"
        label, begun = f"{what:<7} {of:<28} {size:<18}", time.monotonic()
        if begun + per_step.get((what, way), 0) * horizon > started + args.seconds_limit:
            print(f"{label} left out: it would end after {args.seconds_limit:g} s", flush=True)
            continue
        try:
            work = cuda_work(args.preset, what, way, horizon, n, bf16)
            prepared = time.monotonic() - begun
            row = cuda_row(what, of, size, work, args.repeats) | dict(prepare_s=prepared)
        except Exception as error:
            print(f"{label} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
            # a capture that failed can leave the default generator as it was inside
            torch.cuda.default_generators[0].graphsafe_set_state(torch.Generator("cuda").graphsafe_get_state())
        else:
            timings.append(row)
            low, high = row["wall_ms_range"]
            times = f"{row['wall_ms']:10.3f}  ({low:.3f}-{high:.3f})  cpu {row['cpu_ms']:.3f}  prepared in {prepared:.1f} s"
            print(f"{label} {times}", flush=True)
            write_json(args.json, args.threads, timings, device=device)  # each time: the machine may go away
        per_step[what, way] = (time.monotonic() - begun) / horizon
        work = None
        gc.collect()  # the graph, and the memory that is its own


def write_json(path, threads, rows, **more):
    """Timings for bench_table.py; nothing without a path."""
    if path:
        with open(path, "w") as file:
            json.dump(dict(program=f"torch {torch.__version__}", threads=threads, **more, rows=rows), file, indent=2)
            file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="small")
    numbers = lambda text: [int(n) for n in text.split(",")]
    parser.add_argument("--horizons", type=numbers, default=[5])
    parser.add_argument("--samples", type=numbers, help="candidates; default: the preset's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, help="20, or 50 on cuda")
    parser.add_argument("--bf16", action="store_true", help="also time both with bfloat16 products, as is always done on cuda")
    parser.add_argument("--json", metavar="FILE", help="also write the timings there")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="how to run it; cuda only")
    parser.add_argument("--seconds-limit", type=float, default=150, help="start nothing that would end later; cuda only")
    args = parser.parse_args()
    args.samples = args.samples or [PRESETS[args.preset]["samples"]]
    args.repeats = args.repeats or (50 if args.device == "cuda" else 20)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    if args.device == "cuda":
        return time_cuda(args)
    print(f"torch {torch.__version__}, {args.threads} thread(s); process CPU ms: median (min-max)")
    timings = []
    for horizon in args.horizons:
        for i, n in enumerate(args.samples):
            kinds = ("plan",) if i else ("update", "plan")  # an update samples no candidates
            for row in rows(args.preset, horizon, n, args.repeats, args.bf16, kinds):
                timings.append(row)
                low, high = row["cpu_ms_range"]
                print(f"{row['what']:<7} {row['of']:<15} {row['size']:<20} {row['cpu_ms']:10.3f}  ({low:.3f}-{high:.3f})")
    write_json(args.json, args.threads, timings)


if __name__ == "__main__":
    main()
