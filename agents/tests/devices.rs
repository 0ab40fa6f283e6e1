//! One suite for every device: the same weights and the same noise must give the decisions and the learning of `flex`.
//!
//! `cargo test --release -p td-koopman-agents --features ndarray --test devices` (or `--features cuda`, on a machine
//! with a GPU; without one the CUDA test says so and checks that the device is refused).

#[cfg(any(feature = "ndarray", feature = "cuda"))]
mod suite;

/// Tests of one device: operations, then every dynamics by itself, because a GPU compiles kernels for each.
#[cfg(any(feature = "ndarray", feature = "cuda"))]
macro_rules! agree_with_flex {
    ($on:expr, $operations:ident, $($name:ident: $dynamics:ident),*) => {
        #[test]
        fn $operations() {
            $on(suite::operations_agree_with_flex);
        }
        $(#[test]
        fn $name() {
            let dynamics = td_koopman_agents::config::DynamicsKind::$dynamics;
            $on(|device, tolerance| suite::lives_agree_with_flex(dynamics, device, tolerance));
        })*
    };
}

#[cfg(feature = "ndarray")]
fn on_ndarray(check: impl Fn(&td_koopman_agents::device::Device, f32)) {
    check(&td_koopman_agents::device::open("ndarray").unwrap(), 1e-4);
}

#[cfg(feature = "ndarray")]
agree_with_flex!(
    on_ndarray,
    ndarray_operations_agree_with_flex,
    ndarray_agrees_on_koopman: Koopman,
    ndarray_agrees_on_mlp: Mlp,
    ndarray_agrees_on_gru: Gru,
    ndarray_agrees_on_transformer: Transformer,
    ndarray_agrees_on_dssm: Dssm
);

#[cfg(feature = "cuda")]
fn on_cuda(check: impl Fn(&td_koopman_agents::device::Device, f32)) {
    match td_koopman_agents::device::open("cuda") {
        // matrix products may run in TF32 there
        Ok(device) => check(&device, 2e-2),
        Err(error) => without_gpu(error),
    }
}

#[cfg(feature = "cuda")]
agree_with_flex!(
    on_cuda,
    cuda_operations_agree_with_flex,
    cuda_agrees_on_koopman: Koopman,
    cuda_agrees_on_mlp: Mlp,
    cuda_agrees_on_gru: Gru,
    cuda_agrees_on_transformer: Transformer,
    cuda_agrees_on_dssm: Dssm
);

/// Whole plans have kernels of their own there.
#[cfg(feature = "cuda")]
#[test]
fn cuda_plans_agree_with_flex() {
    match td_koopman_agents::device::open("cuda") {
        Ok(device) => {
            suite::plans::agree_with_flex(&device);
            suite::plans::repeat_and_do_not_depend_on_the_batch(&device);
            suite::plans::draw_what_they_say(&device);
        }
        Err(error) => without_gpu(error),
    }
}

/// Updates as well.
#[cfg(feature = "cuda")]
#[test]
fn cuda_updates_agree_with_flex() {
    match td_koopman_agents::device::open("cuda") {
        Ok(device) => {
            suite::updates::repeat_and_resume(&device);
            suite::updates::agree_with_flex(&device);
        }
        Err(error) => without_gpu(error),
    }
}

#[cfg(feature = "cuda")]
fn without_gpu(error: td_koopman_agents::device::DeviceError) {
    println!("no CUDA device, kernels were compiled and not run: {error}");
    assert!(error.to_string().contains("0 CUDA device(s)"));
}
