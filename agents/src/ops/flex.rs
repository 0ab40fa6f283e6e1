//! Small helpers for kernels on the flex (CPU) backend.

use burn::backend::Flex;
use burn::prelude::*;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements per parallel work item of element-wise kernels (128 kB of f32: fits the L2 cache).
pub(super) const BLOCK: usize = 1 << 15;

/// Row-major and starting at the first element of its storage, so that kernels may index it flat.
pub(super) fn contiguous(t: FlexTensor) -> FlexTensor {
    if t.is_contiguous() && t.layout().start_offset() == 0 { t } else { t.to_contiguous() }
}

/// The numbers of a tensor on the CPU device without gradients, row-major from the start of the storage.
///
/// # Panics
/// On any other device: callers have checked with [`crate::device::is_plain_flex`].
pub(crate) fn contiguous_flex<const D: usize>(t: Tensor<D>) -> FlexTensor {
    contiguous(t.try_into_primitive::<Flex>().expect("a tensor on flex, without gradients"))
}

/// A row-major `[rows, columns]` tensor made of blocks of rows, in parallel; `fill` must initialise its whole block.
pub(super) fn by_rows(
    rows: usize,
    columns: usize,
    block: usize,
    fill: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync,
) -> FlexTensor {
    let mut out: Vec<f32> = Vec::with_capacity(rows * columns);
    out.spare_capacity_mut()[..rows * columns]
        .par_chunks_mut((block * columns).max(1))
        .enumerate()
        .for_each(|(i, chunk)| fill(i * block, chunk));
    // SAFETY: `fill` initialised every block, and the blocks are all of it.
    unsafe { out.set_len(rows * columns) };
    FlexTensor::from_data(TensorData::new(out, [rows, columns]))
}

/// The same for two tensors of as many rows, neither of them empty; also what `fill` returned for every block, in order.
pub(super) fn by_rows_of_two<R: Send>(
    rows: usize,
    columns: [usize; 2],
    block: usize,
    fill: impl Fn(usize, &mut [MaybeUninit<f32>], &mut [MaybeUninit<f32>]) -> R + Sync,
) -> ([FlexTensor; 2], Vec<R>) {
    assert!(
        columns.iter().all(|&columns| columns > 0),
        "rows without numbers would leave the others unfilled"
    );
    let mut out = columns.map(|columns| Vec::<f32>::with_capacity(rows * columns));
    let [first, second] = out.each_mut().map(|out| out.spare_capacity_mut());
    let results = (first[..rows * columns[0]].par_chunks_mut(block * columns[0]))
        .zip(second[..rows * columns[1]].par_chunks_mut(block * columns[1]))
        .enumerate()
        .map(|(i, (first, second))| fill(i * block, first, second))
        .collect();
    let tensors = [0, 1].map(|i| {
        let (mut out, columns) = (std::mem::take(&mut out[i]), columns[i]);
        // SAFETY: `fill` initialised every block, and the blocks are all of it.
        unsafe { out.set_len(rows * columns) };
        FlexTensor::from_data(TensorData::new(out, [rows, columns]))
    });
    (tensors, results)
}

/// Sizes of a matrix.
pub(super) fn sizes(t: &FlexTensor) -> [usize; 2] {
    let shape = t.layout().shape();
    [shape[0], shape[1]]
}
