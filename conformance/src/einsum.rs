//! Einsum against the sum over all indices on the host, and the products derived from it.

use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, eps, multi_index, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{Shape, Tensor};

/// A size per letter; 0 for z.
const SIZES: [(char, usize); 10] =
    [('a', 2), ('b', 3), ('c', 2), ('d', 4), ('e', 3), ('f', 2), ('A', 3), ('B', 2), ('o', 1), ('z', 0)];

const EQUATIONS: [&str; 40] = [
    // One operand: permuted, summed, diagonals.
    "abc->cab",
    "abc->b",
    "abc->",
    "a->a",
    "->",
    "aa->a",
    "aa->",
    "aba->ba",
    "aab->b",
    "aaa->a",
    "abab->ba",
    "zb->b",
    "bz->z",
    "abcdef->fa",
    // Two: matrix products, batches, outer and element-wise products, labels that are summed before the product.
    "ab,bc->ac",
    "ab,bc->ca",
    "eab,ebc->eac",
    "aebf,ebcf->fca",
    "ab,cd->dbac",
    "a,b->ba",
    "ab,ab->ab",
    "ab,ba->b",
    "ab,ab->",
    "abc,b->ca",
    "a,abc->bc",
    ",ab->ba",
    "abc,bd->d",
    "abc,cd->bd",
    "aab,bb->ab",
    "az,zb->ab",
    "za,zb->zab",
    "oa,ob->ab",
    "abcdef,fedcba->ad",
    "Ab,aA->ab",
    "abcd,ce->abed",
    // Three and more.
    "ab,bc,cd->ad",
    "da,ab,b->d",
    "a,b,c->abc",
    "ab,b,bc,c->a",
    "aA,bA,cA->bac",
];

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("equations", 500, |on| {
        for equation in EQUATIONS {
            let (left, _) = parts(equation);
            let operands: Vec<Tensor<B>> = left.iter().map(|labels| on.mixed(shape(labels))).collect();
            agrees(on, equation, &operands);
        }
    });
    suite.floats("layouts", 500, |on| {
        for lay in Lay::all(3) {
            for equation in ["dba,bae->bde", "dba,ead->eb", "dba,bad->", "dba,dba->db", "dba,ecf->abcdef"] {
                let (left, _) = parts(equation);
                let operands: Vec<Tensor<B>> =
                    left.iter().map(|labels| on.laid(lay, -1.0, 1.0, shape(labels))).collect();
                agrees(on, equation, &operands);
            }
            agree!(on, eps(32.0), "{lay:?}", |d| {
                let inputs = [d.laid(lay, -1.0, 1.0, [2, 3, 4]), d.laid(lay, -1.0, 1.0, [2, 4, 5])];
                with_grads(d, inputs, |[a, b]| Tensor::einsum("bij,bjk->kib", &[a, b]))
            });
        }
    });
    suite.floats("size_one_broadcasts", 100, |on| {
        for (equation, a, b) in [
            ("ab,bc->ac", &[2, 1][..], &[3, 2][..]),
            ("ab,ab->ab", &[2, 1], &[1, 3]),
            ("ab,ab->", &[1, 1], &[2, 3]),
            ("ab,bc->ac", &[2, 3], &[1, 2]),
            ("az,bz->ab", &[2, 1], &[3, 0]),
        ] {
            let (a, b) = (on.mixed(a), on.mixed(b));
            let (left, _) = parts(equation);
            // With all sizes of the letters, and dimensions of size 1 expanded.
            let full = [a.expand(shape(left[0])), b.expand(shape(left[1]))].map(|x| x.contiguous());
            let (got, want) = (Tensor::einsum(equation, &[&a, &b]), naive(equation, &full));
            assert_values(&got, &want, eps(16.0));
        }
    });
    suite.floats("ellipsis", 200, |on| {
        for (short, long, shapes) in [
            ("...ab,...bc->...ac", "eab,ebc->eac", &["eab", "ebc"][..]),
            ("a...,a...->...", "adc,adc->dc", &["adc", "adc"]),
            ("a...,a...->a", "adc,adc->a", &["adc", "adc"]),
            ("a...b->b...a", "acdb->bcda", &["acdb"]),
            ("...", "acdb->acdb", &["acdb"]),
            ("b...a", "bcda->cdab", &["bcda"]),
            ("...ab,bc->...ac", "deab,bc->deac", &["deab", "bc"]),
            ("...ab,...b->a...", "deab,eb->ade", &["deab", "eb"]),
            ("...,ab->ab...", ",ab->ab", &["", "ab"]),
            ("a b ... , ... b -> ... a", "abd,db->da", &["abd", "db"]),
        ] {
            let operands: Vec<Tensor<B>> = shapes.iter().map(|labels| on.mixed(shape(labels))).collect();
            let got = Tensor::einsum(short, &operands.iter().collect::<Vec<_>>());
            assert!(*got.shape() == shape(parts(long).1), "{short}: {:?}", got.shape());
            assert_values(&got, &naive(long, &operands), eps(16.0));
        }
        // The dimensions of an ellipsis broadcast.
        let (a, b) = (on.mixed([2, 1, 3, 2]), on.mixed([4, 2, 3]));
        let want = a.expand([2, 4, 3, 2]).matmul(&b);
        assert_values(&Tensor::einsum("...ij,...jk->...ik", &[&a, &b]), &read(&want).data, eps(16.0));
    });
    suite.floats("implicit_output", 50, |on| {
        for (short, long) in [
            ("ab,bc", "ab,bc->ac"),
            ("ba", "ba->ab"),
            ("ab,bA", "ab,bA->Aa"),
            ("aa", "aa->"),
            ("aab", "aab->b"),
            ("d,B,a", "d,B,a->Bad"),
        ] {
            let operands: Vec<Tensor<B>> = parts(long).0.iter().map(|labels| on.mixed(shape(labels))).collect();
            let got = Tensor::einsum(short, &operands.iter().collect::<Vec<_>>());
            assert!(*got.shape() == shape(parts(long).1), "{short}: {:?}", got.shape());
            assert_values(&got, &naive(long, &operands), eps(16.0));
        }
    });
    suite.f32("of_integers", 20, |on| {
        let x = Tensor::new([[1, 2], [3, 4]], &on.device);
        assert_values(&Tensor::einsum("ij->ji", &[&x]), &[1.0, 3.0, 2.0, 4.0], EXACT);
        assert_values(&Tensor::einsum("ij->j", &[&x]), &[4.0, 6.0], EXACT);
        assert_values(&Tensor::einsum("ii", &[&x]), &[5.0], EXACT);
        let mask = Tensor::new([[true, false], [true, true]], &on.device);
        assert_values(&Tensor::einsum("ii->i", &[&mask]), &[1.0, 1.0], EXACT);
    });
    suite.alone("contractions_make_no_giant_product", 300_000, |on| {
        let (a, b) = (on.uniform(-1.0, 1.0, [64, 64]), on.uniform(-1.0, 1.0, [64, 64]));
        let live = on.device.memory().live;
        on.device.reset_peak_memory();
        let y = Tensor::einsum("ij,jk->ik", &[&a, &b]);
        let taken = on.device.memory().peak - live;
        // The product of all pairs would be 64 times this.
        assert!(taken <= 8 * 64 * 64 * on.dtype.size() as u64, "{taken} bytes for a product of two 64 x 64 matrices");
        let view = Tensor::einsum("ji->ij", &[&y]);
        assert!(on.device.memory().live - live <= taken, "a permutation is a view");
        drop(view);
    });
    suite.floats("relatives", 100, |on| {
        agree!(on, eps(16.0), |d| {
            let v = || d.mixed([4]);
            let mut all = with_grads(d, [v(), v()], |[a, b]| a.dot(b));
            all.extend(with_grads(d, [v(), d.mixed([3])], |[a, b]| a.outer(b)));
            all.extend(with_grads(d, [d.mixed([3, 4]), v()], |[a, b]| a.mv(b)));
            all.extend(with_grads(d, [d.mixed([3, 4]), d.mixed([4, 2])], |[a, b]| a.mm(b)));
            all.extend(with_grads(d, [d.mixed([2, 3, 4]), d.mixed([2, 4, 2])], |[a, b]| a.bmm(b)));
            all
        });
        let (a, b) = (on.list(&[1.0, 2.0], [2]), on.list(&[3.0, 4.0, 5.0], [3]));
        assert_values(&a.outer(&b), &[3.0, 4.0, 5.0, 6.0, 8.0, 10.0], EXACT);
        assert_values(&a.dot(&a), &[5.0], EXACT);
        assert_values(&a.slice(..0).dot(&a.slice(..0)), &[0.0], EXACT);
        assert_values(&a.outer(&b).mv(&b), &[50.0, 100.0], EXACT);
        assert_values(&a.outer(&b).mm(&b.outer(&a)), &[50.0, 100.0, 100.0, 200.0], EXACT);
    });
    suite.f32("panics", 10, panics);
    check!(
        suite,
        "chain",
        2,
        |d| [d.uniform(-1.0, 1.0, [2, 3]), d.uniform(-1.0, 1.0, [3, 2]), d.uniform(-1.0, 1.0, [2])],
        |[a, b, c]| { Tensor::einsum("ij,jk,k->ki", &[a, b, c]) }
    );
    check!(suite, "batched", 2, |d| [d.uniform(-1.0, 1.0, [2, 2, 3]), d.uniform(-1.0, 1.0, [1, 3, 2])], |[a, b]| {
        Tensor::einsum("...ij,...jk->i...", &[a, b])
    });
    check!(suite, "diagonal", 2, |d| [d.uniform(-1.0, 1.0, [3, 2, 3]), d.uniform(-1.0, 1.0, [3, 1])], |[a, b]| {
        Tensor::einsum("iji,ij->j", &[a, b]) * Tensor::einsum("iji->j", &[&a.square()])
    });
}

/// The operands' labels and the output's.
fn parts(equation: &str) -> (Vec<&str>, &str) {
    let (left, right) = equation.split_once("->").unwrap_or((equation, ""));
    (left.split(',').collect(), right)
}

fn size(label: char) -> usize {
    SIZES.iter().find(|(l, _)| *l == label).map_or(1, |&(_, size)| size)
}

fn shape(labels: &str) -> Shape {
    let sizes: Vec<usize> = labels.chars().map(size).collect();
    Shape::new(&sizes)
}

/// The definition: for every value of all labels, the product of the operands' elements is added to the output's.
fn naive<B: Backend>(equation: &str, operands: &[Tensor<B>]) -> Vec<f64> {
    let (left, right) = parts(equation);
    let mut labels: Vec<char> = equation.chars().filter(char::is_ascii_alphabetic).collect();
    labels.sort();
    labels.dedup();
    let values: Vec<Vec<f64>> = operands.iter().map(|x| read(x).data).collect();
    let mut out = vec![0.0; shape(right).numel()];
    // More labels than a shape has dimensions: a loop over some, and a shape of the others.
    let (outer, inner) = labels.split_at(labels.len().min(6));
    let spaces = [outer, inner].map(|labels| shape(&labels.iter().collect::<String>()));
    for first in 0..spaces[0].numel() {
        for last in 0..spaces[1].numel() {
            let index = [multi_index(first, &spaces[0]), multi_index(last, &spaces[1])].concat();
            let place = |of: &str| {
                of.chars().fold(0, |at, l| at * size(l) + labels.iter().position(|&m| m == l).map_or(0, |i| index[i]))
            };
            out[place(right)] += left.iter().zip(&values).map(|(of, x)| x[place(of)]).product::<f64>();
        }
    }
    out
}

#[track_caller]
fn agrees<B: Backend>(on: &On<B>, equation: &str, operands: &[Tensor<B>]) {
    let got = Tensor::einsum(equation, &operands.iter().collect::<Vec<_>>());
    assert!(*got.shape() == shape(parts(equation).1) && got.dtype() == on.dtype, "{equation}: {:?}", got.shape());
    // Sums of up to 50 products of order 10.
    assert_values(&got, &naive(equation, operands), eps(128.0));
}

fn panics<B: Backend>(on: &On<B>) {
    let (a, b) = (on.mixed([2, 3]), on.mixed([4, 5]));
    panics!("einsum", "ij,jk->ik", "operand 1", "'j'", "4", "3"; Tensor::einsum("ij,jk->ik", &[&a, &b]));
    panics!("ij,jk->ik", "2 operands", "1 were given"; Tensor::einsum("ij,jk->ik", &[&a]));
    panics!("1 operands", "0 were given"; Tensor::<B>::einsum("ij", &[]));
    panics!("ijk->i", "operand 0", "\"ijk\"", "[2, 3]"; Tensor::einsum("ijk->i", &[&a]));
    panics!("i->i", "operand 0", "[2, 3]"; Tensor::einsum("i->i", &[&a]));
    panics!("operand 0", "\"ijk...\""; Tensor::einsum("ijk...", &[&a]));
    panics!("ii", "'i'", "3", "2"; Tensor::einsum("ii", &[&a]));
    panics!("'i'", "1", "2"; Tensor::einsum("ii", &[&a.slice((.., 1..2))]));
    panics!("output", "'k'", "no operand"; Tensor::einsum("ij->ik", &[&a]));
    panics!("output", "'i'", "twice"; Tensor::einsum("ij->ii", &[&a]));
    panics!("operand 0", "'1'"; Tensor::einsum("i1->i", &[&a]));
    panics!("operand 0", "'.'"; Tensor::einsum("......", &[&a]));
    panics!("output", "'-'"; Tensor::einsum("ij->->i", &[&a]));
    panics!("...", "operand 1", "4", "2"; Tensor::einsum("...i,...j", &[&a, &b]));
    panics!("output", "8 dimensions"; Tensor::einsum("ab,cd,ef,gh", &[&a, &a, &a, &a]));
    let wide = on.mixed([1, 1, 1, 1]);
    panics!("the first operands", "8 dimensions"; Tensor::einsum("abcd,efgh,abcd,efgh->", &[&wide; 4]));
    panics!("einsum", "float32", "int32"; Tensor::einsum("ij,ij", &[&a, &on.ints(0, 9, [2, 3])]));
    panics!("einsum", "ij,ij", "int32"; Tensor::einsum("ij,ij", &[&on.ints(0, 9, [2, 3]), &on.ints(0, 9, [2, 3])]));
    panics!("dot", "[2, 3]"; a.dot(&a));
    panics!("dot", "[2]", "[3]"; on.mixed([2]).dot(&on.mixed([3])));
    panics!("outer", "[2, 3]"; a.outer(&on.mixed([2])));
    panics!("mv", "[4, 5]"; a.mv(&b));
    panics!("mv", "[4]"; a.mv(&on.mixed([4])));
    panics!("mm", "[2, 3]", "[4, 5]"; a.mm(&b));
    panics!("mm", "[3]"; a.mm(&on.mixed([3])));
    panics!("bmm", "[2, 3]"; a.bmm(&a));
    panics!("bmm", "[1, 2, 3]", "[1, 2, 4]"; on.mixed([1, 2, 3]).bmm(&on.mixed([1, 2, 4])));
    panics!("bmm", "[2, 1, 3]", "[1, 3, 1]"; on.mixed([2, 1, 3]).bmm(&on.mixed([1, 3, 1])));
}
