//! Shaders: which one a dispatch runs, and its WGSL text, composed of a file of `shaders/`, the files that it builds on, and what
//! WGSL cannot express: constants from core's tables of operations, entry points of one shape, arrays of buffers.

use minitorch_core::DType;
use minitorch_core::backend::{BinaryOp, CompareOp, UnaryOp};
use minitorch_core::launch::Launch;

/// What a file's text depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Form {
    /// Whether elements that are read are f16.
    pub(crate) read_f16: bool,
    /// Whether elements that are written are f16.
    pub(crate) write_f16: bool,
    /// Whether elements are read and written as vec4 (vec4.wgsl) or one by one (scalars.wgsl), in the files that choose.
    pub(crate) vec4: bool,
    /// Of optim.wgsl: the state tensors of a parameter, and the parameters of a dispatch.
    pub(crate) slots: Option<(usize, usize)>,
}

impl Form {
    /// Elements are read as one dtype and written as another.
    pub(crate) fn of(read: DType, write: DType) -> Self {
        Form { read_f16: read == DType::F16, write_f16: write == DType::F16, ..Form::default() }
    }
}

/// A shader to run: file, entry point, and the value of its `override` constant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Shader {
    /// The file's stem.
    pub(crate) file: &'static str,
    pub(crate) entry: &'static str,
    /// The value of `OP`, if the file has it.
    pub(crate) op: Option<u32>,
    pub(crate) form: Form,
}

impl Shader {
    pub(crate) fn new(file: &'static str, entry: &'static str) -> Self {
        Shader { file, entry, op: None, form: Form::default() }
    }

    pub(crate) fn op(self, op: u32) -> Self {
        Shader { op: Some(op), ..self }
    }

    pub(crate) fn form(self, form: Form) -> Self {
        Shader { form, ..self }
    }

    /// The report of a dispatch with this grid.
    pub(crate) fn launch(self, groups: [u32; 3]) -> Launch {
        let Form { read_f16, write_f16, vec4, slots } = self.form;
        let parts = [
            self.op.map(|op| format!("OP {op}")),
            vec4.then(|| "vec4".to_string()),
            (read_f16 || write_f16).then(|| "f16".to_string()),
            slots.map(|(_, slots)| if slots == 1 { "1 parameter".to_string() } else { format!("{slots} parameters") }),
        ];
        let path = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let block = workgroup_size(self.file, self.form, self.entry);
        Launch::on_grid(format!("{}/{}", self.file, self.entry), groups, [block, 1, 1], 0).path(path)
    }
}

/// Parameters that one dispatch of an optimizer step updates, at most; mirrored in optim.wgsl.
pub(crate) const SLOTS: usize = 8;

/// Storage buffers of the largest dispatch: an optimizer step of [`SLOTS`] parameters, each with its gradient and three states, and
/// the scalars.
pub(crate) const MAX_BUFFERS: u32 = 1 + SLOTS as u32 * 5;

/// The reductions of fold.wgsl; a shader's `OP` is the position in this list.
pub(crate) const FOLDS: &[&str] = &["SUM_F32", "SUM_I32", "PRODUCT_I32", "MAX_F32", "MIN_F32", "MAX_I32", "MIN_I32"];

/// The rules of optim.wgsl, likewise.
pub(crate) const RULES: &[&str] =
    &["SGD", "MOMENTUM", "ADAM", "RMSPROP", "RMSPROP_CENTERED", "RMSPROP_MOMENTUM", "RMSPROP_BOTH", "ADAGRAD"];

/// The position of a name in such a list.
pub(crate) fn code(list: &[&str], name: &str) -> u32 {
    match list.iter().position(|listed| *listed == name) {
        Some(code) => code as u32,
        None => unreachable!("{name} is in {list:?}"),
    }
}

/// Whether a file's elements may be f16.
fn has_f16(file: &str) -> bool {
    matches!(file, "binary" | "compare" | "copy" | "index" | "matmul" | "product" | "reduce" | "transpose" | "unary")
}

/// Whether a file holds element-wise operations.
fn is_map(file: &str) -> bool {
    matches!(file, "binary" | "compare" | "copy" | "unary")
}

/// Whether a file accesses elements through vec4.wgsl or scalars.wgsl.
fn has_vec4(file: &str) -> bool {
    is_map(file) || file == "norm"
}

/// Whether a file computes tiles of matrix products.
fn is_product(file: &str) -> bool {
    matches!(file, "conv" | "matmul")
}

/// Whether a file reduces values across a workgroup.
fn reduces(file: &str) -> bool {
    matches!(file, "loss" | "norm" | "pool" | "reduce" | "softmax")
}

/// The constants of a file's operations, from core's tables.
fn op_constants(file: &str) -> String {
    use CompareOp::{Eq, Ge, Gt, Le, Lt, Ne};
    let constant = |name: &str, code: usize| format!("const {}: u32 = {code}u;\n", name.to_uppercase());
    let in_order = |names: &[&str]| names.iter().enumerate().map(|(code, name)| constant(name, code)).collect();
    match file {
        "unary" => in_order(UnaryOp::KERNELS),
        "binary" => BinaryOp::ALL.iter().map(|&op| constant(op.name(), op as usize)).collect(),
        "compare" => [Eq, Ne, Lt, Le, Gt, Ge].iter().map(|&op| constant(op.name(), op as usize)).collect(),
        "optim" => in_order(RULES),
        file if reduces(file) => in_order(FOLDS),
        _ => String::new(),
    }
}

/// The loops that a file leaves to its entry points: map_entry.wgsl for each function `NAME_at(at, mask)`, which handles four elements,
/// and item_entry.wgsl for each `NAME_item(i)`.
fn entries(body: &str) -> String {
    let entry = |line: &str| {
        let (name, argument) = line.strip_prefix("fn ")?.split_once('(')?;
        if let Some(name) = name.strip_suffix("_item") {
            return Some(include_str!("../shaders/item_entry.wgsl").replace("NAME", name));
        }
        let name = name.strip_suffix("_at").filter(|_| argument == "at: vec4<u32>, mask: vec4<bool>) {")?;
        Some(include_str!("../shaders/map_entry.wgsl").replace("NAME", name))
    };
    body.lines().filter_map(entry).collect()
}

macro_rules! shaders {
    ($($name:literal)*) => {
        /// Every file of `shaders/` that holds entry points.
        #[cfg(test)]
        pub(crate) const FILES: &[&str] = &[$($name),*];

        fn body(file: &str) -> &'static str {
            match file {
                $($name => include_str!(concat!("../shaders/", $name, ".wgsl")),)*
                other => unreachable!("there is no shader {other}"),
            }
        }
    };
}
shaders!("binary" "compare" "conv" "copy" "index" "loss" "matmul" "norm" "optim" "pool" "product" "random" "reduce" "scan" "softmax" "sort" "transpose" "unary");

/// A shader's text. Workgroups reduce with subgroup operations or without; parameters are immediates or a uniform.
pub(crate) fn text(file: &str, form: Form, subgroups: bool, immediates: bool) -> String {
    let mut text = String::new();
    if form.read_f16 || form.write_f16 {
        text += "enable f16;\n";
    }
    text += concat!(include_str!("../shaders/common.wgsl"), include_str!("../shaders/math.wgsl"));
    if has_f16(file) || has_vec4(file) || is_product(file) {
        text += match form.read_f16 {
            true => include_str!("../shaders/read_f16.wgsl"),
            false => include_str!("../shaders/read_words.wgsl"),
        };
        text += match form.write_f16 {
            true => include_str!("../shaders/write_f16.wgsl"),
            false => include_str!("../shaders/write_words.wgsl"),
        };
    }
    if has_vec4(file) {
        text += match form.vec4 {
            true => include_str!("../shaders/vec4.wgsl"),
            false => include_str!("../shaders/scalars.wgsl"),
        };
    }
    if is_map(file) || file == "transpose" {
        text += include_str!("../shaders/map.wgsl");
    }
    if is_map(file) {
        text += include_str!("../shaders/map_access.wgsl");
    }
    if matches!(file, "binary" | "unary") {
        text += include_str!("../shaders/remainder.wgsl");
    }
    if matches!(file, "index" | "loss") {
        text += include_str!("../shaders/bad_index.wgsl");
    }
    if is_product(file) {
        text += include_str!("../shaders/gemm.wgsl");
    }
    text += &op_constants(file);
    if reduces(file) {
        text += include_str!("../shaders/fold.wgsl");
        text += match subgroups {
            true => include_str!("../shaders/workgroup_subgroups.wgsl"),
            false => include_str!("../shaders/workgroup_tree.wgsl"),
        };
    }
    if let Some((states, slots)) = form.slots {
        text += &slot_functions(states, slots);
    }
    text += body(file);
    text += &entries(body(file));
    match immediates {
        true => text.replace("@group(0) @binding(0) var<uniform>", "var<immediate>"),
        false => text,
    }
}

/// The bindings of optim.wgsl from 2 on, and the functions that access them by slot: WGSL has no array of buffers.
fn slot_functions(states: usize, slots: usize) -> String {
    let slot = |slot: usize| {
        let states = (0..states).map(move |k| (format!("state_{slot}_{k}"), "read_write"));
        [(format!("param_{slot}"), "read_write"), (format!("grad_{slot}"), "read")].into_iter().chain(states)
    };
    let mut text: String = (0..slots)
        .flat_map(slot)
        .enumerate()
        .map(|(i, (name, access))| {
            format!("@group(0) @binding({}) var<storage, {access}> {name}: array<f32>;\n", i + 2)
        })
        .collect();
    let params: Vec<_> = (0..slots).map(|slot| (slot, format!("param_{slot}"))).collect();
    let grads: Vec<_> = (0..slots).map(|slot| (slot, format!("grad_{slot}"))).collect();
    // A rule has at most three states. An entry point that accesses more than there are belongs to another rule and is not run.
    let states: Vec<_> =
        (0..slots).flat_map(|slot| (0..states).map(move |k| (slot * 3 + k, format!("state_{slot}_{k}")))).collect();
    for (name, takes, which, buffers) in [
        ("param", "slot: u32, ", "slot", params),
        ("grad", "slot: u32, ", "slot", grads),
        ("state", "slot: u32, k: u32, ", "slot * 3u + k", states),
    ] {
        let cases = |then: &dyn Fn(&str) -> String| -> String {
            buffers.iter().map(|(case, buffer)| format!("        case {case}u: {{ {} }}\n", then(buffer))).collect()
        };
        let read = cases(&|buffer| format!("return {buffer}[i];"));
        text += &format!(
            "fn {name}({takes}i: u32) -> f32 {{\n    switch ({which}) {{\n{read}        default: {{ return 0.0; }}\n    }}\n}}\n"
        );
        if name != "grad" {
            let write = cases(&|buffer| format!("{buffer}[i] = value;"));
            text += &format!(
                "fn set_{name}({takes}i: u32, value: f32) {{\n    switch ({which}) {{\n{write}        default: {{}}\n    }}\n}}\n"
            );
        }
    }
    text
}

/// Invocations of a workgroup of an entry point, from its attribute in the text.
fn workgroup_size(file: &str, form: Form, entry: &str) -> u32 {
    let text = text(file, form, false, false);
    let before = text.split_once(&format!("\nfn {entry}(")).map(|(before, _)| before);
    let attribute = before.and_then(|before| before.rsplit_once("@workgroup_size("));
    let size = attribute.and_then(|(_, rest)| rest.split_once(')')).map(|(size, _)| size);
    size.and_then(|size| size.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file parses and is valid WGSL in every form. Needs no driver.
    #[test]
    fn every_shader_is_valid() {
        let plain = FILES.iter().filter(|file| **file != "optim").map(|file| (*file, Form::default()));
        let optim = (0..=3).flat_map(|states| {
            [1, 2, SLOTS].map(|slots| ("optim", Form { slots: Some((states, slots)), ..Form::default() }))
        });
        let f16 = FILES.iter().filter(|file| has_f16(file)).flat_map(|file| {
            [(true, true), (true, false), (false, true)]
                .map(|(read_f16, write_f16)| (*file, Form { read_f16, write_f16, ..Form::default() }))
        });
        let forms: Vec<_> = plain.chain(optim).chain(f16).collect();
        let vec4 =
            forms.iter().filter(|(file, _)| has_vec4(file)).map(|&(file, form)| (file, Form { vec4: true, ..form }));
        let forms =
            forms.iter().copied().chain(vec4).flat_map(|(file, form)| [(file, form, false), (file, form, true)]);
        for (file, form, both) in forms {
            let (subgroups, immediates) = (both, both);
            let text = text(file, form, subgroups, immediates);
            let module = naga::front::wgsl::parse_str(&text)
                .unwrap_or_else(|error| panic!("shaders/{file}.wgsl: {}", error.emit_to_string(&text)));
            for entry in &module.entry_points {
                assert_eq!(
                    [workgroup_size(file, form, &entry.name), 1, 1],
                    entry.workgroup_size,
                    "{file}/{}",
                    entry.name
                );
            }
            let mut offered = naga::valid::Capabilities::empty();
            offered.set(naga::valid::Capabilities::SUBGROUP, subgroups);
            offered.set(naga::valid::Capabilities::IMMEDIATES, immediates);
            offered.set(naga::valid::Capabilities::SHADER_FLOAT16, form.read_f16 || form.write_f16);
            let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), offered);
            validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
            validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
            validator
                .validate(&module)
                .unwrap_or_else(|error| panic!("shaders/{file}.wgsl: {}", error.emit_to_string(&text)));
        }
    }

    /// Every file of the folder is in the list, except those that others build on.
    #[test]
    fn every_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shaders");
        let parts = [
            "bad_index",
            "common",
            "fold",
            "gemm",
            "item_entry",
            "map",
            "map_access",
            "map_entry",
            "math",
            "read_f16",
            "read_words",
            "remainder",
            "scalars",
            "vec4",
            "workgroup_subgroups",
            "workgroup_tree",
            "write_f16",
            "write_words",
        ];
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_string()))
            .filter(|name| !parts.contains(&name.as_str()))
            .collect();
        found.sort();
        assert_eq!(found, FILES);
    }
}
