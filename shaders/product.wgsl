// The product of f32 over any dimensions; reduce.wgsl describes the shape.
//
//   rows      a workgroup of 256 invocations per result, for many elements; grid: x and y = results, grid-stride
//   columns   an invocation per result, for few elements; grid: x and y = results / 256
//
// The running product has a mantissa of 32 bits and an exponent of its own, exact to 2^-32 per factor and of any magnitude. In f32 it
// would overflow or underflow on the way although the result does not, and accumulate roundings; WGSL has no f64. Cost: every
// element is read once. Overwrites out.
struct ProductParams {
    kept: Walk,
    reduced: Walk,
    // x's strides along both.
    x_kept: Strides,
    x_reduced: Strides,
}
@group(0) @binding(0) var<uniform> p: ProductParams;
// [kept]
@group(0) @binding(1) var<storage, read_write> out: array<FloatOut>;
// [kept, reduced], strided, as bits
@group(0) @binding(2) var<storage, read> x: array<WordIn>;

struct Product {
    // The product of the signs (1 or -1) of finite factors, and of all factors that are 0, infinite or NaN.
    special: f32,
    // mantissa / 2^31 * 2^exponent, with the highest bit set
    mantissa: u32,
    exponent: i32,
}

fn identity() -> Product {
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
    // The 64 bits of the mantissas' product, from four products of 16-bit halves.
    let a_low = a.mantissa & 0xffffu;
    let a_high = a.mantissa >> 16u;
    let b_low = b.mantissa & 0xffffu;
    let b_high = b.mantissa >> 16u;
    let low = a_low * b_low;
    let one = a_high * b_low;
    let two = a_low * b_high;
    let middle = (low >> 16u) + (one & 0xffffu) + (two & 0xffffu);
    var high = a_high * b_high + (one >> 16u) + (two >> 16u) + (middle >> 16u);
    // The lower bits, of which the highest rounds.
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

// mantissa / 2^shift, rounded to nearest even.
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
        // A subnormal number has fewer bits.
        let shift = 8u + u32(min(-126 - x.exponent, 24));
        if (shift == 32u) {
            return bitcast<f32>(sign);
        }
        return bitcast<f32>(sign | rounded(x.mantissa, shift));
    }
    // A carry out of the fraction increments the exponent.
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
        let base = offset_of(p.kept, p.x_kept, result);
        var product = identity();
        for (var i = local; i < p.reduced.numel; i += 256u) {
            product = times(product, factor(word_in(x[base + offset_of(p.reduced, p.x_reduced, i)])));
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
        workgroupBarrier(); // before the next result overwrites the tree
    }
}

@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var result = thread_index(group, groups, local); result < p.kept.numel; result += thread_count(groups)) {
        let base = offset_of(p.kept, p.x_kept, result);
        var product = identity();
        for (var i = 0u; i < p.reduced.numel; i++) {
            product = times(product, factor(word_in(x[base + offset_of(p.reduced, p.x_reduced, i)])));
        }
        out[result] = float_out(value(product));
    }
}
