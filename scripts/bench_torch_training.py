"""Times the paper's training-speed protocol in PyTorch (arXiv 2306.11941, section 5): milliseconds of process CPU time
of one iteration (forward, mean squared error, backward) at batch 256 over T steps.

The peer of `td-koopman bench --training-lengths`, written by us; all models have about 490 thousand parameters, except
`koopman light`. The Koopman model unrolls by recurrence with a hand-written reverse scan, the fastest of five ways tried
on a CPU (loop, scan, FFT, Vandermonde product, chunks). `scripts/bench_compare.sh training` runs both in turn.

usage: python bench_torch_training.py [--lengths 10,20,50,100] [--threads 1] [--repeats 5] [--json FILE]
needs: torch (see bench_torch.py for AMD processors)
"""

import argparse
import math

import torch
from bench_torch import cpu_ms, write_json
from torch import nn
from torch.nn import functional as F

BATCH, STATE, ACTION = 256, 50, 6


class Scan(torch.autograd.Function):
    """x_t = lambda * x_(t-1) + c_t over the first axis, backward as one reverse scan."""

    @staticmethod
    def forward(ctx, start, c, eigenvalues):
        x = torch.empty_like(c)
        last = start
        for t in range(len(c)):
            torch.addcmul(c[t], eigenvalues, last, out=x[t])
            last = x[t]
        ctx.save_for_backward(start, x, eigenvalues)
        return x

    @staticmethod
    def backward(ctx, g):
        start, x, eigenvalues = ctx.saved_tensors
        conj = eigenvalues.conj().resolve_conj()
        a = g.clone(memory_format=torch.contiguous_format)
        for t in range(len(a) - 2, -1, -1):
            a[t].addcmul_(conj, a[t + 1])
        d = (a[0] * start.conj()).sum(0)
        for t in range(1, len(a)):
            d += (a[t] * x[t - 1].conj()).sum(0)
        return conj * a[0], a, d


class Koopman(nn.Module):
    def __init__(self, modes, hidden):
        super().__init__()
        self.modes = modes
        self.lift = nn.Linear(STATE, 2 * modes)
        sizes = [ACTION, *hidden]
        layers = [layer for i, o in zip(sizes, sizes[1:]) for layer in (nn.Linear(i, o), nn.ELU())]
        self.actions = nn.Sequential(*layers, nn.Linear(sizes[-1], 2 * modes))
        self.mu = nn.Parameter(torch.full((modes,), -0.2))
        self.omega = nn.Parameter(math.pi * torch.arange(modes) / modes)
        self.read = nn.Linear(2 * modes, STATE)

    def forward(self, state, actions):
        batch, length, _ = actions.shape
        start = torch.view_as_complex(self.lift(state).view(batch, self.modes, 2))
        c = torch.view_as_complex(self.actions(actions).view(batch, length, self.modes, 2)).transpose(0, 1).contiguous()
        x = Scan.apply(start, c, torch.exp(torch.complex(self.mu, self.omega)))
        return self.read(torch.view_as_real(x.transpose(0, 1)).reshape(batch, length, 2 * self.modes))


class Mlp(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.step = nn.Sequential(
            nn.Linear(STATE + ACTION, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU(), nn.Linear(hidden, STATE)
        )

    def forward(self, z, actions):
        states = []
        for a in actions.unbind(1):
            z = self.step(torch.cat([z, a], -1))
            states.append(z)
        return torch.stack(states, 1)


class Gru(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.start, self.gru = nn.Linear(STATE, hidden), nn.GRU(ACTION, hidden, batch_first=True)
        self.read = nn.Linear(hidden, STATE)

    def forward(self, state, actions):
        return self.read(self.gru(actions, self.start(state)[None])[0])


class Transformer(nn.Module):
    def __init__(self, width, heads, feedforward, depth, longest):
        super().__init__()
        self.state, self.action = nn.Linear(STATE, width), nn.Linear(ACTION, width)
        self.position = nn.Parameter(0.02 * torch.randn(longest + 1, width))
        layer = nn.TransformerEncoderLayer(width, heads, feedforward, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.read = nn.Linear(width, STATE)

    def forward(self, state, actions):
        x = torch.cat([self.state(state)[:, None], self.action(actions)], 1)
        x = x + self.position[: x.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.read(self.blocks(x, mask, is_causal=True)[:, 1:])


def check_scan():
    """The hand-written scan has the value and the gradients of the plain loop."""
    torch.manual_seed(0)
    start, c = torch.randn(3, 4, dtype=torch.cfloat), torch.randn(7, 3, 4, dtype=torch.cfloat)
    results = []
    for scan in (True, False):
        inputs = [x.clone().requires_grad_() for x in (start, c, torch.polar(torch.full((4,), 0.9), torch.arange(4.0)))]
        x, last = [], inputs[0]
        for step in inputs[1]:
            last = inputs[2] * last + step
            x.append(last)
        y = Scan.apply(*inputs) if scan else torch.stack(x)
        (y.abs() ** 2).sum().backward()
        results.append([y.detach(), *(i.grad for i in inputs)])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=lambda text: [int(t) for t in text.split(",")], default=[10, 20, 50, 100])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="also write the timings there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    check_scan()
    models = {
        "koopman": Koopman(256, [450, 450]),
        "koopman light": Koopman(256, [64]),
        "mlp": Mlp(640),
        "gru": Gru(376),
        "transformer": Transformer(128, 4, 640, 2, max(args.lengths)),
    }
    print(f"torch {torch.__version__}, {args.threads} thread(s); process CPU ms: median (min-max)")
    timings = []
    for length in args.lengths:
        state, targets = torch.randn(BATCH, STATE), torch.randn(BATCH, length, STATE)
        actions = torch.randn(BATCH, length, ACTION)
        for name, model in models.items():

            def iterate():
                F.mse_loss(model(state, actions), targets).backward()
                model.zero_grad(set_to_none=True)

            median, low, high = cpu_ms(iterate, args.repeats)
            size = f"B {BATCH} T {length}"
            timings.append(dict(what="training", of=f"torch {name}", size=size, cpu_ms=median, cpu_ms_range=[low, high]))
            parameters = sum(p.numel() for p in model.parameters())
            print(f"{name:<14} {parameters:>8} {size:<12} {median:10.2f}  ({low:.2f}-{high:.2f})")
    write_json(args.json, args.threads, timings)


if __name__ == "__main__":
    main()
