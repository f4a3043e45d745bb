//! The target architecture of machine code: `sm_90`, `sm_90a`, `sm_100f`.

use std::fmt;
use std::str::FromStr;

/// A GPU architecture. Code for `sm_90` runs on compute capability 9.0 and on later ones of the same major number; code
/// for `sm_90a` may use the instructions that 9.0 alone has, and runs there alone; code for `sm_100f` runs on the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture {
    /// Ten times the major number plus the minor one.
    number: u32,
    /// Which instructions beyond those of all later architectures: none, `a` or `f`.
    suffix: &'static str,
}

impl Architecture {
    /// `sm_NN`, without a suffix.
    pub const fn new(number: u32) -> Self {
        Architecture { number, suffix: "" }
    }

    /// `90` of `sm_90` and `sm_90a`, as NVRTC lists what it knows.
    pub fn number(self) -> u32 {
        self.number
    }

    /// The compute capability, major and minor, of the GPUs that it is named for.
    pub fn capability(self) -> (u32, u32) {
        (self.number / 10, self.number % 10)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.number, self.suffix)
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let rest = text.strip_prefix("sm_")?;
            let digits = rest.trim_end_matches(['a', 'f']);
            let suffix = match &rest[digits.len()..] {
                "" => "",
                "a" => "a",
                "f" => "f",
                _ => return None,
            };
            let canonical = (2..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| canonical && !digits.starts_with('0'))?;
            Some(Architecture { number, suffix })
        };
        parse().ok_or_else(|| format!("{text:?} is no GPU architecture; sm_80, sm_90 and sm_90a are"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in ["sm_75", "sm_80", "sm_89", "sm_90", "sm_90a", "sm_100f", "sm_121a"] {
            assert_eq!(name.parse::<Architecture>().unwrap().to_string(), name);
        }
        assert_eq!("sm_90".parse(), Ok(Architecture::new(90)));
        assert_ne!("sm_90a".parse(), Ok(Architecture::new(90)));
        assert_eq!("sm_121a".parse::<Architecture>().unwrap().capability(), (12, 1));
        for bad in
            ["", "90", "sm_", "sm_9", "sm_90b", "sm_90aa", "sm_90af", "compute_90", "sm_090", "sm_+90", "sm_9000"]
        {
            let why = bad.parse::<Architecture>().unwrap_err();
            assert!(why.contains(&format!("{bad:?} is no GPU architecture")) && why.lines().count() == 1, "{why}");
        }
    }
}
