//! The structs of `params.rs` and of the family files equal those of `shaders/`: every member at its offset, by naga's layout.

use super::*;
use crate::{conv, index, loss, matmul, norm, optim, pool, random, reduce, scan, shader, softmax, sort};
use naga::proc::Layouter;
use naga::{AddressSpace, ScalarKind, TypeInner};

/// A shader's text, parsed, and the size of each of its types.
fn parsed(file: &str) -> (naga::Module, Layouter) {
    let slots = (file == "optim").then_some((1, 1));
    let text = shader::text(file, shader::Form { slots, ..Default::default() }, false, false);
    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&text)));
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).expect("naga lays out what it parsed");
    (module, layouter)
}

/// The type of a member, as Rust writes it.
fn rust_type(module: &naga::Module, ty: naga::Handle<naga::Type>) -> String {
    let scalar = |scalar: naga::Scalar| match (scalar.kind, scalar.width) {
        (ScalarKind::Uint, 4) => "u32",
        (ScalarKind::Sint, 4) => "i32",
        (ScalarKind::Float, 4) => "f32",
        other => panic!("{other:?}: not a type of parameters"),
    };
    let ty = &module.types[ty];
    match ty.inner {
        TypeInner::Scalar(kind) => scalar(kind).into(),
        TypeInner::Vector { size, scalar: kind } => format!("[{}; {}]", scalar(kind), size as u8),
        TypeInner::Array { base, size: naga::ArraySize::Constant(n), .. } => {
            format!("[{}; {n}]", rust_type(module, base))
        }
        TypeInner::Struct { .. } => ty.name.clone().expect("structs have names"),
        ref other => panic!("{other:?}: not a type of parameters"),
    }
}

/// Compares a struct with that of each of its files. Rust declares padding at the end, which WGSL may leave implicit.
fn check<P: Params>(compared: &mut Vec<(&'static str, &'static str)>) {
    let name = P::NAME;
    for &file in P::FILES {
        compared.push((file, name));
        let (module, layouter) = parsed(file);
        let found = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name));
        let Some((handle, naga::Type { inner: TypeInner::Struct { members, span }, .. })) = found else {
            panic!("shaders/{file}.wgsl: no struct {name}")
        };
        let mut ours = P::members();
        if members.len() < ours.len() {
            let (padding, _, at, _) = ours.pop().unwrap_or_default();
            let end = members.last().map_or(0, |last| last.offset + layouter[last.ty].size);
            assert!(padding == "unused" && at == end as usize, "{name}: shaders/{file}.wgsl lacks {padding}");
        }
        let theirs: Vec<_> = members
            .iter()
            .map(|member| {
                let size = layouter[member.ty].size as usize;
                (member.name.clone().unwrap_or_default(), rust_type(&module, member.ty), member.offset as usize, size)
            })
            .collect();
        // The length of an array may be a named constant in Rust; comparing sizes covers it.
        let element = |kind: &str| kind.trim_start_matches('[').split(';').next().unwrap_or_default().to_string();
        for ((member, kind, at, size), theirs) in ours.iter().zip(&theirs) {
            let ours = (member.to_string(), element(kind), *at, *size);
            let theirs = (theirs.0.clone(), element(&theirs.1), theirs.2, theirs.3);
            assert_eq!(ours, theirs, "{name}: Rust on the left, shaders/{file}.wgsl on the right");
        }
        assert_eq!(ours.len(), theirs.len(), "{name}: not as many members as in shaders/{file}.wgsl");
        assert_eq!(size_of::<P>(), *span as usize, "{name}: the size, in shaders/{file}.wgsl");
        assert_eq!(layouter[handle].size, *span);
    }
}

#[test]
fn structs_match_those_of_the_shaders() {
    let mut compared = Vec::new();
    check::<Walk>(&mut compared);
    check::<Strides>(&mut compared);
    check::<MapParams>(&mut compared);
    check::<conv::ConvParams>(&mut compared);
    check::<index::IndexParams>(&mut compared);
    check::<loss::LossParams>(&mut compared);
    check::<matmul::MatmulParams>(&mut compared);
    check::<norm::NormParams>(&mut compared);
    check::<optim::Slot>(&mut compared);
    check::<optim::OptimParams>(&mut compared);
    check::<pool::PoolParams>(&mut compared);
    check::<random::RandomParams>(&mut compared);
    check::<reduce::ProductParams>(&mut compared);
    check::<reduce::ReduceParams>(&mut compared);
    check::<scan::ScanParams>(&mut compared);
    check::<softmax::SoftmaxParams>(&mut compared);
    check::<sort::SortParams>(&mut compared);
    // Every shader's parameters were compared.
    for &file in shader::FILES {
        let (module, _) = parsed(file);
        let uniforms: Vec<_> =
            module.global_variables.iter().filter(|(_, variable)| variable.space == AddressSpace::Uniform).collect();
        assert_eq!(uniforms.len(), 1, "shaders/{file}.wgsl: parameters");
        for (_, variable) in uniforms {
            let name = rust_type(&module, variable.ty);
            assert!(compared.contains(&(file, name.as_str())), "shaders/{file}.wgsl: {name} was not compared");
        }
    }
}
