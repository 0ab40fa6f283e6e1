//! Small helpers for kernels on the flex (CPU) backend.

use burn_flex::FlexTensor;

/// Elements per parallel work item of element-wise kernels (128 kB of f32: fits the L2 cache).
pub(super) const BLOCK: usize = 1 << 15;

/// Row-major and starting at the first element of its storage, so that kernels may index it flat.
pub(super) fn contiguous(t: FlexTensor) -> FlexTensor {
    if t.is_contiguous() && t.layout().start_offset() == 0 { t } else { t.to_contiguous() }
}
