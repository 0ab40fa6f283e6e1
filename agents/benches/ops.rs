//! CPU milliseconds of the fused operations, forward and with gradients, beside plain burn tensors.
//!
//! `cargo bench -p td-koopman-benches --bench ops`; single thread: prefix `RAYON_NUM_THREADS=1`.

use burn::prelude::*;
use burn::tensor::activation;
use criterion::{Criterion, criterion_group};
use std::hint::black_box;
use td_koopman_agents::config::Precision;
use td_koopman_agents::device;
use td_koopman_agents::ops::*;
use td_koopman_agents::rng::Stream;
use td_koopman_benches::CpuTime;

fn random<const D: usize>(shape: [usize; D], scale: f32, device: &Device) -> Tensor<D> {
    let numbers = Stream::new(1, "bench").normal(shape.iter().product());
    Tensor::from_data(TensorData::new(numbers, shape), device) * scale
}

/// λ̄ of `m` modes with |λ̄| = 0.9, as `[Re | Im]`.
fn spectrum(m: usize, device: &Device) -> Tensor<1> {
    let phase = |j: usize| std::f32::consts::PI * j as f32 / m as f32;
    let re = (0..m).map(|j| 0.9 * phase(j).cos());
    let numbers: Vec<f32> = re.chain((0..m).map(|j| 0.9 * phase(j).sin())).collect();
    Tensor::from_data(TensorData::new(numbers, [2 * m]), device)
}

/// The unrolls at batch 32 and the paper's m = 512 complex modes.
fn unroll(c: &mut Criterion<CpuTime>) {
    const BATCH: usize = 32;
    const MODES: usize = 512;
    let plain = device::cpu();
    let tracked = plain.clone().autodiff();
    let mut group = c.benchmark_group("unroll");
    group.sample_size(10);
    for horizon in [5, 20, 100, 200] {
        for (name, way) in
            [("recurrence", Some(Unroll::Recurrence)), ("fft", Some(Unroll::Fft)), ("tensors", None)]
        {
            let run = |device: &Device| {
                let input = random([BATCH, horizon, 2 * MODES], 1.0, device);
                let z0 = random([BATCH, 2 * MODES], 1.0, device);
                (spectrum(MODES, device), z0, input)
            };
            let apply = |(lambda, z0, input): &(Tensor<1>, Tensor<2>, Tensor<3>)| {
                let (lambda, z0, input) = (lambda.clone(), z0.clone(), input.clone());
                match way {
                    Some(way) => diagonal_recurrence(lambda, z0, input, way),
                    None => diagonal_recurrence_reference(lambda, z0, input),
                }
            };
            let inputs = run(&plain);
            group.bench_function(format!("forward/H{horizon}/{name}"), |b| {
                b.iter(|| black_box(apply(&inputs)))
            });
            let (lambda, z0, input) = run(&tracked);
            let inputs = (lambda.require_grad(), z0.require_grad(), input.require_grad());
            group.bench_function(format!("gradients/H{horizon}/{name}"), |b| {
                b.iter(|| black_box(apply(&inputs).sum().backward()))
            });
        }
    }
    group.finish();
}

/// Layers of the small preset's update: 1280 rows, widths 256; SimNorm in groups of 8.
fn layers(c: &mut Criterion<CpuTime>) {
    const ROWS: usize = 1280;
    const WIDTH: usize = 256;
    const GROUP: usize = 8;
    let device = device::cpu();
    let tracked = device.clone().autodiff();
    let inputs = |device: &Device| {
        let bias = random([WIDTH], 0.1, device);
        (random([ROWS, WIDTH], 1.0, device), random([WIDTH, WIDTH], 0.06, device), bias)
    };
    let mut group = c.benchmark_group("layers");
    for (at, device) in [("forward", &device), ("gradients", &tracked)] {
        let (mut x, mut w, mut bias) = inputs(device);
        if at == "gradients" {
            (x, w, bias) = (x.require_grad(), w.require_grad(), bias.require_grad());
        }
        let finish = |y: Tensor<2>| match at {
            "gradients" => drop(black_box(y.sum().backward())),
            _ => drop(black_box(y)),
        };
        let product = || x.clone().matmul(w.clone()) + bias.clone().unsqueeze();
        group.bench_function(format!("elu/{at}/fused"), |b| {
            b.iter(|| finish(dense(x.clone(), w.clone(), bias.clone(), Activation::Elu, Precision::F32)))
        });
        group.bench_function(format!("elu/{at}/tensors"), |b| {
            b.iter(|| finish(activation::elu(product(), 1.0)))
        });
        let normalised = || {
            let centred = x.clone() - x.clone().mean_dim(1);
            let scale = (centred.clone().powf_scalar(2.0).mean_dim(1) + 1e-5).sqrt();
            centred / scale * bias.clone().unsqueeze() + bias.clone().unsqueeze()
        };
        group.bench_function(format!("norm-tanh/{at}/fused"), |b| {
            b.iter(|| finish(layer_norm(x.clone(), bias.clone(), bias.clone(), NormActivation::Tanh)))
        });
        group.bench_function(format!("norm-tanh/{at}/tensors"), |b| b.iter(|| finish(normalised().tanh())));
        group.bench_function(format!("norm-mish/{at}/fused"), |b| {
            b.iter(|| finish(layer_norm(x.clone(), bias.clone(), bias.clone(), NormActivation::Mish)))
        });
        group.bench_function(format!("norm-mish/{at}/tensors"), |b| {
            b.iter(|| finish(activation::mish(normalised())))
        });
        group
            .bench_function(format!("simnorm/{at}/fused"), |b| b.iter(|| finish(sim_norm(x.clone(), GROUP))));
        group.bench_function(format!("simnorm/{at}/tensors"), |b| {
            b.iter(|| {
                let groups = x.clone().reshape([ROWS * WIDTH / GROUP, GROUP]);
                finish(activation::softmax(groups, 1).reshape([ROWS, WIDTH]))
            })
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = unroll, layers
}

fn main() {
    device::keep_freed_memory();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
