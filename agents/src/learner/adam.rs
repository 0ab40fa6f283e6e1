//! Adam with one global gradient norm. Ours because burn clips per tensor, and because the moments must be saved.

use super::parameters::Parameter;
use crate::ops::{self, AdamStep};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Decay of the first and the second moment.
pub(super) const BETAS: [f64; 2] = [0.9, 0.999];

/// What moments after so many steps are divided by: 1 − β^t.
pub(super) fn corrections(steps: u64) -> [f32; 2] {
    let t = steps.min(i32::MAX as u64) as i32;
    BETAS.map(|beta| (1.0 - beta.powi(t)) as f32)
}

/// Adam over the parameters of one module.
#[derive(Clone, Debug)]
pub struct Adam {
    learning_rate: f64,
    epsilon: f64,
    max_norm: f64,
    /// Part of the module, by the first name of its paths, and its share of the learning rate.
    slower: Option<(&'static str, f64)>,
    steps: u64,
    /// First and second moments, flat, by path of the parameter.
    moments: HashMap<String, (Tensor<1>, Tensor<1>)>,
}

impl Adam {
    /// Without moments yet.
    pub fn new(learning_rate: f64, epsilon: f64, max_norm: f64) -> Self {
        Self { learning_rate, epsilon, max_norm, slower: None, steps: 0, moments: HashMap::new() }
    }

    /// The same with `share` times the learning rate for the field `part` of the module.
    pub fn with_part(mut self, part: &'static str, share: f64) -> Self {
        self.slower = Some((part, share));
        self
    }

    /// From the next step on with this learning rate.
    pub fn learn_at(&mut self, rate: f64) {
        self.learning_rate = rate;
    }

    /// Learning rate of the parameter at `path`.
    fn rate(&self, path: &[String]) -> f64 {
        match self.slower {
            Some((part, share)) if path.first().is_some_and(|name| name == part) => {
                share * self.learning_rate
            }
            _ => self.learning_rate,
        }
    }

    /// One step; parameters without a gradient stay as they are. Also returns the gradients' norm before clipping,
    /// `[1]`, which stays on the device.
    pub fn step<M: Module>(&mut self, module: M, mut gradients: GradientsParams) -> (M, Tensor<1>) {
        let norm = global_norm(&module, &gradients);
        let scale = norm.clone().recip().mul_scalar(self.max_norm).clamp_max(1.0);
        self.steps += 1;
        let [beta1, beta2] = BETAS.map(|beta| beta as f32);
        let [correction1, correction2] = corrections(self.steps);
        let step = AdamStep {
            learning_rate: self.learning_rate as f32,
            beta1,
            beta2,
            epsilon: self.epsilon as f32,
            correction1,
            correction2,
        };
        let mut mapper = Stepper { adam: self, gradients: &mut gradients, scale, step, path: Vec::new() };
        (module.map(&mut mapper), norm)
    }

    /// Steps taken and moments, for saving: `<path>.first` and `<path>.second`.
    pub fn export(&self) -> (u64, BTreeMap<String, Parameter>) {
        let flat = |t: &Tensor<1>| Parameter {
            shape: t.dims().to_vec(),
            values: t.clone().try_into_vec_as().expect("moments are f32"),
        };
        let entries = self.moments.iter().flat_map(|(name, (first, second))| {
            [(format!("{name}.first"), flat(first)), (format!("{name}.second"), flat(second))]
        });
        (self.steps, entries.collect())
    }

    /// Restores what [`Adam::export`] gave.
    pub fn import(&mut self, steps: u64, saved: &BTreeMap<String, Parameter>, device: &Device) {
        let load =
            |p: &Parameter| Tensor::from_data(TensorData::new(p.values.clone(), p.shape.clone()), device);
        self.steps = steps;
        self.moments = saved
            .iter()
            .filter_map(|(name, first)| {
                let path = name.strip_suffix(".first")?;
                Some((path.to_owned(), (load(first), load(saved.get(&format!("{path}.second"))?))))
            })
            .collect();
    }
}

struct Stepper<'a> {
    adam: &'a mut Adam,
    gradients: &'a mut GradientsParams,
    scale: Tensor<1>,
    step: AdamStep,
    path: Vec<String>,
}

impl ModuleMapper for Stepper<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let (shape, device) = (gradient.dims(), gradient.device());
        let size: usize = shape.iter().product();
        self.step.learning_rate = self.adam.rate(&self.path) as f32;
        let (first, second) = self.adam.moments.remove(&self.path.join(".")).unwrap_or_else(|| {
            let zeros = || Tensor::zeros([size], &device);
            (zeros(), zeros())
        });
        let mut moments = None;
        let param = param.map(|old| {
            let flat = old.inner().reshape([size]);
            let gradient = gradient.reshape([size]);
            let (new, first, second) =
                ops::adam_step(flat, gradient, first, second, self.scale.clone(), self.step);
            moments = Some((first, second));
            Tensor::from_inner(new.reshape(shape)).require_grad()
        });
        self.adam.moments.extend(moments.map(|m| (self.path.join("."), m)));
        param
    }
}

/// sqrt(Σ g²) over all gradients of the module: `[1]`.
fn global_norm<M: Module>(module: &M, gradients: &GradientsParams) -> Tensor<1> {
    struct Sum<'a>(&'a GradientsParams, Vec<Tensor<1>>);
    impl Sum<'_> {
        fn add<const D: usize>(&mut self, id: ParamId) {
            if let Some(g) = self.0.get::<D>(id) {
                self.1.push(g.square().sum());
            }
        }
    }
    impl ModuleVisitor for Sum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.add::<D>(param.id);
        }
    }
    let mut sum = Sum(gradients, Vec::new());
    module.visit(&mut sum);
    Tensor::cat(sum.1, 0).sum().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mlp;
    use crate::rng::Stream;
    use crate::test_support::{normal, values};

    fn setup() -> (Mlp, Tensor<2>) {
        let device = crate::device::cpu().autodiff();
        let mlp = Mlp::orthogonal(&[4, 8, 1], &mut Stream::new(1, "init"), &device);
        (mlp, Tensor::from_inner(normal::<2>([32, 4], 5)))
    }

    fn gradients(mlp: &Mlp, x: &Tensor<2>, scale: f32) -> GradientsParams {
        GradientsParams::from_grads((mlp.forward(x.clone()).square().mean() * scale).backward(), mlp)
    }

    /// burn's clipping is per tensor: with one global norm, scaling the loss beyond the limit changes nothing.
    #[test]
    fn clipping_is_global_and_makes_steps_independent_of_the_loss_scale() {
        let (mlp, x) = setup();
        let run = |scale: f32| {
            let mut adam = Adam::new(1e-2, 1e-8, 0.1);
            let (next, norm) = adam.step(mlp.clone(), gradients(&mlp, &x, scale));
            (super::super::read_parameters(&next), values(norm)[0])
        };
        let ((a, norm_a), (b, norm_b)) = (run(1e3), run(1e5));
        assert!(norm_a > 0.1 && (norm_b / norm_a - 100.0).abs() < 0.1);
        for (name, p) in a {
            for (x, y) in p.values.iter().zip(&b[&name].values) {
                assert!((x - y).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_restored_optimiser_continues_bit_by_bit() {
        let (mut mlp, x) = setup();
        let mut adam = Adam::new(1e-2, 1e-8, 10.0);
        for _ in 0..5 {
            let g = gradients(&mlp, &x, 1.0);
            mlp = adam.step(mlp, g).0;
        }
        let mut restored = Adam::new(1e-2, 1e-8, 10.0);
        let (steps, saved) = adam.export();
        restored.import(steps, &saved, &crate::device::cpu());
        let step = |adam: &mut Adam| adam.step(mlp.clone(), gradients(&mlp, &x, 1.0)).0;
        assert_eq!(
            super::super::read_parameters(&step(&mut adam)),
            super::super::read_parameters(&step(&mut restored))
        );
    }

    /// Adam's first step is the learning rate along every coordinate, whatever the size of its gradient.
    #[test]
    fn a_part_can_learn_at_a_share_of_the_rate() {
        let (mlp, x) = setup();
        let mut adam = Adam::new(1e-2, 1e-8, 10.0).with_part("layers", 0.3);
        let (next, _) = adam.step(mlp.clone(), gradients(&mlp, &x, 1.0));
        let ([before, after], mut moved) = ([&mlp, &next].map(super::super::read_parameters), 0);
        for (name, p) in &before {
            for (a, b) in p.values.iter().zip(&after[name].values).filter(|(a, b)| a != b) {
                moved += 1;
                assert!(((a - b).abs() - 3e-3).abs() < 1e-5, "{name}");
            }
        }
        assert!(moved > 40);
        let whole = Adam::new(1e-2, 1e-8, 10.0).with_part("encoder", 0.3);
        assert_eq!(whole.rate(&["layers".into()]), 1e-2);
    }

    #[test]
    fn adam_minimises() {
        let (mut mlp, x) = setup();
        let mut adam = Adam::new(1e-2, 1e-8, 10.0);
        for _ in 0..300 {
            let g = gradients(&mlp, &x, 1.0);
            mlp = adam.step(mlp, g).0;
        }
        let loss: f32 = mlp.forward(x).square().mean().into_scalar();
        assert!(loss < 1e-4, "{loss}");
    }
}
