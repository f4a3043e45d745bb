//! Lesson 03: a tensor is a storage and a layout.
//!
//! What you learn:
//! - a storage is a flat array of numbers; shape, strides and offset determine which of them is element `[i, j]`;
//! - transposing, slicing and broadcasting change the layout only: they copy nothing and share the storage;
//! - `reshape` is a view where strides can express it, and a copy where they cannot;
//! - two shapes broadcast if, from the last dimension on, sizes are equal or one of them is 1; an error names the sizes
//!   that are not;
//! - the gradient of a value that was broadcast is the sum over its uses.
//!
//! ```text
//! cargo run --release --example course -- 03
//! ```

use crate::args::Pictures;
use crate::backends::{Program, run_on};
use crate::cli::say;
use crate::show::write;
use minitorch::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

pub(crate) fn run(options: Pictures) -> Result<()> {
    run_on(Some(&options.device.backend), Lesson { out: options.out })
}

struct Lesson {
    out: PathBuf,
}

impl Program for Lesson {
    type Output = ();

    fn run<B: Backend>(self, device: &B) -> Result<()> {
        let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device);
        say(&format!("Two rows of three. The last dimension lies side by side:\n\n{}", x.explain()));

        let t = x.t();
        say(&format!("Its transpose is the same storage with the strides exchanged:\n\n{}", t.explain()));
        assert!(t.shares_storage(&x));

        let part = x.slice((.., 1..)); // x[:, 1:]
        say(&format!("A slice starts later in it, and leaves some positions out:\n\n{}", part.explain()));
        assert!(part.shares_storage(&x));

        let row = Tensor::new([10.0, 20.0, 30.0], device);
        let rows = row.expand([2, 3]);
        say(&format!("A broadcast row is one row in memory; a stride of 0 repeats it:\n\n{}", rows.explain()));
        assert!(rows.shares_storage(&row));

        // No strides express the row-major order of the transpose: that reshape has to copy.
        let (view, copy) = (x.reshape([3, 2]), t.reshape([2, 3]));
        assert!(view.shares_storage(&x) && !copy.shares_storage(&x));
        say(&format!(
            "Reshaping x is a view. Reshaping its transpose is a copy, contiguous again:\n\n{}",
            copy.explain()
        ));

        // Element [i, j] by hand: offset + i * strides[0] + j * strides[1].
        let (layout, storage) = (*part.layout(), x.to_vec::<f32>()?);
        let position = layout.offset() + layout.strides()[0] + layout.strides()[1];
        say(&format!("Element [1, 1] of the slice lies at position {position}: {}\n", storage[position]));
        assert_eq!(part.slice((1, 1)).item()?, storage[position] as f64);

        let sum = &x + &row;
        say(&format!("[2, 3] + [3] adds the row to every row:\n{sum}\n"));
        say(&format!("[2, 3] + [2] does not fit:\n\n{}\n", message(|| drop(&x + Tensor::new([1.0, 2.0], device)))));

        // Backward through a broadcast: the row was used twice, so its gradient is the sum of two rows.
        let bias = row.requires_grad();
        let grads = (&x * &bias).sum(..).backward();
        say(&format!("The gradient of sum(x * row) in the row is the sum of x's rows: {}", grads[&bias]));
        assert_eq!(grads[&bias].to_vec::<f32>()?, [5.0, 7.0, 9.0]);

        write(&self.out.join("03-transpose.svg"), &t.explain().to_svg())?;
        write(&self.out.join("03-slice.svg"), &part.explain().to_svg())
    }
}

/// The panic message of a function.
fn message(f: impl FnOnce()) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ())); // the message is printed here
    let result = catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    match result {
        Ok(()) => "it did".into(),
        Err(payload) => payload.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}
