//! The display of a training run: the predicted classes of the plane in the terminal during training, a picture and the
//! result at the end.
//!
//! On a terminal the plane is drawn in place, two squares per character by half blocks. Elsewhere a few lines report
//! epoch, loss and correctly classified points, without control characters.

use crate::cli::say;
use crate::data::Plan;
use crate::picture::{Picture, bounds, field, places, shade};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use minitorch::nn::state::replace_file;
use minitorch::{Error, Result};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Squares of the plane along each side, on the terminal.
const SIDE: usize = 40;
/// `picture::shade` in the palette of 256 colours.
const SHADES: [u8; 9] = [74, 110, 153, 189, 231, 230, 223, 222, 215];
/// Lines of a run without a terminal.
const LINES: usize = 10;

/// The display of a run.
pub(crate) struct Watch<'a> {
    plan: &'a Plan,
    /// The loss of each epoch so far.
    losses: Vec<f64>,
    terminal: Option<Terminal>,
}

/// The plane, drawn in place.
struct Terminal {
    bar: ProgressBar,
    places: Vec<[f64; 2]>,
    started: Instant,
    /// The time of all drawing so far, and of the last one.
    drawing: Duration,
    once: Duration,
}

/// Writes a picture atomically, and prints its path.
///
/// # Errors
/// If the file system fails.
pub(crate) fn write(path: &Path, svg: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    }
    replace_file(path, |file| file.write_all(svg.as_bytes()))?;
    say(&format!("picture: {}", path.display()));
    Ok(())
}

impl<'a> Watch<'a> {
    /// Creates the folder of the picture, and checks before training that it can be written to.
    ///
    /// # Errors
    /// If it cannot.
    pub(crate) fn start(plan: &'a Plan) -> Result<Self> {
        let folder = &plan.out;
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        tempfile::tempfile_in(folder).map_err(|error| Error::io(folder, io::Error::from(error.kind())))?;
        let plain = ["TERM", "NO_COLOR"].map(|name| std::env::var(name).unwrap_or_default());
        let colours = io::stdout().is_terminal() && plain[0] != "dumb" && plain[1].is_empty();
        let terminal = colours.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            let places = places(bounds(&plan.points), SIDE);
            Terminal { bar, places, started: Instant::now(), drawing: Duration::ZERO, once: Duration::ZERO }
        });
        Ok(Watch { plan, losses: Vec::new(), terminal })
    }

    /// Records the mean loss of an epoch, and updates the display if it is due. `net` returns the probability of class
    /// 1 at each of a list of points.
    ///
    /// # Errors
    /// If the loss is not a finite number, and those of `net`.
    pub(crate) fn epoch(&mut self, loss: f64, net: impl Fn(&[[f64; 2]]) -> Result<Vec<f64>>) -> Result<()> {
        self.losses.push(loss);
        let (epoch, epochs) = (self.losses.len(), self.plan.epochs);
        if !loss.is_finite() {
            let reason = format!("the loss of epoch {epoch} is no longer a finite number; a smaller --lr may help");
            return Err(Error::Invalid(reason));
        }
        let state = |right: usize| {
            format!("epoch {epoch:>4} of {epochs}  loss {loss:.4}  {right} of {} points right", self.plan.points.len())
        };
        let Some(terminal) = &mut self.terminal else {
            if epoch * LINES / epochs > (epoch - 1) * LINES / epochs {
                say(&state(right(self.plan, &seen(self.plan, net)?)));
            }
            return Ok(());
        };
        // Drawing takes at most a tenth of the time.
        let begin = Instant::now();
        let due = terminal.drawing + terminal.once <= (begin - terminal.started) / 10;
        if due || epoch == 1 || epoch == epochs {
            let right = right(self.plan, &seen(self.plan, &net)?);
            let plane = frame(self.plan, &net(&terminal.places)?);
            terminal.bar.set_message(format!("{}\n{plane}", state(right)));
            terminal.bar.tick();
            terminal.once = begin.elapsed();
            terminal.drawing += terminal.once;
        }
        Ok(())
    }

    /// Ends the run: writes the picture, and prints its path and the number of correctly classified points.
    ///
    /// # Errors
    /// If the file system fails, and those of `net`.
    pub(crate) fn finish(self, net: impl Fn(&[[f64; 2]]) -> Result<Vec<f64>>) -> Result<()> {
        if let Some(terminal) = self.terminal {
            terminal.bar.finish();
        }
        let (plan, losses) = (self.plan, &self.losses);
        let (seen, field) = (&seen(plan, &net)?, &net(&field(&plan.points))?);
        let path = plan.out.join(format!("{}-{}.svg", plan.task.name(), plan.method.name()));
        write(&path, &Picture { plan, losses, seen, field }.svg())?;
        let (right, all) = (right(plan, seen), plan.points.len());
        // Rounded down: 100.0 % means all.
        let share = (1000 * right / all) as f64 / 10.0;
        say(&format!("training points: {right} of {all} right ({share:.1} %)"));
        Ok(())
    }
}

/// The probability of class 1 at each training point.
fn seen(plan: &Plan, net: impl Fn(&[[f64; 2]]) -> Result<Vec<f64>>) -> Result<Vec<f64>> {
    net(&plan.points.iter().map(|point| point.at).collect::<Vec<_>>())
}

fn right(plan: &Plan, seen: &[f64]) -> usize {
    plan.points.iter().zip(seen).filter(|(point, seen)| (**seen > 0.5) == point.class).count()
}

/// The plane in half blocks, with the points as letters: `o` for class 0, `x` for class 1.
fn frame(plan: &Plan, field: &[f64]) -> String {
    let [low, high] = bounds(&plan.points);
    let mut letters = [[None; SIDE]; SIDE / 2];
    for point in &plan.points {
        let [column, row] = point.at.map(|x| ((x - low) / (high - low) * (SIDE - 1) as f64).round() as usize);
        letters[(SIDE - 1 - row.min(SIDE - 1)) / 2][column.min(SIDE - 1)] = Some(point.class);
    }
    let true_color = std::env::var("COLORTERM").is_ok_and(|value| value == "truecolor" || value == "24bit");
    let color = |probability: f64| {
        if true_color {
            let (r, g, b) = shade(probability);
            format!("2;{r};{g};{b}")
        } else {
            format!("5;{}", SHADES[(8.0 * probability).round() as usize % 9])
        }
    };
    let mut text = String::new();
    for (row, letters) in letters.iter().enumerate() {
        for (column, letter) in letters.iter().enumerate() {
            let [upper, lower] = [2 * row, 2 * row + 1].map(|row| field[row * SIDE + column]);
            let _ = match letter {
                None => write!(text, "\x1b[38;{}m\x1b[48;{}m▀", color(upper), color(lower)),
                Some(class) => {
                    let (ink, letter) = if *class { (88, 'x') } else { (18, 'o') };
                    let behind = color((upper + lower) / 2.0);
                    write!(text, "\x1b[1;38;5;{ink}m\x1b[48;{behind}m{letter}\x1b[22m")
                }
            };
        }
        text.push_str("\x1b[0m\n");
    }
    text.truncate(text.trim_end().len());
    text
}
