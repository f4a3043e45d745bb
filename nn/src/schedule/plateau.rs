//! Decay of the rate when the loss stops improving.

use super::Schedule;
use crate::check::non_negative;
use crate::formats::StateDict;
use crate::text::shown;
use minitorch_core::{Error, Result};
use std::path::Path;
use std::str::FromStr;

/// Lowers the learning rate when a loss has stopped improving. PyTorch: `ReduceLROnPlateau` with `mode="min"`,
/// `threshold_mode="rel"`.
///
/// A loss is an improvement if it is below `best (1 - threshold)`; NaN never is. After more than `patience` consecutive
/// losses without improvement the rate becomes `max(factor lr, min_lr)`, unless that changes it by 1e-8 or less. The
/// next `cooldown` losses do not count.
///
/// ```
/// use minitorch::prelude::*;
///
/// let mut plateau = Plateau::new(0.1).patience(1);
/// let rates: Vec<f64> = [3.0, 2.0, 2.0, 2.0, 1.0].into_iter().map(|loss| plateau.observe(loss)).collect();
/// assert_eq!(rates[..3], [0.1; 3]); // within the patience of one loss
/// assert!((rates[3] - 0.01).abs() < 1e-12 && rates[4] == rates[3]);
/// assert_eq!(plateau.lr(5), rates[4]);
/// ```
///
/// To maximise a value, observe its negative, with a threshold of 0. To resume a run, [`save`](Plateau::save) it beside
/// the optimizer.
#[derive(Clone, Copy, PartialEq, Debug)]
#[must_use]
pub struct Plateau {
    lr: f64,
    factor: f64,
    patience: usize,
    threshold: f64,
    cooldown: usize,
    min_lr: f64,
    best: f64,
    bad: usize,
    cooling: usize,
}

impl Plateau {
    /// From this rate, with factor 0.1, patience 10, threshold 1e-4, no cooldown and no minimal rate: PyTorch's
    /// defaults.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        Plateau {
            lr: non_negative("Plateau", "the rate", lr),
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            cooldown: 0,
            min_lr: 0.0,
            best: f64::INFINITY,
            bad: 0,
            cooling: 0,
        }
    }

    /// Sets the factor of the rate.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn factor(mut self, factor: f64) -> Self {
        assert!((0.0..1.0).contains(&factor), "Plateau: a factor of {factor} is outside [0, 1)");
        self.factor = factor;
        self
    }

    /// Sets the number of consecutive losses without improvement that are tolerated.
    pub fn patience(mut self, patience: usize) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the fraction by which a loss must be below the best.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = non_negative("Plateau", "the threshold", threshold);
        self
    }

    /// Sets the number of losses that do not count after a decay.
    pub fn cooldown(mut self, cooldown: usize) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Sets the minimal rate.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn min_lr(mut self, min_lr: f64) -> Self {
        self.min_lr = non_negative("Plateau", "the least rate", min_lr);
        self
    }

    /// Records a loss, usually that of an epoch on a validation set, and returns the new rate.
    pub fn observe(&mut self, loss: f64) -> f64 {
        if loss < self.best * (1.0 - self.threshold) {
            (self.best, self.bad) = (loss, 0);
        } else {
            self.bad = self.bad.saturating_add(1);
        }
        if self.cooling > 0 {
            (self.cooling, self.bad) = (self.cooling - 1, 0);
        }
        if self.bad > self.patience {
            let lower = (self.lr * self.factor).max(self.min_lr);
            if self.lr - lower > 1e-8 {
                self.lr = lower;
            }
            (self.cooling, self.bad) = (self.cooldown, 0);
        }
        self.lr
    }
}

/// The schedule's name in a file, and the keys of its state.
const NAME: &str = "Plateau";
const LR: &str = "lr";
const BEST: &str = "best";
const BAD: &str = "num_bad_epochs";
const COOLING: &str = "cooldown_counter";

impl Plateau {
    /// Writes the state, which are the rate, the best loss and the counts of losses, as the metadata of a safetensors
    /// file without tensors, atomically.
    ///
    /// # Errors
    /// If the file system fails; an existing file is then unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        // `Debug` of a float parses back to the same bits.
        let state = [
            ("schedule", NAME.to_string()),
            (LR, format!("{:?}", self.lr)),
            (BEST, format!("{:?}", self.best)),
            (BAD, self.bad.to_string()),
            (COOLING, self.cooling.to_string()),
        ];
        let mut file = StateDict::new();
        file.metadata = state.map(|(key, value)| (key.to_string(), value)).into();
        file.write(path)
    }

    /// Reads what [`save`](Plateau::save) wrote. The settings (factor, patience and so on) are those of this schedule.
    /// It then continues as if it had not been interrupted.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// # let path = std::env::temp_dir().join(format!("minitorch-plateau-{}", std::process::id()));
    /// let mut plateau = Plateau::new(0.1).patience(1);
    /// plateau.observe(3.0);
    /// plateau.save(&path)?;
    ///
    /// let mut resumed = Plateau::new(0.1).patience(1);
    /// resumed.load(&path)?;
    /// assert_eq!(resumed, plateau);
    /// # std::fs::remove_file(path).ok();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read, or is not the state of a `Plateau`; nothing is changed then.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let file = StateDict::read(path)?.metadata;
        let wrong = |key: &str, text: &str| {
            Error::format(path, format!("is not the state of a {NAME}: {key} is {}", shown(text)))
        };
        let text = |key: &str| file.get(key).map_or("missing", String::as_str);
        if text("schedule") != NAME {
            return Err(wrong("schedule", text("schedule")));
        }
        fn number<T: FromStr>(text: &str, valid: impl Fn(&T) -> bool) -> Option<T> {
            text.parse().ok().filter(valid)
        }
        let float = |key: &str, valid: fn(&f64) -> bool| number(text(key), valid).ok_or_else(|| wrong(key, text(key)));
        let count = |key: &str| number(text(key), |_: &usize| true).ok_or_else(|| wrong(key, text(key)));
        let lr = float(LR, |lr| lr.is_finite() && *lr >= 0.0)?;
        let best = float(BEST, |best| !best.is_nan())?;
        let (bad, cooling) = (count(BAD)?, count(COOLING)?);
        (self.lr, self.best, self.bad, self.cooling) = (lr, best, bad, cooling);
        Ok(())
    }
}

/// The current rate, for every step.
impl Schedule for Plateau {
    fn lr(&self, _: usize) -> f64 {
        self.lr
    }
}
