//! Row gradients of tables of which few rows are read, against dense gradients.

use crate::close::{EXACT, assert_close, eps};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{Gradients, Tensor};

const ROWS: usize = 40_000;
const WIDTH: usize = 2;

/// Two index_selects of a table, with repeats within and between them, and factors of their rows.
struct Readings<B: Backend> {
    table: Tensor<B>,
    index: [Tensor<B>; 2],
    factors: [Tensor<B>; 2],
}

impl<B: Backend> Readings<B> {
    fn new(on: &On<B>) -> Self {
        // Integers: sums are exact in any order.
        let ends = Tensor::new([0, ROWS as i32 - 1, 0], &on.device);
        let some = |n: usize| Tensor::cat(&[on.ints(0, 20, [n]), on.ints(0, ROWS as i32, [n]), ends.clone()], 0);
        let index = [some(40), some(25)];
        let factors = index.each_ref().map(|index| on.whole(-9, 10, [index.numel(), WIDTH]));
        Readings { table: on.uniform(-1.0, 1.0, [ROWS, WIDTH]).requires_grad(), index, factors }
    }

    fn loss(&self, reading: usize) -> Tensor<B> {
        (self.table.index_select(0, &self.index[reading]) * &self.factors[reading]).sum(..)
    }

    /// The dense gradient of the sum of both.
    fn expected(&self, readings: &[usize]) -> Tensor<B> {
        let zeros = self.table.detach().zeros_like().contiguous();
        readings.iter().fold(zeros, |sum, &at| {
            let index = self.index[at].unsqueeze(1).expand(*self.factors[at].shape());
            sum.scatter_add(0, &index, &self.factors[at])
        })
    }
}

fn same<B: Backend>(what: &str, got: &Tensor<B>, want: &Tensor<B>) {
    assert_close(what, got, want, EXACT);
}

/// The row gradient of the table, made dense afterwards.
fn by_rows<B: Backend>(what: &str, grads: &Gradients<Tensor<B>>, readings: &Readings<B>) -> Tensor<B> {
    assert!(grads.rows(&readings.table).is_some(), "{what}: the gradient is not by rows");
    grads[&readings.table].clone()
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("by_rows", 100_000, |on| {
        let readings = Readings::new(on);
        let grads = readings.loss(0).backward();
        same("one reading", &by_rows("one reading", &grads, &readings), &readings.expected(&[0]));

        // Each index of a row has the row's total.
        let rows = grads.rows(&readings.table).unwrap_or_else(|| unreachable!("asserted above"));
        same("the index", rows.index(), &readings.index[0]);
        same("the totals", &rows.totals(), &readings.expected(&[0]).index_select(0, &readings.index[0]));

        let both = (readings.loss(0) + readings.loss(1)).backward();
        same("two readings", &by_rows("two readings", &both, &readings), &readings.expected(&[0, 1]));
        let mut sum = readings.loss(0).backward();
        sum += readings.loss(1).backward();
        same("accumulated", &by_rows("accumulated", &sum, &readings), &readings.expected(&[0, 1]));
    });
    suite.floats("beside_whole_gradients", 100_000, |on| {
        let readings = Readings::new(on);
        let whole = || (&readings.table * 3.0).sum(..);
        let want = readings.expected(&[0]) + 3.0;
        for (what, loss) in [("rows first", readings.loss(0) + whole()), ("rows last", whole() + readings.loss(0))] {
            let grads = loss.backward();
            assert!(grads.rows(&readings.table).is_none(), "{what}: by rows");
            same(what, &grads[&readings.table], &want);
        }
        let mut sum = whole().backward();
        sum += readings.loss(0).backward();
        same("accumulated", &sum[&readings.table], &want);
        // A table that is not a leaf has a dense gradient.
        let computed = &readings.table * 2.0;
        let loss = (computed.index_select(0, &readings.index[0]) * &readings.factors[0]).sum(..);
        same("computed", &loss.backward()[&readings.table], &(readings.expected(&[0]) * 2.0));
    });
    suite.floats("clipped", 100_000, |on| {
        let readings = Readings::new(on);
        let (grads, want) = (|| readings.loss(0).backward(), readings.expected(&[0]));
        assert_close("norm", &grads().norm(), &want.square().sum(..).sqrt(), eps(64.0));
        let (clipped, _) = grads().clip_norm(1.0);
        let unit = &want / (want.square().sum(..).sqrt() + 1e-6);
        assert_close("clip_norm", &by_rows("clip_norm", &clipped, &readings), &unit, eps(64.0));
        same("clip_value", &by_rows("clip_value", &grads().clip_value(4.0), &readings), &want.clamp(-4.0, 4.0));
        same("scale", &by_rows("scale", &grads().scale(0.5), &readings), &(&want * 0.5));
        same("map", &grads().map(|g| g + 1.0)[&readings.table], &(&want + 1.0));
    });
    suite.floats("many_rows", 100_000, |on| {
        // As many indices as rows, or more: the gradient is dense, also if it becomes so by accumulation.
        for shape in [&[30, 3][..], &[30]] {
            let table = on.uniform(-1.0, 1.0, shape).requires_grad();
            let parts = [20, 15, 70].map(|n| (on.ints(0, 30, [n]), on.whole(-9, 10, table.shape().with(0, n))));
            let loss = |(index, factors): &(Tensor<B>, Tensor<B>)| (table.index_select(0, index) * factors).sum(..);
            let want = |parts: &[(Tensor<B>, Tensor<B>)]| {
                parts.iter().fold(table.detach().zeros_like().contiguous(), |sum, (index, factors)| {
                    let wide = (1..shape.len()).fold(index.clone(), |index, d| index.unsqueeze(d as isize));
                    sum.scatter_add(0, &wide.expand(*factors.shape()), factors)
                })
            };
            let few = loss(&parts[0]).backward();
            assert!(few.rows(&table).is_some_and(|rows| !rows.are_few()));
            assert_close("norm", &few.norm(), &want(&parts[..1]).square().sum(..).sqrt(), eps(64.0));
            same("clipped", &few.clip_value(9.0)[&table], &want(&parts[..1]).clamp(-9.0, 9.0));
            let many = loss(&parts[2]).backward();
            assert!(many.rows(&table).is_none());
            same("many", &many[&table], &want(&parts[2..]));
            let grown = (loss(&parts[0]) + loss(&parts[1])).backward();
            assert!(grown.rows(&table).is_none());
            same("grown", &grown[&table], &want(&parts[..2]));
        }
    });
    suite.floats("not_by_rows", 100_000, |on| {
        // Another dimension, and a recorded gradient.
        let readings = Readings::new(on);
        let columns = on.uniform(-1.0, 1.0, [WIDTH, ROWS]).requires_grad();
        assert!(columns.index_select(1, &readings.index[0]).sum(..).backward().rows(&columns).is_none());
        let loss = readings.table.index_select(0, &readings.index[0]).square().sum(..);
        let [first] = loss.grad([&readings.table]);
        let second = (first.index_select(0, &readings.index[1]) * &readings.factors[1]).sum(..).backward();
        // Twice the number of indices of the row.
        let ones = readings.factors[0].ones_like();
        let counts =
            readings.expected(&[]).scatter_add(0, &readings.index[0].unsqueeze(1).expand(*ones.shape()), &ones);
        same("second derivative", &second[&readings.table], &(readings.expected(&[1]) * counts * 2.0));
    });
}
