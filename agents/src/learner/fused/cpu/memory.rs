//! The array of a program, which many threads work on.

use std::marker::PhantomData;

/// Numbers that are read and written in many places at once.
///
/// What one order of a launch writes no other order of it reads or writes, nor does an item of its work what another one does: that is what
/// makes them a launch, on a GPU as well.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    at: *mut f32,
    len: usize,
    _of: PhantomData<&'a mut [f32]>,
}

// SAFETY: places are borrowed as the type says, whoever borrows them.
unsafe impl Send for Memory<'_> {}
// SAFETY: as above.
unsafe impl Sync for Memory<'_> {}

impl<'a> Memory<'a> {
    pub fn new(numbers: &'a mut [f32]) -> Self {
        Self { at: numbers.as_mut_ptr(), len: numbers.len(), _of: PhantomData }
    }

    /// Numbers from `at` on.
    ///
    /// # Panics
    /// If they are not in the array.
    #[inline(always)]
    pub fn read(self, at: i32, count: usize) -> &'a [f32] {
        let at = at as usize;
        assert!(at + count <= self.len, "an order leaves the array");
        // SAFETY: inside the array, as just asserted; nobody writes there meanwhile, as the type says.
        unsafe { std::slice::from_raw_parts(self.at.add(at), count) }
    }

    /// The same, to be written.
    ///
    /// # Panics
    /// If they are not in the array.
    #[inline(always)]
    pub fn write(self, at: i32, count: usize) -> &'a mut [f32] {
        let at = at as usize;
        assert!(at + count <= self.len, "an order leaves the array");
        // SAFETY: inside the array, as just asserted; nobody else uses these numbers meanwhile, as the type says.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(at), count) }
    }
}
