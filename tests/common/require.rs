//! `MINITORCH_REQUIRE=cpu,cuda-emu`: backends whose absence is a failure, so that a CI job that tests nothing fails.

/// Its names.
pub(crate) fn names() -> Vec<String> {
    let list = std::env::var("MINITORCH_REQUIRE").unwrap_or_default();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The message of a failure: a required backend is absent, and why.
pub(crate) fn absent(name: &str, why: &str) -> String {
    format!("MINITORCH_REQUIRE: {name} is required and did not run: {why}")
}
