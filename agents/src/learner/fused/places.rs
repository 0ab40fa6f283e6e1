//! Where parameters lie.

use super::orders::Matrix;
use crate::learner::Parameter;
use crate::ops::LINE;
use std::collections::BTreeMap;

/// Weights `[inputs, outputs]`, and the bias right behind them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub weight: Matrix,
    pub bias: usize,
}

/// TD-MPC's critic: linear, LayerNorm and tanh, and the rest.
#[derive(Clone, Debug)]
pub(super) struct Critic {
    pub input: Layer,
    pub gamma: usize,
    pub beta: usize,
    pub tail: Vec<Layer>,
}

/// All parameters of an agent's networks, one behind the other: encoder, rest of the model, policy, what is not learned.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// By path: where each lies, and its shape.
    of: BTreeMap<String, (usize, Vec<usize>)>,
    /// How many numbers belong to the encoder, the rest of the model, the policy, and to nothing that learns, with gaps.
    pub counts: [usize; 4],
}

impl Places {
    /// Of these parameters, of which those that `learns` denies stay as they are.
    pub fn new(parameters: &BTreeMap<String, Parameter>, learns: impl Fn(&str) -> bool) -> Self {
        let group = |name: &str| match name {
            name if !learns(name) => 3,
            name if name.starts_with("encoder.") => 0,
            name if name.starts_with("policy.") => 2,
            _ => 1,
        };
        // a bias comes behind its weights
        let mut names: Vec<&String> = parameters.keys().collect();
        names.sort_by_key(|name| {
            let layer = name.strip_suffix("bias").or(name.strip_suffix("weight")).unwrap_or(name);
            (group(name), layer, name.ends_with("bias"))
        });
        let (mut of, mut end, mut counts) = (BTreeMap::new(), 0usize, [0; 4]);
        for name in names {
            let parameter = &parameters[name];
            let at = if name.ends_with("bias") { end } else { end.next_multiple_of(LINE) };
            of.insert(name.clone(), (at, parameter.shape.clone()));
            counts[group(name)] += at + parameter.values.len() - end;
            end = at + parameter.values.len();
        }
        Self { of, counts }
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Where a vector lies, of the parameters that begin at `base`; `None` if there is none of that name.
    pub fn vector(&self, base: usize, name: &str) -> Option<usize> {
        self.of.get(name).map(|(at, _)| base + at)
    }

    pub fn matrix(&self, base: usize, name: &str) -> Option<Matrix> {
        let (at, shape) = self.of.get(name)?;
        let &[rows, columns] = &shape[..] else { return None };
        Some(Matrix { at: base + at, rows, columns, stride: columns })
    }

    pub fn layer(&self, base: usize, path: &str) -> Option<Layer> {
        let weight = self.matrix(base, &format!("{path}.weight"))?;
        let bias = self.vector(base, &format!("{path}.bias"))?;
        debug_assert_eq!(bias, weight.at + weight.numbers());
        Some(Layer { weight, bias })
    }

    /// The layers of a network; none if there is no such network.
    pub fn network(&self, base: usize, path: &str) -> Vec<Layer> {
        (0..).map_while(|i| self.layer(base, &format!("{path}.layers.{i}"))).collect()
    }

    pub fn critics(&self, base: usize) -> Option<[Critic; 2]> {
        let critic = |i: usize| {
            let path = format!("critics.{i}");
            Some(Critic {
                input: self.layer(base, &format!("{path}.input"))?,
                gamma: self.vector(base, &format!("{path}.gamma"))?,
                beta: self.vector(base, &format!("{path}.beta"))?,
                tail: self.network(base, &format!("{path}.tail")),
            })
        };
        Some([critic(0)?, critic(1)?])
    }

    /// Puts parameters into `numbers`, those of all names at their places.
    pub fn write(&self, parameters: &BTreeMap<String, Parameter>, numbers: &mut [f32]) {
        for (name, (at, _)) in &self.of {
            if let Some(p) = parameters.get(name) {
                numbers[*at..at + p.values.len()].copy_from_slice(&p.values);
            }
        }
    }

    /// The parameters of `numbers` that `which` names; flat ones have a shape of one dimension.
    pub fn read(
        &self,
        numbers: &[f32],
        flat: bool,
        which: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, Parameter> {
        let named = self.of.iter().filter(|(name, _)| which(name));
        let parameter = |(name, (at, shape)): (&String, &(usize, Vec<usize>))| {
            let count = shape.iter().product();
            let shape = if flat { vec![count] } else { shape.clone() };
            (name.clone(), Parameter { shape, values: numbers[*at..at + count].to_vec() })
        };
        named.map(parameter).collect()
    }

    /// Whether updates change the parameter.
    pub fn learns(&self, name: &str) -> bool {
        let learned: usize = self.counts[..3].iter().sum();
        self.of.get(name).is_some_and(|(at, _)| *at < learned)
    }
}
