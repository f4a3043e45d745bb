//! The loops around the micro-kernel: packed A times B into a block of C, on one thread.
//!
//! ```text
//! B packed:    for each kc { for each mr rows of A { for each nr columns of B { micro-kernel } } }
//! B in place:  for each kc { for each mc rows of A { for each nr columns of B { for each mr rows of A { micro-kernel } } } }
//! ```
//! With B packed, a panel of A (18 KiB at most) stays in L1 while the panels of B stream from L2. With B in place, `nr` columns
//! of B stay in L1 instead and A streams ([`OperandB::STREAMS_B`]): rows of B that are not contiguous touch more cache lines than
//! they fill, which also makes `kc` shorter.
//!
//! Invariant: every element of C is the sum over blocks of k, in order; the sum of a block is a chain of multiply-adds in order
//! of k that starts at zero. It does not depend on the block or tile of C that the element is in, hence not on the number of
//! threads.

use super::blocking::{Tile, kc, kc_in_place, mc};
use super::micro::{Init, nr, store};
use super::operand_b::OperandB;
use super::output::Output;
use super::pack::Panels;
use crate::kernels::Float;
use crate::simd::{Isa, Kernel, Level};

/// `C = init + A B`
pub fn multiply<T: Float>(level: Level, a: Panels<T>, b: impl OperandB<T>, out: &mut Output<T>, init: Init<T>) {
    multiply_by_rows(level, a, b, out, init, mc::<T>());
}

/// [`multiply`] with blocks of `mc` rows, a multiple of every `mr`.
pub(super) fn multiply_by_rows<T: Float>(
    level: Level,
    a: Panels<T>,
    b: impl OperandB<T>,
    out: &mut Output<T>,
    init: Init<T>,
    mc: usize,
) {
    assert_eq!(a.k(), b.k(), "k of the two operands");
    let tile = Tile::of::<T>(level);
    assert_eq!(a.parts().1, tile.mr, "width of A's panels");
    b.check(out.columns().next_multiple_of(tile.nr));
    level.dispatch(Multiply { a, b, out, init, mc });
}

struct Multiply<'a, 'b, T, B> {
    a: Panels<'a, T>,
    b: B,
    out: &'a mut Output<'b, T>,
    init: Init<'a, T>,
    mc: usize,
}

impl<T: Float, B: OperandB<T>> Kernel for Multiply<'_, '_, T, B> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        // `mr` as in `Tile::of`, and two smaller tiles for the last rows of sizes that are powers of two.
        match I::VECTOR_BYTES {
            64 => self.blocks::<I, 12, 8, 4>(isa),
            32 => self.blocks::<I, 6, 4, 2>(isa),
            _ => self.blocks::<I, 4, 2, 1>(isa),
        }
    }
}

impl<T: Float, B: OperandB<T>> Multiply<'_, '_, T, B> {
    #[inline(always)]
    fn blocks<I: Isa, const MR: usize, const FEW: usize, const LEAST: usize>(self, isa: I) {
        let Multiply { a, b, out, init, mc } = self;
        let (rows, columns, k) = (out.rows(), out.columns(), a.k());
        let step = if B::STREAMS_B { kc::<T>(k) } else { kc_in_place::<T>(k) };
        // One iteration even for k = 0: C is then its initial value.
        for first_k in (0..k.max(1)).step_by(step) {
            let range = first_k..k.min(first_k + step);
            let (a, b) = (a.k_range(range.clone()), b.k_range(range));
            let init = if first_k == 0 { init } else { Init::Accumulate };
            if B::STREAMS_B {
                for row in (0..rows).step_by(MR) {
                    for column in (0..columns).step_by(nr::<T, I>()) {
                        tile::<T, I, B, MR, FEW, LEAST>(isa, a, b, out, init, [row, rows], column);
                    }
                }
                continue;
            }
            for first_row in (0..rows).step_by(mc) {
                let last_row = rows.min(first_row + mc);
                for column in (0..columns).step_by(nr::<T, I>()) {
                    for row in (first_row..last_row).step_by(MR) {
                        tile::<T, I, B, MR, FEW, LEAST>(isa, a, b, out, init, [row, last_row], column);
                    }
                }
            }
        }
    }
}

/// One tile: `MR` rows, or `FEW` or `LEAST` if no more remain.
#[inline(always)]
fn tile<T: Float, I: Isa, B: OperandB<T>, const MR: usize, const FEW: usize, const LEAST: usize>(
    isa: I,
    a: Panels<T>,
    b: B,
    out: &mut Output<T>,
    init: Init<T>,
    [row, last_row]: [usize; 2],
    column: usize,
) {
    let (a, _) = a.panel(row / MR).as_chunks::<MR>();
    let rows = last_row - row;
    if rows > FEW {
        // SAFETY: `multiply_by_rows` has checked all columns, the last tile's included.
        let tile = unsafe { b.micro_kernel::<I, MR, MR>(isa, a, column) };
        store::<T, I, _>(isa, &tile, row, column, out, init);
    } else if rows > LEAST {
        // SAFETY: as above.
        let tile = unsafe { b.micro_kernel::<I, FEW, MR>(isa, a, column) };
        store::<T, I, _>(isa, &tile, row, column, out, init);
    } else {
        // SAFETY: as above.
        let tile = unsafe { b.micro_kernel::<I, LEAST, MR>(isa, a, column) };
        store::<T, I, _>(isa, &tile, row, column, out, init);
    }
}
