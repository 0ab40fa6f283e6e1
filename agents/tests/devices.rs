//! One suite for every device: the same weights and the same noise must give the decisions and the learning of `flex`.
//!
//! `cargo test --release -p td-koopman-agents --features ndarray --test devices` (or `--features cuda`, on a machine
//! with a GPU; without one the CUDA test says so and checks that the device is refused).

#[cfg(any(feature = "ndarray", feature = "cuda"))]
mod suite;

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_agrees_with_flex() {
    suite::agrees_with_flex(&td_koopman_agents::device::open("ndarray").unwrap(), 1e-4);
}

#[cfg(feature = "cuda")]
#[test]
fn cuda_agrees_with_flex() {
    match td_koopman_agents::device::open("cuda") {
        // matrix products may run in TF32 there
        Ok(device) => suite::agrees_with_flex(&device, 2e-2),
        Err(error) => {
            println!("no CUDA device, kernels were compiled and not run: {error}");
            assert!(error.to_string().contains("0 CUDA device(s)"));
        }
    }
}
