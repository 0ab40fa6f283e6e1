//! Kernels written as text on burn's tensors: its runtime compiles and launches them in the order of everything else.

use super::{Form, KERNELS};
use crate::cuda::ARITHMETIC;
use burn::tensor::{DType, Shape};
use burn_cubecl::{ops::numeric::empty_device_contiguous_dtype, tensor::CubeTensor};
use cubecl::cuda::CudaCompiler;
use cubecl::ir::{ElemType, UIntKind, attributes::BufferIOAttr, metadata::Info};
use cubecl::{Compiler, CubeKernel, PrecompiledSource, prelude::*, server::KernelArguments};

#[derive(Clone, Copy)]
struct Kernel {
    name: &'static str,
    form: Form,
    threads: u32,
}

impl Kernel {
    fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.threads)
    }
}

impl KernelMetadata for Kernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info((self.name, self.form)).cube_dim(self.dim().0)
    }

    fn address_type(&self) -> ElemType {
        UIntKind::U32.into()
    }
}

impl CubeKernel for Kernel {
    /// Without a body: the text stands in for what would be compiled.
    fn define(&self) -> KernelDefinition {
        let settings = KernelSettings::new(self.dim().0, ExecutionMode::Checked, AddressType::U32);
        KernelDefinition { body: Scope::root(settings.clone()), settings, info: Info::default() }
    }

    fn source(&self) -> Option<PrecompiledSource> {
        // one text for every kernel, but for its name: texts that are equal would be taken for one kernel
        let source = format!("// {}\n{}{ARITHMETIC}{KERNELS}", self.name, self.form.header());
        // what its runtime compiles, which is not its file extension
        let lang = CudaCompiler::default().lang_tag();
        Some(PrecompiledSource { source, entrypoint_name: self.name.into(), lang })
    }
}

/// Runs a kernel with a block a row on contiguous tensors, in the order of its arguments: those that it reads, then those
/// that it writes.
///
/// # Panics
/// If one of them is not f32.
pub(super) fn launch(
    name: &'static str,
    form: Form,
    rows: usize,
    threads: usize,
    reads: &[&CubeTensor],
    writes: &[&CubeTensor],
) {
    // a launch that fails takes what it would have written with it; without this that were the parameters, too
    let reads = reads.iter().map(|t| (t, BufferIOAttr::ReadOnly));
    let tensors = reads.chain(writes.iter().map(|t| (t, BufferIOAttr::WriteOnly)));
    let arguments = tensors.fold(KernelArguments::new(), |arguments, (t, use_of)| {
        assert!(t.dtype == DType::F32 && t.is_contiguous(), "{name} takes rows of f32");
        arguments.with_buffer_io(t.handle.clone().binding(), use_of)
    });
    if rows == 0 {
        return;
    }
    // whole warps, of which a row has no more than it has use for
    let threads = threads.clamp(1, 256).next_multiple_of(32) as u32;
    let kernel = Kernel { name, form, threads };
    writes[0].client.launch(Box::new(kernel), CubeCount::Static(rows as u32, 1, 1), arguments);
}

/// Room on the same device.
pub(super) fn empty<const D: usize>(beside: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    empty_device_contiguous_dtype(
        beside.client.clone(),
        beside.device.clone(),
        Shape::new(shape),
        beside.dtype,
    )
}
