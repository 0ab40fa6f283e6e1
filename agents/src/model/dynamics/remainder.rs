//! What a linear model leaves over: decay that depends on the latent, and a small correction.

use crate::config::{Precision, RemainderConfig};
use crate::inference::Network;
use crate::model::init::Init;
use crate::model::mlp::Mlp;
use crate::ops::Activation;
use crate::rng::Stream;
use burn::prelude::*;

/// z' = λ̄ ⊙ s(z) ⊙ z + c + r(z) with s = 1 − β/2·(1 + tanh q(z)) in [1 − β, 1], one number a mode, and r a small network.
/// Either part may be absent.
#[derive(Module, Debug)]
pub struct Remainder {
    /// q: 2m → m, starting at zero
    modulation: Option<Mlp>,
    /// r: 2m → k → 2m, starting at zero
    correction: Option<Mlp>,
    /// β
    #[module(skip)]
    depth: f64,
}

fn sizes(config: &RemainderConfig, latent: usize) -> [Option<Vec<usize>>; 2] {
    let modulation = (config.modulation > 0.0).then(|| vec![latent, latent / 2]);
    let correction = (config.correction_hidden > 0).then(|| vec![latent, config.correction_hidden, latent]);
    [modulation, correction]
}

impl Remainder {
    /// For `latent` = 2m reals.
    pub fn new(config: &RemainderConfig, latent: usize, stream: &mut Stream, device: &Device) -> Self {
        let [modulation, correction] = sizes(config, latent)
            .map(|sizes| sizes.map(|sizes| Mlp::new(&sizes, Init::Zero, stream, device)));
        Self { modulation, correction, depth: config.modulation }
    }

    /// Number of parameters.
    pub(crate) fn count(config: &RemainderConfig, latent: usize) -> usize {
        sizes(config, latent).iter().flatten().map(|sizes| Mlp::count(sizes)).sum()
    }

    pub(super) fn networks_mut(&mut self) -> impl Iterator<Item = &mut Mlp> {
        [&mut self.modulation, &mut self.correction].into_iter().flatten()
    }

    /// Whether both parts are absent.
    pub fn is_nothing(&self) -> bool {
        self.modulation.is_none() && self.correction.is_none()
    }

    /// s(z): `[R, 2m]` → `[R, 2m]`, the same for both parts of a mode.
    pub fn decay(&self, z: Tensor<2>) -> Option<Tensor<2>> {
        let factor =
            |q: &Mlp| q.forward_into(z, Activation::Tanh) * (-self.depth / 2.0) + (1.0 - self.depth / 2.0);
        self.modulation.as_ref().map(factor).map(|s| Tensor::cat(vec![s.clone(), s], 1))
    }

    /// r(z): `[R, 2m]` → `[R, 2m]`.
    pub fn correction(&self, z: Tensor<2>) -> Option<Tensor<2>> {
        self.correction.as_ref().map(|r| r.forward(z))
    }

    /// tanh q and β, packed for planning.
    pub(crate) fn packed_modulation(&self, precision: Precision) -> Option<(Network, f32)> {
        let packed = |q: &Mlp| (q.packed(Activation::Tanh, precision), self.depth as f32);
        self.modulation.as_ref().map(packed)
    }

    /// r, packed for planning.
    pub(crate) fn packed_correction(&self, precision: Precision) -> Option<Network> {
        self.correction.as_ref().map(|r| r.packed(Activation::Identity, precision))
    }
}

#[cfg(test)]
impl Remainder {
    /// Gives the last layers weights, which start at zero.
    pub(super) fn open(&mut self, stream: &mut Stream) {
        self.networks_mut().for_each(|net| net.set_last(stream));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{normal, values};

    #[test]
    fn decay_stays_between_its_bounds_and_a_new_correction_is_nothing() {
        let config = RemainderConfig { correction_hidden: 5, modulation: 0.4 };
        let stream = &mut Stream::new(1, "init");
        let mut remainder = Remainder::new(&config, 6, stream, &crate::device::cpu());
        let z = normal::<2>([50, 6], 2) * 10.0;
        assert!(values(remainder.decay(z.clone()).unwrap()).iter().all(|s| (s - 0.8).abs() < 1e-6));
        assert!(values(remainder.correction(z.clone()).unwrap()).iter().all(|r| *r == 0.0));
        remainder.open(stream);
        let decay = values(remainder.decay(z).unwrap());
        assert!(decay.iter().all(|s| (0.6 - 1e-6..=1.0 + 1e-6).contains(s)));
        assert!(decay.iter().any(|s| *s < 0.65) && decay.iter().any(|s| *s > 0.95));
        for row in decay.chunks(6) {
            assert_eq!(row[..3], row[3..], "both parts of a mode decay alike");
        }
    }
}
