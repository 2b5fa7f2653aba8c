// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Property values as 32-bit cells and as strings (Devicetree Specification, 2.2.4).

use core::ffi::CStr;

/// The cells of a property, taken from the front.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'t>(&'t [u8]);

impl<'t> Cells<'t> {
    /// The cells in `bytes`; what is left of a last incomplete cell is ignored.
    #[must_use]
    pub const fn new(bytes: &'t [u8]) -> Self {
        Self(bytes)
    }

    /// How many whole cells are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether no whole cell is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.len() < 4
    }

    /// Whether the value has no incomplete cell at its end.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.0.len().is_multiple_of(4)
    }

    /// Takes a number of `cells` cells, 0 to 2; `None` if so many are not left or it is wider.
    pub fn take_number(&mut self, cells: u32) -> Option<u64> {
        match cells {
            0 => Some(0),
            1 => self.next().map(u64::from),
            2 => {
                let (head, rest) = self.0.split_first_chunk::<8>()?;
                self.0 = rest;
                Some(u64::from_be_bytes(*head))
            }
            _ => None,
        }
    }

    /// Entries of `N` numbers, so many cells wide each, behind `skip` cells to leave out. They end where none is left
    /// whole, where a number is wider than two cells, and where none takes any cells.
    pub fn entries<const N: usize>(
        mut self,
        skip: u32,
        widths: [u32; N],
    ) -> impl Iterator<Item = [u64; N]> + use<'t, N> {
        core::iter::from_fn(move || {
            let left = self.0.len();
            self.skip_cells(skip)?;
            let mut entry = [0; N];
            for (number, width) in entry.iter_mut().zip(widths) {
                *number = self.take_number(width)?;
            }
            (self.0.len() < left).then_some(entry)
        })
    }

    /// Leaves out `cells` cells.
    pub fn skip_cells(&mut self, cells: u32) -> Option<()> {
        let bytes = usize::try_from(cells).ok()?.checked_mul(4)?;
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    /// The value if it is exactly one cell.
    #[must_use]
    pub fn u32(&self) -> Option<u32> {
        self.0.try_into().ok().map(u32::from_be_bytes)
    }

    /// The value if it is exactly one number, of one cell or of two.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.u32().map(u64::from).or_else(|| self.0.try_into().ok().map(u64::from_be_bytes))
    }
}

impl Iterator for Cells<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*head))
    }
}

/// The strings of a property. Ends early where one has no NUL or is not UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'t>(&'t [u8]);

impl<'t> Strings<'t> {
    /// The strings in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'t [u8]) -> Self {
        Self(bytes)
    }
}

impl<'t> Iterator for Strings<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let string = CStr::from_bytes_until_nul(self.0).ok()?;
        self.0 = self.0.get(string.count_bytes().checked_add(1)?..)?;
        string.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn numbers_of_every_width_are_taken() {
        let mut cells = Cells::new(&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9]);
        assert!(!cells.is_whole());
        assert_eq!(cells.take_number(2), Some(0x1_0000_0002));
        assert_eq!(cells.take_number(3), None);
        assert_eq!(cells.take_number(0), Some(0));
        assert_eq!(cells.take_number(1), Some(3));
        assert_eq!(cells.take_number(1), None);
    }

    #[test]
    fn entries_end_with_the_last_whole_one() {
        let bytes: Vec<u8> = (1..=5_u32).flat_map(u32::to_be_bytes).collect();
        let entries = |skip, widths| Cells::new(&bytes).entries(skip, widths).collect::<Vec<_>>();
        assert_eq!(entries(0, [1, 1]), [[1, 2], [3, 4]]);
        assert_eq!(entries(0, [0, 2]), [[0, 0x1_0000_0002], [0, 0x3_0000_0004]]);
        assert_eq!(entries(3, [1, 1]), [[4, 5]]);
        assert_eq!(entries(0, [3, 1]), [[0; 2]; 0]);
        assert_eq!(entries(0, [0, 0]), [[0; 2]; 0]);
    }

    #[test]
    fn a_list_of_strings_ends_at_the_first_bad_one() {
        assert_eq!(Strings::new(b"a\0\0bc\0d").collect::<Vec<_>>(), ["a", "", "bc"]);
        assert_eq!(Strings::new(b"\xff\0a\0").next(), None);
    }
}
