//! The array of a program, which many threads work on.

use std::marker::PhantomData;
use std::ops::Range;

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

/// The rows that an order is about: all, or those of a list (how many, then which, ascending), whose gradients lie one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Listed<'a>(Option<&'a [i32]>);

impl<'a> Listed<'a> {
    /// Of a list at `at`; all rows if that is negative.
    pub fn new(m: Memory<'a>, at: i32) -> Self {
        let integers = |at, count| bytemuck::cast_slice::<f32, i32>(m.read(at, count));
        Self((at >= 0).then(|| integers(at + 1, integers(at, 1)[0] as usize)))
    }

    /// Where gradients of some of all rows lie.
    pub fn within(self, rows: Range<usize>) -> Range<usize> {
        match self.0 {
            None => rows,
            Some(list) => {
                let before = |end: usize| list.partition_point(|row| (*row as usize) < end);
                before(rows.start)..before(rows.end)
            }
        }
    }

    /// Which row the gradient at `row` is of.
    #[inline(always)]
    pub fn of(self, row: i32) -> i32 {
        self.0.map_or(row, |list| list[row as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_all_rows_are_parts_of_a_list() {
        let mut numbers: Vec<f32> = [3, 1, 4, 5].map(f32::from_bits).to_vec();
        let m = Memory::new(&mut numbers);
        let (all, listed) = (Listed::new(m, -1), Listed::new(m, 0));
        assert_eq!((all.within(2..5), all.of(4)), (2..5, 4));
        assert_eq!([0..2, 2..5, 5..9, 6..9].map(|rows| listed.within(rows)), [0..1, 1..2, 2..3, 3..3]);
        assert_eq!([0, 1, 2].map(|row| listed.of(row)), [1, 4, 5]);
    }
}
