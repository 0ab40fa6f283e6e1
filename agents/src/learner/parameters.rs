//! Reading, writing and averaging all parameters of a module, by name.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use thiserror::Error;

/// One named array.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, row-major.
    pub values: Vec<f32>,
}

/// Saved parameters that do not fit the module.
#[derive(Debug, Error, PartialEq)]
pub enum ParameterError {
    /// A parameter of the module is missing.
    #[error("the saved parameters lack `{0}`: they belong to another model configuration")]
    Missing(String),
    /// Shapes differ.
    #[error("the saved parameter `{name}` has shape {found:?}, this model needs {expected:?}")]
    Shape {
        /// Path of the parameter.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the model.
        expected: Vec<usize>,
    },
}

/// Path of the parameter being visited, as `encoder.layers.0.weight`.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn name(&self) -> String {
        self.0.join(".")
    }
}

/// All parameters by path.
pub fn read_parameters<M: Module>(module: &M) -> BTreeMap<String, Parameter> {
    #[derive(Default)]
    struct Reader(Path, BTreeMap<String, Parameter>);
    impl ModuleVisitor for Reader {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.0.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val();
            let shape = tensor.dims().to_vec();
            let values = tensor.try_into_vec_as().expect("parameters are f32");
            self.1.insert(self.0.name(), Parameter { shape, values });
        }
    }
    let mut reader = Reader::default();
    module.visit(&mut reader);
    reader.1
}

/// The module with all its parameters replaced by the saved ones. Extra saved parameters are ignored.
pub fn write_parameters<M: Module>(
    module: M,
    saved: &BTreeMap<String, Parameter>,
) -> Result<M, ParameterError> {
    struct Writer<'a>(Path, &'a BTreeMap<String, Parameter>, Result<(), ParameterError>);
    impl ModuleMapper for Writer<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.0.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.0.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (name, expected) = (self.0.name(), param.dims().to_vec());
            let saved = match self.1.get(&name) {
                None => Err(ParameterError::Missing(name)),
                Some(p) if p.shape != expected => {
                    Err(ParameterError::Shape { name, found: p.shape.clone(), expected })
                }
                Some(p) => Ok(p),
            };
            match saved {
                Ok(saved) => param.map(|old| {
                    let data = TensorData::new(saved.values.clone(), saved.shape.clone());
                    let new = Tensor::from_data(data, &old.device());
                    new.set_require_grad(old.is_require_grad())
                }),
                Err(error) => {
                    if self.2.is_ok() {
                        self.2 = Err(error);
                    }
                    param
                }
            }
        }
    }
    let mut writer = Writer(Path::default(), saved, Ok(()));
    let module = module.map(&mut writer);
    writer.2.map(|()| module)
}

/// target ← (1 − rate)·target + rate·online over all parameters. Both must be free of gradients (`valid()`), or
/// the target would keep the graph alive.
pub fn move_towards<M: Module>(target: M, online: &M, rate: f64) -> M {
    #[derive(Default)]
    struct Collect(VecDeque<Box<dyn Any>>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push_back(Box::new(param.val()));
        }
    }
    struct Blend(VecDeque<Box<dyn Any>>, f64);
    impl ModuleMapper for Blend {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let next = self.0.pop_front().and_then(|online| online.downcast::<Tensor<D>>().ok());
            let online = next.expect("both modules have the same parameters in the same order");
            param.map(|target| target * (1.0 - self.1) + *online * self.1)
        }
    }
    let mut online_parameters = Collect::default();
    online.visit(&mut online_parameters);
    target.map(&mut Blend(online_parameters.0, rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, tests::tiny};
    use crate::model::World;
    use crate::rng::Stream;

    fn world(seed: u64) -> World {
        let config = tiny(DynamicsKind::Koopman).model;
        World::new(&config, 4, 2, &mut Stream::new(seed, "init"), &crate::device::cpu())
    }

    #[test]
    fn parameters_survive_a_round_trip_and_have_readable_names() {
        let (a, b) = (world(1), world(2));
        let saved = read_parameters(&a);
        assert!(saved.contains_key("encoder.layers.0.weight"), "{:?}", saved.keys());
        assert_ne!(saved, read_parameters(&b));
        assert_eq!(saved, read_parameters(&write_parameters(b, &saved).unwrap()));
    }

    #[test]
    fn parameters_of_another_model_are_refused_by_name() {
        let mut saved = read_parameters(&world(1));
        saved.get_mut("encoder.layers.0.weight").unwrap().shape = vec![5, 32];
        let error = write_parameters(world(2), &saved).unwrap_err();
        assert!(error.to_string().contains("`encoder.layers.0.weight` has shape [5, 32]"), "{error}");
        saved.remove("encoder.layers.0.weight");
        assert!(matches!(write_parameters(world(2), &saved), Err(ParameterError::Missing(_))));
    }

    #[test]
    fn the_target_moves_by_its_rate() {
        let (target, online) = (world(1), world(2));
        let (t, o) = (read_parameters(&target), read_parameters(&online));
        let moved = read_parameters(&move_towards(target, &online, 0.25));
        for (name, p) in moved {
            for (i, x) in p.values.iter().enumerate() {
                let expected = 0.75 * t[&name].values[i] + 0.25 * o[&name].values[i];
                assert!((x - expected).abs() < 1e-6);
            }
        }
    }
}
