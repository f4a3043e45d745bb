//! `MINITORCH_REQUIRE=cpu,cuda-emu`: backends whose absence is a failure, so that a CI job that tests nothing fails.

/// The names that it holds.
pub(crate) fn names() -> Vec<String> {
    let list = std::env::var("MINITORCH_REQUIRE").unwrap_or_default();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The line of a failure: a name is required, and this is why nothing ran.
pub(crate) fn absent(name: &str, why: &str) -> String {
    format!("MINITORCH_REQUIRE: {name} is required and did not run: {why}")
}
