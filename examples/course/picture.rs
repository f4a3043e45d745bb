//! The picture of a run as SVG: the class that the network predicts at each point of the plane, the training points,
//! and the loss over the epochs.

use crate::contour::Grid;
use crate::data::{Plan, Point};
use std::fmt::Write;

/// Evaluations of the network along each side of the square.
const SIDE: usize = 80;
/// The most points that are drawn.
const SHOWN: usize = 1500;
/// The square and the chart: left, top, width, height.
const SQUARE: [f64; 4] = [62.0, 84.0, 400.0, 400.0];
const CHART: [f64; 4] = [610.0, 84.0, 330.0, 400.0];
/// The classes' colours differ in hue and in lightness.
const MARKS: [&str; 2] = ["#0b3c73", "#c2410c"];

/// The content of a picture.
pub(crate) struct Picture<'a> {
    pub(crate) plan: &'a Plan,
    /// The loss of each epoch.
    pub(crate) losses: &'a [f64],
    /// The probability of class 1 at each training point.
    pub(crate) seen: &'a [f64],
    /// The same at each of [`places`], row by row from the upper left.
    pub(crate) field: &'a [f64],
}

/// The lower and the upper bound, on both axes, of the square around the points.
pub(crate) fn bounds(points: &[Point]) -> [f64; 2] {
    let reach = points.iter().flat_map(|point| point.at).map(|x| (x - 0.5).abs()).fold(0.5, f64::max);
    [0.46 - reach, 0.54 + reach]
}

/// A grid of `side` x `side` points over such a square, row by row from the upper left; the outermost are on its
/// border.
pub(crate) fn places([low, high]: [f64; 2], side: usize) -> Vec<[f64; 2]> {
    let along = |i: usize| low + (high - low) * i as f64 / (side - 1) as f64;
    (0..side).rev().flat_map(|row| (0..side).map(move |column| [along(column), along(row)])).collect()
}

/// The grid at which a picture needs probabilities.
pub(crate) fn field(points: &[Point]) -> Vec<[f64; 2]> {
    places(bounds(points), SIDE)
}

/// From blue over white to orange, by the probability of class 1.
pub(crate) fn shade(probability: f64) -> (u8, u8, u8) {
    let (end, share) = if probability < 0.5 {
        ([104.0, 160.0, 214.0], 1.0 - 2.0 * probability)
    } else {
        ([246.0, 164.0, 82.0], 2.0 * probability - 1.0)
    };
    let [r, g, b] = end.map(|end: f64| (250.0 + (end - 250.0) * share).round() as u8);
    (r, g, b)
}

impl Picture<'_> {
    /// The content of the file.
    pub(crate) fn svg(&self) -> String {
        let Plan { method, task, points, hidden, lr, epochs, seed, .. } = self.plan;
        let right = points.iter().zip(self.seen).filter(|(point, seen)| (**seen > 0.5) == point.class).count();
        let title =
            format!("{}, learned with {}: {right} of {} points right", upper(task.name()), method.name(), points.len());
        let settings = format!("2 → {hidden} → {hidden} → 1, ReLU; learning rate {lr}, {epochs} epochs, seed {seed}");
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 968 556' width='968' height='556' \
             font-family='Helvetica, Arial, sans-serif' font-size='13' fill='#333'>\n<title>{title}</title>\n\
             <rect width='968' height='556' fill='#fff'/>\n\
             <text x='62' y='36' font-size='20' font-weight='bold' fill='#111'>{title}</text>\n\
             <text x='62' y='60'>{settings}</text>"
        );
        self.regions(&mut svg);
        self.marks(&mut svg);
        self.scale(&mut svg);
        self.chart(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// The shades, drawn over each other from class 0 to class 1, and the boundary between the classes.
    fn regions(&self, svg: &mut String) {
        let [left, top, width, height] = SQUARE;
        // Interpolation is linear in the logit, which a network of ReLUs is piecewise.
        let logit = |p: &f64| (p / (1.0 - p)).ln().clamp(-20.0, 20.0);
        let grid = Grid::new(SIDE, self.field.iter().map(logit).collect());
        let path = |level: f64| {
            let mut path = String::new();
            for outline in grid.outlines(logit(&level)) {
                for (i, [x, y]) in outline.into_iter().enumerate() {
                    let (x, y) = (left + x * width, top + y * height);
                    let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
                }
                path.push('Z');
            }
            path
        };
        let _ = writeln!(svg, "<rect x='{left}' y='{top}' width='{width}' height='{height}' fill='{}'/>", hex(0.0125));
        let _ = writeln!(svg, "<g fill-rule='evenodd'>");
        for i in 1..40 {
            let (level, path) = (i as f64 / 40.0, path(i as f64 / 40.0));
            if !path.is_empty() {
                let _ = writeln!(svg, "<path fill='{}' d='{path}'/>", hex(level + 0.0125));
            }
        }
        let boundary = path(0.5);
        let _ = writeln!(svg, "</g>\n<path d='{boundary}' fill='none' stroke='#222' stroke-width='1.6'/>");
        // The frame covers the borders of the outlines.
        frame(svg, SQUARE);
        let [low, high] = bounds(&self.plan.points);
        for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let share = (tick - low) / (high - low);
            let (x, y) = (left + share * width, top + (1.0 - share) * height);
            tick_x(svg, x, top + height, &tick.to_string());
            tick_y(svg, left, y, &tick.to_string());
        }
    }

    /// The points: class 0 as circles, class 1 as triangles, a ring around misclassified ones; and the legend.
    fn marks(&self, svg: &mut String) {
        let [left, top, width, height] = SQUARE;
        let [low, high] = bounds(&self.plan.points);
        let mut paths = [const { String::new() }; 3];
        for (point, seen) in self.plan.points.iter().zip(self.seen).take(SHOWN) {
            let [x, y] = point.at.map(|x| (x - low) / (high - low));
            let (x, y) = (left + x * width, top + (1.0 - y) * height);
            mark(&mut paths[point.class as usize], point.class, x, y);
            if (*seen > 0.5) != point.class {
                circle(&mut paths[2], x, y, 9.0);
            }
        }
        let baseline = top + height + 52.0;
        mark(&mut paths[0], false, left + 6.0, baseline - 4.0);
        mark(&mut paths[1], true, left + 86.0, baseline - 4.0);
        circle(&mut paths[2], left + 166.0, baseline - 4.0, 7.0);
        let _ = writeln!(
            svg,
            "<g stroke='#fff' stroke-width='1'><path fill='{}' d='{}'/>\n<path fill='{}' d='{}'/></g>\n\
             <path fill='none' stroke='#000' stroke-width='2' d='{}'/>",
            MARKS[0], paths[0], MARKS[1], paths[1], paths[2]
        );
        for (at, text) in [(16.0, "class 0"), (96.0, "class 1"), (180.0, "on the wrong side"), (344.0, "boundary")] {
            let _ = writeln!(svg, "<text x='{}' y='{baseline}'>{text}</text>", left + at);
        }
        let (x, y) = (left + 316.0, baseline - 4.0);
        let _ = writeln!(svg, "<path d='M{x} {y}h22' stroke='#222' stroke-width='1.6'/>");
    }

    /// The legend of the shades.
    fn scale(&self, svg: &mut String) {
        let [left, top, width, height] = SQUARE;
        let (x, step) = (left + width + 18.0, height / 40.0);
        for i in 0..40 {
            let (y, color) = (top + (39 - i) as f64 * step, hex((i as f64 + 0.5) / 40.0));
            let _ = writeln!(svg, "<rect x='{x}' y='{y}' width='14' height='{}' fill='{color}'/>", step + 0.5);
        }
        for (share, text) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
            let _ = writeln!(svg, "<text x='{}' y='{}'>{text}</text>", x + 20.0, top + (1.0 - share) * height + 4.0);
        }
        let (x, y) = (x + 44.0, top + height / 4.0);
        let _ = writeln!(
            svg,
            "<text transform='translate({x} {y}) rotate(-90)' text-anchor='middle'>probability of class 1</text>"
        );
    }

    /// The loss over the epochs, on a logarithmic axis.
    fn chart(&self, svg: &mut String) {
        let [left, top, width, height] = CHART;
        let losses: Vec<f64> = self.losses.iter().map(|loss| loss.max(1e-9)).collect();
        let epochs = losses.len().max(1);
        let [low, high] = losses.iter().fold([f64::INFINITY, 0.0], |[low, high], &y| [low.min(y), f64::max(high, y)]);
        let (low, high) = ((low / 1.2).log10(), (high * 1.2).log10());
        let place = |epoch: f64, loss: f64| {
            (left + width * epoch / epochs as f64, top + height * (high - loss.log10()) / (high - low))
        };
        // At most 330 points; each is the mean of a number of epochs.
        let bucket = epochs.div_ceil(330);
        let mut path = String::new();
        for (i, bucket_losses) in losses.chunks(bucket).enumerate() {
            let count = bucket_losses.len() as f64;
            let (x, y) = place((i * bucket) as f64 + (count + 1.0) / 2.0, bucket_losses.iter().sum::<f64>() / count);
            let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
        }
        let decades = low.floor() as i32..=high.ceil() as i32;
        let few = high - low < 2.0;
        for (digit, exponent) in decades.flat_map(|e| [(1, e), (2, e), (5, e)]).filter(|(digit, _)| few || *digit == 1)
        {
            let tick = digit as f64 * 10f64.powi(exponent);
            let (_, y) = place(0.0, tick);
            if (top..=top + height).contains(&y) {
                let _ = writeln!(svg, "<path d='M{left} {y:.1}h{width}' stroke='#e4e4e4'/>");
                tick_y(svg, left, y, &tick_label(digit, exponent));
            }
        }
        for tick in (0..=5).map(|i| i * round_up(epochs.div_ceil(5))).filter(|&tick| tick <= epochs) {
            tick_x(svg, place(tick as f64, 1.0).0, top + height, &tick.to_string());
        }
        // Round caps make the dot of a single epoch visible.
        let _ = writeln!(
            svg,
            "<path d='{path}h0' fill='none' stroke='#111' stroke-width='1.6' stroke-linejoin='round' \
             stroke-linecap='round'/>"
        );
        frame(svg, CHART);
        let (x, y) = (left + width / 2.0, top + height + 52.0);
        let _ = writeln!(
            svg,
            "<text x='{x}' y='{y}' text-anchor='middle'>epoch</text>\n\
             <text x='{left}' y='{}'>binary cross-entropy</text>",
            top - 10.0
        );
    }
}

fn upper(name: &str) -> String {
    name.chars().take(1).flat_map(char::to_uppercase).chain(name.chars().skip(1)).collect()
}

fn hex(probability: f64) -> String {
    let (r, g, b) = shade(probability);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The next of 1, 2, 5, 10, 20, 50, ..
fn round_up(least: usize) -> usize {
    let mut step = 1;
    while step < least {
        step = if step.to_string().starts_with('2') { step / 2 * 5 } else { step * 2 };
    }
    step
}

fn tick_label(digit: i32, exponent: i32) -> String {
    if exponent < -4 { format!("{digit}e{exponent}") } else { (digit as f64 * 10f64.powi(exponent)).to_string() }
}

fn frame(svg: &mut String, [left, top, width, height]: [f64; 4]) {
    let _ = writeln!(
        svg,
        "<rect x='{left}' y='{top}' width='{width}' height='{height}' fill='none' stroke='#222' stroke-width='1.6'/>"
    );
}

fn tick_x(svg: &mut String, x: f64, bottom: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<path d='M{x:.1} {bottom}v5' stroke='#222'/><text x='{x:.1}' y='{}' text-anchor='middle'>{text}</text>",
        bottom + 20.0
    );
}

fn tick_y(svg: &mut String, left: f64, y: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<path d='M{left} {y:.1}h-5' stroke='#222'/><text x='{}' y='{:.1}' text-anchor='end'>{text}</text>",
        left - 9.0,
        y + 4.5
    );
}

fn mark(path: &mut String, class: bool, x: f64, y: f64) {
    if class {
        let _ = write!(path, "M{x:.1} {:.1}l5.6 9.6h-11.2z", y - 6.2);
    } else {
        circle(path, x, y, 4.6);
    }
}

fn circle(path: &mut String, x: f64, y: f64, r: f64) {
    let _ = write!(path, "M{:.1} {y:.1}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0-{d} 0z", x - r, d = 2.0 * r);
}
