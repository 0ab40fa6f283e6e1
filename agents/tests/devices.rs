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
        Err(error) => without_gpu(error),
    }
}

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
