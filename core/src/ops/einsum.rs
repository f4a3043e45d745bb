//! Einstein summation, and matrix products under other names.
//!
//! ```text
//! einsum("bij,bjk->bik", a, b):  fold over the operands, for each pair
//!     sum each operand over the labels that nothing later needs
//!     labels = batch (in both and needed later), rows (a only), columns (b only), inner (in both, summed)
//!     matmul of a as [batch, rows, inner] and b as [batch, inner, columns]; an element-wise product if there is nothing to sum
//! ```

use crate::backend::Backend;
use crate::error::must;
use crate::index::DimSet;
use crate::ops::reduce::{ReduceOp, reduce};
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;

/// The label of a dimension: an ASCII letter, or the number i for the i-th dimension from the right that an ellipsis covers.
type Label = u8;

/// An equation resolved for operands of known shapes.
struct Plan {
    /// Each operand's labels, one per dimension.
    operands: Vec<Vec<Label>>,
    output: Vec<Label>,
    /// The size of each label; operands may have 1 instead, which broadcasts.
    sizes: [usize; 128],
}

/// The label as the user wrote it.
fn name(label: Label) -> String {
    if label.is_ascii_alphabetic() { format!("{:?}", label as char) } else { "of \"...\"".into() }
}

/// The labels of one part of an equation; `ellipsis` says how many dimensions `...` covers.
fn labels(part: &str, ellipsis: impl FnOnce(usize) -> Result<usize, String>) -> Result<Vec<Label>, String> {
    let letters: Vec<char> = part.replacen("...", "", 1).chars().collect();
    if let Some(other) = letters.iter().find(|c| !c.is_ascii_alphabetic()) {
        return Err(format!("{part:?} holds {other:?}, which is neither a letter nor one \"...\""));
    }
    let covered = ellipsis(letters.len())?;
    let mut all: Vec<Label> = letters.into_iter().map(|c| c as Label).collect();
    if let Some(at) = part.find("...") {
        all.splice(at..at, (0..covered as Label).rev());
    }
    Ok(all)
}

impl Plan {
    fn new(equation: &str, shapes: &[Shape]) -> Result<Plan, String> {
        let fail = |why: String| format!("einsum {equation:?}: {why}");
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (&text[..], None),
        };
        let parts: Vec<&str> = left.split(',').collect();
        if parts.len() != shapes.len() {
            return Err(fail(format!("{} operands are named, {} were given", parts.len(), shapes.len())));
        }
        let mut plan = Plan { operands: Vec::new(), output: Vec::new(), sizes: [1; 128] };
        let mut widest = 0; // the most dimensions that an ellipsis covers
        for (i, (part, shape)) in parts.into_iter().zip(shapes).enumerate() {
            let cover = |letters| match shape.len().checked_sub(letters) {
                Some(rest) if rest == 0 || part.contains("...") => Ok(rest),
                _ => Err(format!("{part:?} does not name the dimensions of the shape {shape:?}")),
            };
            let named = labels(part, cover).map_err(|why| fail(format!("operand {i}: {why}")))?;
            for (d, (&label, &size)) in named.iter().zip(shape.iter()).enumerate() {
                widest = if label.is_ascii_alphabetic() { widest } else { widest.max(label as usize + 1) };
                let earlier = named[..d].iter().position(|&l| l == label).map(|at| shape[at]);
                let known = &mut plan.sizes[label as usize];
                if earlier.unwrap_or(size) != size || (*known != 1 && size != 1 && size != *known) {
                    let other = earlier.unwrap_or(*known);
                    return Err(fail(format!(
                        "operand {i} of shape {shape:?}: label {} has size {size} here and {other} before",
                        name(label)
                    )));
                }
                *known = if *known == 1 { size } else { *known };
            }
            plan.operands.push(named);
        }
        let all = plan.operands.concat();
        plan.output = match right {
            Some(right) => labels(right, |_| Ok(widest)).map_err(|why| fail(format!("the output: {why}")))?,
            None => {
                let mut once: Vec<Label> = all.iter().copied().filter(u8::is_ascii_alphabetic).collect();
                once.retain(|l| all.iter().filter(|&other| other == l).count() == 1);
                once.sort(); // capitals first
                (0..widest as Label).rev().chain(once).collect()
            }
        };
        for (d, label) in plan.output.iter().enumerate() {
            if !all.contains(label) {
                return Err(fail(format!("the output's label {} is in no operand", name(*label))));
            }
            if plan.output[..d].contains(label) {
                return Err(fail(format!("the output names label {} twice", name(*label))));
            }
        }
        plan.fits("the output", plan.output.len()).map_err(fail)?;
        Ok(plan)
    }

    fn fits(&self, what: &str, rank: usize) -> Result<(), String> {
        if rank <= MAX_RANK {
            Ok(())
        } else {
            Err(format!("{what} has {rank} dimensions; at most {MAX_RANK} are supported"))
        }
    }
}

/// A tensor whose dimensions have labels, each at most once and of that label's full size.
struct Labelled<B: Backend> {
    x: Tensor<B>,
    labels: Vec<Label>,
}

impl<B: Backend> Labelled<B> {
    /// Repeated labels become the diagonal. A dimension of size 1 that broadcasts is removed, since other operands have its label.
    fn new(x: &Tensor<B>, labels: &[Label], sizes: &[usize; 128]) -> Self {
        let (mut x, mut labels) = (x.clone(), labels.to_vec());
        let mut d = 0;
        while d < labels.len() {
            let label = labels[d];
            if let Some(again) = labels[d + 1..].iter().position(|&l| l == label) {
                let again = d + 1 + again;
                x = x.diagonal(0, d as isize, again as isize); // moves it to the end
                labels.remove(again);
                labels.remove(d);
                labels.push(label);
            } else if x.shape()[d] != sizes[label as usize] {
                x = x.squeeze(d as isize);
                labels.remove(d);
            } else {
                d += 1;
            }
        }
        Labelled { x, labels }
    }

    /// Summed over the labels that are not kept.
    fn summed(self, keep: impl Fn(&Label) -> bool) -> Self {
        let dims: DimSet = (0..self.labels.len()).filter(|&d| !keep(&self.labels[d])).collect();
        if dims.is_empty() {
            return self;
        }
        let x = reduce(ReduceOp::Sum, &self.x, dims, false);
        Labelled { x, labels: self.labels.into_iter().filter(|l| keep(l)).collect() }
    }

    /// The dimensions in the order of these labels, a permutation of all labels.
    fn ordered(&self, labels: &[Label]) -> Tensor<B> {
        let order: DimSet = labels.iter().filter_map(|label| self.labels.iter().position(|l| l == label)).collect();
        if order.iter().enumerate().all(|(d, &from)| d == from) { self.x.clone() } else { self.x.permute_dims(&order) }
    }

    /// One dimension per group of labels; none for the first group if it is empty.
    fn grouped(&self, groups: [&[Label]; 3]) -> Tensor<B> {
        let x = self.ordered(&groups.concat());
        let mut rest = &x.shape()[..];
        let sizes = groups.map(|group| {
            let (these, others) = rest.split_at(group.len());
            rest = others;
            these.iter().product::<usize>()
        });
        if groups[0].is_empty() { x.reshape([sizes[1], sizes[2]]) } else { x.reshape(sizes) }
    }

    /// The product with another operand, summed over the common labels that are not needed later.
    fn times(self, other: Self, needed: impl Fn(&Label) -> bool, plan: &Plan) -> Result<Self, String> {
        let a = self.summed_for(&other, &needed);
        let b = other.summed_for(&a, &needed);
        let shared = |label: &&Label| b.labels.contains(label);
        let (both, rows): (Vec<Label>, Vec<Label>) = a.labels.iter().partition(shared);
        let (batch, inner): (Vec<Label>, Vec<Label>) = both.into_iter().partition(&needed);
        let columns: Vec<Label> = b.labels.iter().copied().filter(|label| !a.labels.contains(label)).collect();
        let labels = [&batch[..], &rows, &columns].concat();
        plan.fits("the product of the first operands", labels.len())?;
        let shape = |labels: &[Label]| -> Shape {
            let sizes: Vec<usize> = labels.iter().map(|&l| plan.sizes[l as usize]).collect();
            Shape::new(&sizes)
        };
        let x = if inner.is_empty() && (rows.is_empty() || columns.is_empty()) {
            // Element-wise, each operand broadcast over the dimensions of the other alone.
            let lone = |mine: &Self, own: &[Label], others: usize| {
                let x = mine.ordered(&[&batch[..], own].concat());
                x.reshape((0..others).fold(*x.shape(), |shape, _| shape.insert(shape.len(), 1)))
            };
            lone(&a, &rows, columns.len()) * lone(&b, &columns, rows.len())
        } else {
            // matmul takes any strides, so grouping copies only where the labels of one group are not adjacent.
            a.grouped([&batch, &rows, &inner]).matmul(&b.grouped([&batch, &inner, &columns])).reshape(shape(&labels))
        };
        Ok(Labelled { x, labels })
    }

    /// Summed over the labels that neither the other operand nor a later step needs.
    fn summed_for(self, other: &Self, needed: impl Fn(&Label) -> bool) -> Self {
        self.summed(|label| needed(label) || other.labels.contains(label))
    }
}

impl<B: Backend> Tensor<B> {
    /// Einstein summation: every letter names a dimension; the result has the letters after `->`, and products are summed over
    /// the others. Operands are multiplied from left to right, a pair with a common summed letter by a matrix product. A letter may
    /// repeat within an operand (its diagonal), `...` covers the dimensions that are not named, and size 1 broadcasts. Without
    /// `->` the result has the dimensions of `...`, then the letters that occur once, in alphabetical order, capitals
    /// first. PyTorch: `einsum`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let a = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &device);
    /// let b = Tensor::new([[5.0, 6.0], [7.0, 8.0]], &device);
    /// assert_eq!(Tensor::einsum("ij,jk->ik", &[&a, &b]).to_vec::<f32>()?, [19.0, 22.0, 43.0, 50.0]);
    /// assert_eq!(Tensor::einsum("ij,ij->i", &[&a, &b]).to_vec::<f32>()?, [17.0, 53.0]);
    /// assert_eq!(Tensor::einsum("ii", &[&a]).item()?, 5.0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the equation is malformed or does not fit the shapes; dtypes or devices differ; several operands are not of a
    /// float dtype; or the result, or the product of the first few operands, has more than [`MAX_RANK`] dimensions.
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[&Self]) -> Self {
        let shapes: Vec<Shape> = operands.iter().map(|x| *x.shape()).collect();
        let plan = must(Plan::new(equation, &shapes));
        for x in operands {
            operands[0].check_same("einsum", x);
            let float = operands.len() == 1 || x.dtype().is_float();
            assert!(float, "einsum {equation:?}: a product wants a float dtype, not {}", x.dtype());
        }
        let mut labelled: std::collections::VecDeque<_> =
            operands.iter().zip(&plan.operands).map(|(x, labels)| Labelled::new(x, labels, &plan.sizes)).collect();
        let Some(mut product) = labelled.pop_front() else { unreachable!("an equation names an operand") };
        while let Some(next) = labelled.pop_front() {
            let needed = |l: &Label| plan.output.contains(l) || labelled.iter().any(|later| later.labels.contains(l));
            product = must(product.times(next, needed, &plan).map_err(|why| format!("einsum {equation:?}: {why}")));
        }
        product.summed(|label| plan.output.contains(label)).ordered(&plan.output)
    }

    /// The inner product of two vectors, of rank 0. PyTorch: `dot`.
    ///
    /// # Panics
    /// If they are not vectors of one size, dtypes or devices differ, or the dtype is not a float.
    #[track_caller]
    pub fn dot(&self, other: &Self) -> Self {
        assert!(
            self.rank() == 1 && self.shape() == other.shape(),
            "dot: wants two vectors of one size, not {:?} and {:?}",
            self.shape(),
            other.shape()
        );
        self.matmul_as("dot", other)
    }

    /// The products of all pairs of elements of two vectors, `[n] x [m] -> [n, m]`. PyTorch: `outer`.
    ///
    /// # Panics
    /// If they are not vectors, dtypes or devices differ, or the dtype is not a float.
    #[track_caller]
    pub fn outer(&self, other: &Self) -> Self {
        assert!(
            self.rank() == 1 && other.rank() == 1,
            "outer: wants two vectors, not {:?} and {:?}",
            self.shape(),
            other.shape()
        );
        // A matrix product, so that the gradients are matrix products too.
        self.unsqueeze(1).matmul_as("outer", &other.unsqueeze(0))
    }

    /// A matrix times a vector, `[n, m] x [m] -> [n]`. PyTorch: `mv`.
    ///
    /// # Panics
    /// If the ranks are not 2 and 1, the sizes do not match, dtypes or devices differ, or the dtype is not a float.
    #[track_caller]
    pub fn mv(&self, vector: &Self) -> Self {
        assert!(
            self.rank() == 2 && vector.rank() == 1 && self.shape()[1] == vector.numel(),
            "mv: wants a matrix and a vector of its columns, not {:?} and {:?}",
            self.shape(),
            vector.shape()
        );
        self.matmul_as("mv", vector)
    }

    /// The product of two matrices; [`matmul`](Self::matmul) for this rank only. PyTorch: `mm`.
    ///
    /// # Panics
    /// If they are not matrices, the sizes do not match, dtypes or devices differ, or the dtype is not a float.
    #[track_caller]
    pub fn mm(&self, other: &Self) -> Self {
        assert!(
            self.rank() == 2 && other.rank() == 2 && self.shape()[1] == other.shape()[0],
            "mm: wants two matrices, the second with as many rows as the first has columns, not {:?} and {:?}",
            self.shape(),
            other.shape()
        );
        self.matmul_as("mm", other)
    }

    /// The products of a batch of matrices, `[b, n, m] x [b, m, p] -> [b, n, p]`; [`matmul`](Self::matmul) for this
    /// rank only, without broadcasting. PyTorch: `bmm`.
    ///
    /// # Panics
    /// If the ranks are not 3, the batches differ, the sizes do not match, dtypes or devices differ, or the dtype is
    /// not a float.
    #[track_caller]
    pub fn bmm(&self, other: &Self) -> Self {
        assert!(
            self.rank() == 3
                && other.rank() == 3
                && self.shape()[0] == other.shape()[0]
                && self.shape()[2] == other.shape()[1],
            "bmm: wants two equal batches of matrices that fit, not {:?} and {:?}",
            self.shape(),
            other.shape()
        );
        self.matmul_as("bmm", other)
    }
}
