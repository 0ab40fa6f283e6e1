//! Products of row-major matrices and their transposes, by the library that burn multiplies with.

use std::mem::MaybeUninit;

/// A row-major matrix, or its transpose, in memory.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    pub fn new(numbers: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(numbers.len() >= rows * columns);
        Self { numbers, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Columns `first .. first + count`.
    pub fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns);
        Self { numbers: &self.numbers[first * self.column_stride..], columns: count, ..self }
    }

    /// Rows and columns.
    pub fn sizes(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Its rows one after another as they lie in memory, or as an error its columns.
    pub fn rows_in_memory(&self) -> Result<&'a [f32], &'a [f32]> {
        let numbers = &self.numbers[..self.rows * self.columns];
        if self.column_stride == 1 { Ok(numbers) } else { Err(numbers) }
    }

    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Writes a·b, row-major, over `out` and returns it initialised.
pub(super) fn multiply<'a>(a: Matrix, b: Matrix, out: &'a mut [MaybeUninit<f32>]) -> &'a mut [f32] {
    // SAFETY: `out` is borrowed mutably; without `add` it is not read, and all of it is written.
    unsafe {
        product(a, b, out.as_mut_ptr().cast(), out.len(), false);
        out.assume_init_mut()
    }
}

/// Adds a·b, row-major, to `out`.
pub(super) fn multiply_add(a: Matrix, b: Matrix, out: &mut [f32]) {
    // SAFETY: `out` is borrowed mutably and initialised.
    unsafe { product(a, b, out.as_mut_ptr(), out.len(), true) }
}

/// Writes a·b, row-major, over the `length` numbers at `out`, or adds it to them.
///
/// # Safety
/// `out` must be valid for writing `length` numbers, with `add` also for reading them, and overlap neither input.
unsafe fn product(a: Matrix, b: Matrix, out: *mut f32, length: usize, add: bool) {
    assert!(a.columns == b.rows && length == a.rows * b.columns);
    // SAFETY: every element addressed lies inside its slice, by the assertions here and in `Matrix::new`, or in `out`,
    // by the caller's promise. gemm reads `out` if `read_dst` is true, and writes all of it.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            b.columns as isize,
            add,
            a.numbers.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.numbers.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if add { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
