//! Choosing the device the tensors live on, refusing cleanly, and keeping freed memory.

use crate::config::Precision;
use burn::backend::DispatchDevice;
pub use burn::tensor::Device;
use thiserror::Error;

/// A device that cannot be used, in one sentence.
#[derive(Debug, Error, PartialEq)]
pub enum DeviceError {
    /// Not a device name.
    #[error("unknown device `{0}`: use `flex` (CPU), `ndarray` (CPU) or `cuda[:index]`")]
    Unknown(String),
    /// Known, but left out of this binary.
    #[error("device `{name}` is not part of this binary: rebuild with `--features {feature}`")]
    NotBuilt {
        /// The device asked for.
        name: String,
        /// The cargo feature that adds it.
        feature: &'static str,
    },
    /// Built in, but the machine has none.
    #[error("device `cuda:{index}` is not there: this machine shows {found} CUDA device(s); use `flex`")]
    Absent {
        /// The index asked for.
        index: usize,
        /// How many were found.
        found: usize,
    },
    /// Nothing here multiplies such numbers.
    #[error(
        "precision \"bf16\" needs the device `flex` on a processor with AVX-512 BF16, for plans `cuda` will do; use `--set planner.precision=f32 --set learner.precision=f32`"
    )]
    Bf16,
}

/// The default CPU device.
pub fn cpu() -> Device {
    Device::flex()
}

/// Opens `flex` (alias `cpu`), `ndarray`, `cuda` or `cuda:<index>`.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    match name {
        "flex" | "cpu" => Ok(cpu()),
        "ndarray" => ndarray(),
        "cuda" => cuda(0),
        other => match other.strip_prefix("cuda:").and_then(|index| index.parse().ok()) {
            Some(index) => cuda(index),
            None => Err(DeviceError::Unknown(other.into())),
        },
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // burn means to drop it; it stays selectable as a second CPU opinion
fn ndarray() -> Result<Device, DeviceError> {
    Ok(Device::ndarray())
}

#[cfg(not(feature = "ndarray"))]
fn ndarray() -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { name: "ndarray".into(), feature: "ndarray" })
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, DeviceError> {
    // using an absent device panics on a runtime thread: always enumerate first
    let found = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len();
    if index < found { Ok(Device::cuda(index)) } else { Err(DeviceError::Absent { index, found }) }
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { name: format!("cuda:{index}"), feature: "cuda" })
}

/// Steps of candidate sequences that a plan scores together. Each needs a few activations of the widest layer in
/// flight: on a CPU 32 MB of each at width 512, and more would gain nothing; on a GPU 2 GB, so that kernels are few.
pub fn steps_at_once(device: &Device) -> usize {
    if is_cpu(device) { 1 << 14 } else { 1 << 20 }
}

/// Which CUDA device it is, without autodiff; `None` if it is another.
#[cfg(feature = "cuda")]
pub(crate) fn cuda_index(device: &Device) -> Option<usize> {
    match device.as_dispatch() {
        DispatchDevice::Cube(burn_cubecl::CubeDevice::Cuda(device)) => Some(device.index),
        _ => None,
    }
}

/// Whether it computes on a CPU.
pub(crate) fn is_cpu(device: &Device) -> bool {
    match device.as_dispatch() {
        #[cfg(feature = "cuda")]
        DispatchDevice::Cube(_) => false,
        _ => true,
    }
}

/// The CPU device `flex`, with or without autodiff: the one our element-wise kernels are written for.
pub(crate) fn is_flex(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(inner) => matches!(**inner, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns)]
        _ => false,
    }
}

/// Whether our fused operations have kernels for it, with or without autodiff; elsewhere they are plain tensors.
pub(crate) fn has_kernels(device: &Device) -> bool {
    match device.as_dispatch() {
        #[cfg(feature = "cuda")]
        DispatchDevice::Cube(_) => true,
        #[cfg(feature = "cuda")]
        DispatchDevice::Autodiff(inner) if matches!(**inner, DispatchDevice::Cube(_)) => true,
        _ => is_flex(device),
    }
}

/// The CPU device `flex` without autodiff: where planning takes place.
pub(crate) fn is_plain_flex(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// Those of plans.
    Plans(Precision),
    /// Those of updates.
    Updates(Precision),
}

/// Opens a device that does all such products.
pub fn open_for(name: &str, products: &[Products]) -> Result<Device, DeviceError> {
    let device = open(name)?;
    products.iter().try_for_each(|&products| multiplies(products, &device)).map(|()| device)
}

/// Whether `device` does such products.
pub fn multiplies(products: Products, device: &Device) -> Result<(), DeviceError> {
    let can = match products {
        Products::Plans(Precision::F32) | Products::Updates(Precision::F32) => true,
        Products::Plans(Precision::Bf16) if !is_cpu(device) => true,
        Products::Plans(Precision::Bf16) | Products::Updates(Precision::Bf16) => {
            is_flex(device) && multiplies_bf16()
        }
    };
    if can { Ok(()) } else { Err(DeviceError::Bf16) }
}

/// Whether this processor multiplies bfloat16.
#[cfg(target_arch = "x86_64")]
pub(crate) fn multiplies_bf16() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// No other processor is made use of.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn multiplies_bf16() -> bool {
    false
}

/// Makes glibc keep freed memory instead of returning it: every burn operation on the CPU allocates its output,
/// and above the mmap threshold that means page faults for every tensor. Measured: 1.4× on large products,
/// 1.9× on planning. Call first thing in `main`, before any thread starts; a no-op elsewhere.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const M_TRIM_THRESHOLD: i32 = -1;
        const M_TOP_PAD: i32 = -2;
        const M_MMAP_THRESHOLD: i32 = -3;
        const M_ARENA_MAX: i32 = -8;
        // SAFETY: plain libc calls with documented parameters, before any thread is started. A refusal (older
        // glibc caps the threshold) returns 0 and changes nothing.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, i32::MAX);
            mallopt(M_TRIM_THRESHOLD, i32::MAX);
            mallopt(M_TOP_PAD, 64 << 20);
            // other threads would get small arenas, where large blocks are mapped and unmapped again
            mallopt(M_ARENA_MAX, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_numbers_are_for_processors_that_multiply_them() {
        let [plans, updates] = [Products::Plans(Precision::F32), Products::Updates(Precision::Bf16)];
        assert_eq!(open_for("flex", &[plans]), Ok(cpu()));
        match open_for("flex", &[plans, updates]) {
            Ok(_) => assert!(multiplies_bf16()),
            Err(e) => assert!(!multiplies_bf16() && e.to_string().contains("planner.precision=f32")),
        }
        #[cfg(feature = "ndarray")]
        assert_eq!(open_for("ndarray", &[updates]), Err(DeviceError::Bf16));
    }

    #[test]
    fn the_cpu_opens_under_both_names() {
        assert_eq!(open("flex").unwrap(), open("cpu").unwrap());
    }

    #[test]
    fn an_unknown_device_is_refused_in_one_sentence() {
        for name in ["tpu", "cuda:x", ""] {
            assert_eq!(open(name).unwrap_err(), DeviceError::Unknown(name.into()));
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_left_out_of_the_binary_names_its_feature() {
        assert!(open("cuda:1").unwrap_err().to_string().contains("--features cuda"));
    }
}
