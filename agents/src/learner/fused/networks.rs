//! Networks as launches of products, forward and back.

use super::orders::{After, Form, Kernel, Matrix, Product, Program, address, ints};
use super::places::{Critic, Layer};

/// A network on some rows.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub layers: Vec<Layer>,
    /// What it sees.
    pub x: Matrix,
    /// What its hidden layers said.
    pub hidden: Vec<Matrix>,
    /// The rows whose gradients there are, see [`Product::among`].
    among: Option<usize>,
}

impl Run {
    /// The input of layer `i`.
    pub fn input(&self, i: usize) -> Matrix {
        if i == 0 { self.x } else { self.hidden[i - 1] }
    }

    /// The same, on some of the rows.
    pub fn rows(&self, from: usize, rows: usize) -> Self {
        let hidden = self.hidden.iter().map(|h| h.rows(from, rows)).collect();
        Self { layers: self.layers.clone(), x: self.x.rows(from, rows), hidden, among: None }
    }
}

/// A critic on some rows.
#[derive(Clone, Debug)]
pub(super) struct CriticRun {
    critic: Critic,
    x: Matrix,
    /// The first layer's numbers, normalised.
    normal: Matrix,
    scale: Matrix,
    tail: Run,
    /// `[rows, 1]`
    pub q: Matrix,
}

impl CriticRun {
    /// The same, of which only the rows of a list have gradients.
    pub fn among(mut self, list: usize) -> Self {
        self.tail.among = Some(list);
        self
    }
}

/// Gradients of a critic.
pub(super) struct CriticBack {
    /// Of the outputs of the tail's layers.
    tail: Vec<Matrix>,
    /// Of what LayerNorm gave, and of its input.
    normed: Matrix,
    pub input: Matrix,
}

impl Program {
    /// Room for what the hidden layers say about `x`.
    pub fn run(&mut self, layers: &[Layer], x: Matrix) -> Run {
        let hidden = layers[..layers.len() - 1].iter();
        let hidden = hidden.map(|layer| self.room(x.rows, layer.weight.columns)).collect();
        Run { layers: layers.to_vec(), x, hidden, among: None }
    }

    /// Runs networks, layer by layer and all at once; ends of their last layers go to the matrices.
    pub fn forward(&mut self, runs: &[(&Run, Matrix, After)]) {
        let deepest = runs.iter().map(|(run, ..)| run.layers.len()).max().unwrap_or(0);
        for i in 0..deepest {
            for &(run, y, end) in runs.iter().filter(|(run, ..)| i < run.layers.len()) {
                let layer = run.layers[i];
                let (c, after) = match run.hidden.get(i) {
                    Some(&hidden) => (hidden, After::Elu),
                    None => (y, end),
                };
                self.dense(layer, run.input(i), c, after);
            }
            self.launch();
        }
    }

    fn dense(&mut self, layer: Layer, a: Matrix, c: Matrix, after: After) {
        let Layer { weight: b, bias } = layer;
        self.product(Product { bias: Some(bias), ..Product::new(Form::Plain, [a, b], c, after) });
    }

    /// Gradients of the outputs of all layers, given those of the last.
    pub fn backward(&mut self, runs: &[(&Run, Matrix)]) -> Vec<Vec<Matrix>> {
        let mut gradients: Vec<Vec<Matrix>> = Vec::new();
        for &(run, d) in runs {
            let hidden = run.hidden.iter().map(|h| self.room(h.rows, h.columns));
            gradients.push(hidden.chain([d]).collect());
        }
        self.backward_into(runs, &gradients);
        gradients
    }

    /// The same into given matrices, of which the last are known.
    pub fn backward_into(&mut self, runs: &[(&Run, Matrix)], gradients: &[Vec<Matrix>]) {
        let deepest = runs.iter().map(|(run, _)| run.hidden.len()).max().unwrap_or(0);
        for from_end in 0..deepest {
            for ((run, _), gradients) in runs.iter().zip(gradients) {
                let Some(i) = run.hidden.len().checked_sub(from_end + 1) else { continue };
                let after = After::SlopeElu(run.hidden[i]);
                self.back_among(run.among, run.layers[i + 1], gradients[i + 1], gradients[i], after);
            }
            self.launch();
        }
    }

    /// c = d·Wᵀ
    pub fn back(&mut self, layer: Layer, d: Matrix, c: Matrix, after: After) {
        self.back_among(None, layer, d, c, after);
    }

    fn back_among(&mut self, among: Option<usize>, layer: Layer, d: Matrix, c: Matrix, after: After) {
        self.product(Product { among, ..Product::new(Form::Back, [d, layer.weight], c, after) });
    }

    /// Gradients of weights and biases; `shift` leads from a parameter to its gradient. To be launched.
    pub fn gradients(&mut self, run: &Run, gradients: &[Matrix], shift: usize) {
        debug_assert!(run.among.is_none(), "weights want the gradients of all rows");
        for (i, &d) in gradients.iter().enumerate() {
            self.gradient(run.layers[i], run.input(i), d, shift);
        }
    }

    fn gradient(&mut self, layer: Layer, x: Matrix, d: Matrix, shift: usize) {
        // the bias lies behind the weights
        let Matrix { at, rows, .. } = layer.weight;
        let c = Matrix { at: at + shift, rows: rows + 1, ..layer.weight };
        self.product(Product::new(Form::Gradient, [x, d], c, After::Nothing));
    }

    /// Room for critics on `x`.
    pub fn critics(&mut self, critics: &[Critic; 2], x: Matrix) -> [CriticRun; 2] {
        critics.clone().map(|critic| {
            let normal = self.room(x.rows, critic.input.weight.columns);
            let (y, scale) = (self.room(x.rows, normal.columns), self.room(x.rows, 1));
            let (tail, q) = (self.run(&critic.tail, y), self.room(x.rows, 1));
            CriticRun { critic, x, normal, scale, tail, q }
        })
    }

    /// Runs critics, and other networks beside them.
    pub fn forward_critics(&mut self, critics: &[CriticRun; 2], others: &[(&Run, Matrix, After)]) {
        for run in critics {
            self.dense(run.critic.input, run.x, run.normal, After::Nothing);
        }
        self.launch();
        for CriticRun { critic, normal, tail, scale, .. } in critics {
            let numbers =
                [normal.at, tail.x.at, critic.gamma, critic.beta, scale.at, normal.rows, normal.columns];
            self.order(Kernel::NormTanh, normal.rows.div_ceil(4), ints(numbers));
        }
        self.launch();
        let tails = critics.iter().map(|run| (&run.tail, run.q, After::Nothing));
        self.forward(&tails.chain(others.iter().copied()).collect::<Vec<_>>());
    }

    /// Gradients of critics down to their first layer, given those of their values `[rows, 1]`, and of other networks beside
    /// them.
    pub fn backward_critics(
        &mut self,
        critics: &[CriticRun; 2],
        d: [Matrix; 2],
        others: &[(&Run, Matrix)],
    ) -> ([CriticBack; 2], Vec<Vec<Matrix>>) {
        let mut runs = vec![(&critics[0].tail, d[0]), (&critics[1].tail, d[1])];
        runs.extend(others);
        let mut gradients = self.backward(&runs);
        let others = gradients.split_off(2);
        let mut tails = gradients.into_iter();
        let backs = critics.each_ref().map(|run| {
            let tail = tails.next().expect("two tails");
            let (normed, input) = (
                self.room(run.normal.rows, run.normal.columns),
                self.room(run.normal.rows, run.normal.columns),
            );
            self.back_among(run.tail.among, run.tail.layers[0], tail[0], normed, After::Nothing);
            CriticBack { tail, normed, input }
        });
        self.launch();
        for (CriticRun { critic, normal, tail, scale, .. }, back) in critics.iter().zip(&backs) {
            let (to, rows, columns) = (back.input.at, normal.rows, normal.columns);
            let numbers = [normal.at, tail.x.at, back.normed.at, to, critic.gamma, scale.at, rows, columns];
            let mut order = ints(numbers);
            order.push(address(tail.among));
            self.order(Kernel::NormTanhBack, rows.div_ceil(4), order);
        }
        self.launch();
        (backs, others)
    }

    /// Gradients of a critic's weights and biases. To be launched.
    pub fn critic_gradients(&mut self, run: &CriticRun, back: &CriticBack, shift: usize) {
        self.gradient(run.critic.input, run.x, back.input, shift);
        self.gradients(&run.tail, &back.tail, shift);
    }

    /// Gradients of γ and β. To be launched.
    pub fn norm_gradients(&mut self, run: &CriticRun, back: &CriticBack, shift: usize) {
        let Matrix { at, rows, columns, .. } = back.normed;
        let blocks = columns.div_ceil(32);
        for (by, to) in [(run.normal.at as i32, run.critic.gamma), (-1, run.critic.beta)] {
            let [at, to, rows, columns] = [at, to + shift, rows, columns].map(|n| n as i32);
            self.order(Kernel::ColumnSums, blocks, vec![at, by, to, rows, columns]);
        }
    }

    /// The gradient of the last `columns` numbers that a critic sees. To be launched.
    pub fn back_to_input(&mut self, run: &CriticRun, back: &CriticBack, c: Matrix) {
        let weight = run.critic.input.weight;
        let layer = Layer { weight: weight.rows(weight.rows - c.columns, c.columns), ..run.critic.input };
        let after = if run.tail.among.is_some() { After::Scatter } else { After::Nothing };
        self.back_among(run.tail.among, layer, back.input, c, after);
    }
}
