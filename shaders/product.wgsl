// The product of f32 over any dimensions. See reduce.wgsl for the shape.
//
// rows:    a workgroup of 256 invocations makes one result, for long lines; grid x and y = results, which walk
// columns: an invocation makes one result, for short lines; grid x and y = results / 256
//
// A product of f32 by f32 multiplications overflows or vanishes on the way although the result may not, and near 1, where the
// spacing of f32 changes, its roundings do not cancel: 100,000 factors around 1 lose four digits. There is no f64 to keep it
// in. So it is kept as a mantissa of 32 bits and an exponent of its own: exact to 2^-32 per factor, and of any size. Cost:
// every element is read once. Overwrites out.
struct ProductParams {
    kept: Walk,
    reduced: Walk,
    // Where x's elements lie along both.
    x_kept: Operand,
    x_reduced: Operand,
}
@group(0) @binding(0) var<uniform> p: ProductParams;
// [kept]
@group(0) @binding(1) var<storage, read_write> out: array<FloatOut>;
// [kept, reduced], strided, as bits
@group(0) @binding(2) var<storage, read> x: array<WordIn>;

struct Product {
    // The product of the factors' signs (1 or -1), or of what is 0, infinite or NaN.
    special: f32,
    // mantissa / 2^31 * 2^exponent, with the highest bit set
    mantissa: u32,
    exponent: i32,
}

fn nothing() -> Product {
    return Product(1.0, 0x80000000u, 0);
}

fn factor(bits: u32) -> Product {
    let magnitude = bits & 0x7fffffffu;
    if (magnitude == 0u || magnitude >= 0x7f800000u) {
        return Product(bitcast<f32>(bits), 0x80000000u, 0);
    }
    let sign = select(1.0, -1.0, (bits >> 31u) == 1u);
    let fraction = magnitude & 0x7fffffu;
    let exponent = i32(magnitude >> 23u);
    if (exponent == 0) {
        let shift = countLeadingZeros(fraction);
        return Product(sign, fraction << shift, -118 - i32(shift));
    }
    return Product(sign, (fraction | 0x800000u) << 8u, exponent - 127);
}

fn times(a: Product, b: Product) -> Product {
    // The 64 bits of the mantissas' product, from products of halves.
    let a_low = a.mantissa & 0xffffu;
    let a_high = a.mantissa >> 16u;
    let b_low = b.mantissa & 0xffffu;
    let b_high = b.mantissa >> 16u;
    let low = a_low * b_low;
    let one = a_high * b_low;
    let two = a_low * b_high;
    let middle = (low >> 16u) + (one & 0xffffu) + (two & 0xffffu);
    var high = a_high * b_high + (one >> 16u) + (two >> 16u) + (middle >> 16u);
    // The next lower bits: the highest of them rounds.
    var rest = (middle << 16u) | (low & 0xffffu);
    var exponent = a.exponent + b.exponent + 1;
    if ((high >> 31u) == 0u) {
        high = (high << 1u) | (rest >> 31u);
        rest <<= 1u;
        exponent -= 1;
    }
    if (high != 0xffffffffu) {
        high += rest >> 31u;
    }
    return Product(a.special * b.special, high, exponent);
}

// mantissa / 2^shift, to the nearest, of two equally near ones the even.
fn rounded(mantissa: u32, shift: u32) -> u32 {
    let whole = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    return whole + select(0u, 1u, rest > half || (rest == half && (whole & 1u) == 1u));
}

fn value(x: Product) -> f32 {
    if ((bitcast<u32>(x.special) & 0x7fffffffu) != 0x3f800000u) {
        return x.special;
    }
    let sign = bitcast<u32>(x.special) & 0x80000000u;
    if (x.exponent > 127) {
        return bitcast<f32>(sign | 0x7f800000u);
    }
    if (x.exponent < -126) {
        // Below the smallest normal number the digits get fewer.
        let shift = 8u + u32(min(-126 - x.exponent, 24));
        if (shift == 32u) {
            return bitcast<f32>(sign);
        }
        return bitcast<f32>(sign | rounded(x.mantissa, shift));
    }
    // A carry out of the fraction raises the exponent, as it should.
    let fraction = rounded(x.mantissa, 8u) - 0x800000u;
    return bitcast<f32>(sign | ((u32(x.exponent + 127) << 23u) + fraction));
}

var<workgroup> special: array<f32, 256>;
var<workgroup> mantissas: array<u32, 256>;
var<workgroup> exponents: array<i32, 256>;

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var result = group.y * groups.x + group.x; result < p.kept.numel; result += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, result);
        var product = nothing();
        for (var i = local; i < p.reduced.numel; i += 256u) {
            product = times(product, factor(word_in(x[corner + place(p.reduced, p.x_reduced, i)])));
        }
        special[local] = product.special;
        mantissas[local] = product.mantissa;
        exponents[local] = product.exponent;
        workgroupBarrier();
        for (var half = 128u; half > 0u; half >>= 1u) {
            if (local < half) {
                let other = local + half;
                product = times(product, Product(special[other], mantissas[other], exponents[other]));
                special[local] = product.special;
                mantissas[local] = product.mantissa;
                exponents[local] = product.exponent;
            }
            workgroupBarrier();
        }
        if (local == 0u) {
            out[result] = float_out(value(product));
        }
        workgroupBarrier(); // before the next result's tree
    }
}

@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var result = thread_index(group, groups, local); result < p.kept.numel; result += thread_count(groups)) {
        let corner = place(p.kept, p.x_kept, result);
        var product = nothing();
        for (var i = 0u; i < p.reduced.numel; i++) {
            product = times(product, factor(word_in(x[corner + place(p.reduced, p.x_reduced, i)])));
        }
        out[result] = float_out(value(product));
    }
}
