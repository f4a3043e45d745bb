//! The shaders' text.

macro_rules! shaders {
    ($($name:literal)*) => {
        /// Every file of `shaders/` but common.wgsl.
        #[cfg(test)]
        pub(crate) const FILES: &[&str] = &[$($name),*];

        /// A shader's text, with what all begin with.
        pub(crate) fn text(file: &str) -> String {
            let body = match file {
                $($name => include_str!(concat!("../shaders/", $name, ".wgsl")),)*
                other => unreachable!("there is no shader {other}"),
            };
            let (common, math) = (include_str!("../shaders/common.wgsl"), include_str!("../shaders/math.wgsl"));
            let gemm = if matches!(file, "conv" | "matmul") { include_str!("../shaders/gemm.wgsl") } else { "" };
            format!("{common}\n{math}\n{gemm}\n{body}")
        }
    };
}
shaders!("binary" "compare" "conv" "copy" "index" "loss" "matmul" "norm" "optim" "pool" "random" "reduce" "scan" "softmax" "sort" "unary");

#[cfg(test)]
mod tests {
    use super::*;

    /// What a driver may meet, without a driver: every file parses and is valid WGSL.
    #[test]
    fn every_shader_is_valid() {
        for &file in FILES {
            let text = text(file);
            let module = naga::front::wgsl::parse_str(&text)
                .unwrap_or_else(|error| panic!("shaders/{file}.wgsl: {}", error.emit_to_string(&text)));
            let mut validator =
                naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
            validator
                .validate(&module)
                .unwrap_or_else(|error| panic!("shaders/{file}.wgsl: {}", error.emit_to_string(&text)));
        }
    }
}
