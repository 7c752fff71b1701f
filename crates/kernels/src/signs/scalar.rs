//! No instruction set in particular.

use super::{Ask, BLOCK_ROWS, Blocks, Near, fill_table, finish};

/// See [`super::Kernel`]; nothing is asked of the processor.
pub(super) unsafe fn block(ask: &Ask, blocks: &Blocks, near: &mut Near) -> usize {
    let (block, mut sums) = (blocks.now, [0u32; BLOCK_ROWS]);
    for (table, codes) in ask.table.as_chunks::<16>().0.iter().zip(block.as_chunks::<16>().0) {
        for (row, sum) in sums.iter_mut().enumerate() {
            let byte = codes[2 * (row % 8) + row / 8 % 2];
            *sum += u32::from(table[usize::from(byte >> (4 * (row / 16)) & 15)]);
        }
    }
    finish(ask, &sums.map(|sum| sum as f32), block, near)
}

/// See [`super::Fill`]; nothing is asked of the processor.
pub(super) unsafe fn fill(fours: &[[f32; 4]], scale: f32, table: &mut [[u8; 16]]) {
    fill_table(fours, scale, table);
}
