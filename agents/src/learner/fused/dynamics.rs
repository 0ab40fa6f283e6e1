//! Latent dynamics as launches: a rollout and its gradient.

use super::networks::Run;
use super::orders::{After, Form, Kernel, Matrix, Product, Program, ints};
use super::places::{Layer, Places};

/// Where a batch of sequences lies. Rows are ordered by step, then by sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequences {
    /// B
    pub batch: usize,
    /// H
    pub horizon: usize,
    /// `[B·(H + 1), D + A]`: ẑ_t, which a rollout writes but for ẑ_0, and a_t, but for the last.
    pub za: Matrix,
    /// D
    pub latent: usize,
}

impl Sequences {
    fn step(&self, t: usize, all: Matrix) -> Matrix {
        all.rows(t * self.batch, self.batch)
    }

    /// ẑ_t: `[B, D]`
    fn latents(&self, t: usize) -> Matrix {
        self.step(t, self.za).columns(0, self.latent)
    }

    /// Rows of steps with an action.
    fn moving(&self) -> usize {
        self.batch * self.horizon
    }
}

/// Dynamics that have kernels.
pub(super) enum Motion {
    /// z' = MLP([z, a]).
    Mlp(Vec<Layer>),
    /// z' = λ ⊙ z + L [f(a) ⊙ (1 + tanh s(z))].
    Koopman(Koopman),
}

pub(super) struct Koopman {
    /// raw μ, ω, log Δt
    spectrum: [usize; 3],
    /// Which of them learn.
    learned: [bool; 3],
    modes: usize,
    /// L `[l, D]`
    input: Matrix,
    action_encoder: Vec<Layer>,
    /// s; none of the additive form.
    gate: Vec<Layer>,
}

/// What a rollout leaves for its gradient.
pub(super) enum Rolled {
    Mlp(Run),
    Koopman(RolledKoopman),
}

pub(super) struct RolledKoopman {
    lambda: usize,
    encoder: Run,
    /// f(a), what the gate's tanh gave, and what pushes: `[B·H, l]`
    u: Matrix,
    gate: Option<(Run, Matrix)>,
    v: Matrix,
}

impl Motion {
    /// The dynamics of parameters that begin at `base`; `None` of others.
    pub fn of(places: &Places, base: usize, latent: usize) -> Option<Self> {
        let mlp = places.network(base, "dynamics.Mlp.net");
        if !mlp.is_empty() {
            return Some(Self::Mlp(mlp));
        }
        let names = ["raw_mu", "omega", "log_dt"].map(|name| format!("dynamics.Koopman.eigenvalues.{name}"));
        let vector = |i: usize| places.vector(base, &names[i]);
        let path = |name: &str| format!("dynamics.Koopman.control.{name}");
        Some(Self::Koopman(Koopman {
            spectrum: [vector(0)?, vector(1)?, vector(2)?],
            learned: names.each_ref().map(|name| places.learns(name)),
            modes: latent / 2,
            input: places.matrix(base, &path("input"))?,
            action_encoder: places.network(base, &path("action_encoder")),
            gate: places.network(base, &path("gate")),
        }))
    }

    /// ẑ_1 … ẑ_H.
    pub fn roll_out(&self, p: &mut Program, s: Sequences) -> Rolled {
        match self {
            Self::Mlp(layers) => {
                let run = p.run(layers, s.za.rows(0, s.moving()));
                for t in 0..s.horizon {
                    let step = run.rows(t * s.batch, s.batch);
                    p.forward(&[(&step, s.latents(t + 1), After::Nothing)]);
                }
                Rolled::Mlp(run)
            }
            Self::Koopman(koopman) => Rolled::Koopman(koopman.roll_out(p, s)),
        }
    }

    /// Adds to the gradients of ẑ_0 … ẑ_H, `d [B·(H + 1), D]`, what comes through later latents, and orders those of the
    /// parameters, `shift` behind them. To be launched.
    pub fn back(&self, p: &mut Program, rolled: &Rolled, s: Sequences, d: Matrix, shift: usize) {
        match (self, rolled) {
            (Self::Mlp(layers), Rolled::Mlp(run)) => {
                let hidden: Vec<Matrix> = run.hidden.iter().map(|h| p.room(h.rows, h.columns)).collect();
                for t in (0..s.horizon).rev() {
                    let next = s.step(t + 1, d);
                    let step = run.rows(t * s.batch, s.batch);
                    let gradients: Vec<Matrix> = hidden.iter().map(|h| s.step(t, *h)).chain([next]).collect();
                    p.backward_into(&[(&step, next)], std::slice::from_ref(&gradients));
                    // the latent's rows of the first weights
                    let first = Layer { weight: layers[0].weight.rows(0, s.latent), ..layers[0] };
                    p.back(first, gradients[0], s.step(t, d), After::Add);
                    p.launch();
                }
                let last = d.rows(s.batch, s.moving());
                p.gradients(run, &hidden.into_iter().chain([last]).collect::<Vec<_>>(), shift);
            }
            (Self::Koopman(koopman), Rolled::Koopman(rolled)) => koopman.back(p, rolled, s, d, shift),
            _ => unreachable!("dynamics of one kind"),
        }
    }
}

impl Koopman {
    fn roll_out(&self, p: &mut Program, s: Sequences) -> RolledKoopman {
        let (rows, encoded, batch) = (s.moving(), self.input.rows, s.batch);
        let lambda = p.room(2, self.modes).at;
        let [raw_mu, omega, log_dt] = self.spectrum;
        let order = ints([raw_mu, omega, log_dt, lambda, self.modes]);
        p.order(Kernel::Spectrum, self.modes.div_ceil(256), order);
        p.launch();
        let actions = s.za.rows(0, rows).columns(s.latent, s.za.columns - s.latent);
        let encoder = p.run(&self.action_encoder, actions);
        let u = p.room(rows, encoded);
        p.forward(&[(&encoder, u, After::Nothing)]);
        let gate = (!self.gate.is_empty()).then(|| {
            let run = p.run(&self.gate, s.za.rows(0, rows).columns(0, s.latent));
            (run, p.room(rows, encoded))
        });
        let v = if gate.is_some() { p.room(rows, encoded) } else { u };
        for t in 0..s.horizon {
            if let Some((run, said)) = &gate {
                let (u, v) = (s.step(t, u), s.step(t, v));
                p.forward(&[(&run.rows(t * batch, batch), s.step(t, *said), After::Gate { u, v })]);
            }
            let after = After::Turn { z: s.latents(t), lambda };
            let (a, c) = (s.step(t, v), s.latents(t + 1));
            p.product(Product::new(Form::Plain, [a, self.input], c, after));
            p.launch();
        }
        RolledKoopman { lambda, encoder, u, gate, v }
    }

    fn back(&self, p: &mut Program, rolled: &RolledKoopman, s: Sequences, d: Matrix, shift: usize) {
        let RolledKoopman { lambda, encoder, u, gate, v } = rolled;
        let (rows, encoded, lambda) = (s.moving(), self.input.rows, *lambda);
        let du = p.room(rows, encoded);
        // of what the gate's last layer gave, and of its hidden layers
        let of_gate = gate.as_ref().map(|(run, _)| {
            let hidden = run.hidden.iter().map(|h| p.room(h.rows, h.columns));
            let hidden: Vec<Matrix> = hidden.collect();
            hidden.into_iter().chain([p.room(rows, encoded)]).collect::<Vec<_>>()
        });
        for t in (0..s.horizon).rev() {
            let (next, here) = (s.step(t + 1, d), s.step(t, d));
            let through = |c, after| Product::new(Form::Back, [next, self.input], c, after);
            let turn = After::AddTurnBack { dz: next, lambda };
            match (gate, &of_gate) {
                (Some((run, said)), Some(of_gate)) => {
                    let of_gate: Vec<Matrix> = of_gate.iter().map(|m| s.step(t, *m)).collect();
                    let last = of_gate[of_gate.len() - 1];
                    let after = After::GateBack { s: s.step(t, *said), u: s.step(t, *u), du: s.step(t, du) };
                    p.product(through(last, after));
                    p.launch();
                    let step = run.rows(t * s.batch, s.batch);
                    p.backward_into(&[(&step, last)], std::slice::from_ref(&of_gate));
                    p.back(self.gate[0], of_gate[0], here, turn);
                }
                _ => {
                    p.product(through(s.step(t, du), After::Nothing));
                    // nothing to add up: only λ leads back
                    let [a, b] = [next, self.input].map(|m| m.columns(0, 0));
                    let b = Matrix { rows: here.columns, ..b };
                    p.product(Product::new(Form::Back, [a, b], here, turn));
                }
            }
            p.launch();
        }
        let of_encoder = p.backward(&[(encoder, du)]).remove(0);
        let after = d.rows(s.batch, rows);
        let [d_mu, d_omega, d_log_dt] =
            [0, 1, 2].map(|i| if self.learned[i] { (self.spectrum[i] + shift) as i32 } else { -1 });
        let [raw_mu, omega, log_dt] = self.spectrum;
        let mut order =
            ints([s.za.at, s.za.stride, after.at, rows, raw_mu, omega, log_dt, lambda, self.modes]);
        order.extend([d_mu, d_omega, d_log_dt]);
        p.order(Kernel::SpectrumBack, self.modes, order);
        p.launch();
        let c = Matrix { at: self.input.at + shift, ..self.input };
        p.product(Product::new(Form::Gradient, [*v, after], c, After::Nothing));
        p.gradients(encoder, &of_encoder, shift);
        if let (Some((run, _)), Some(of_gate)) = (gate, &of_gate) {
            p.gradients(run, of_gate, shift);
        }
    }
}
