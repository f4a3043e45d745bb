//! `curves.png`: loss and accuracy over the epochs.

use super::canvas::Canvas;
use super::output::Row;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

const TRAIN: RGBColor = RGBColor(31, 119, 180);
const EVALUATED: RGBColor = RGBColor(214, 69, 30);

/// Two panels, each with the curve of the training set and that of the set that evaluates the epochs.
pub(crate) fn curves(rows: &[Row], epochs: usize, set: &str) -> Canvas {
    let mut canvas = Canvas::new(1280, 520);
    let points = |value: fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
        rows.iter().filter_map(|row| Some((row.at, value(row)?))).collect()
    };
    let loss = [
        points(|row| row.evaluated.is_none().then_some(row.train.0)),
        points(|row| row.evaluated.map(|(loss, _)| loss)),
    ];
    let accuracy = [
        points(|row| row.evaluated.is_none().then_some(100.0 * row.train.1)),
        points(|row| row.evaluated.map(|(_, accuracy)| 100.0 * accuracy)),
    ];
    // The first steps are off any useful scale of accuracy: the axis starts below the minimum after the first quarter.
    let settled = accuracy.iter().flatten().filter(|(at, _)| *at >= epochs as f64 / 4.0).map(|&(_, y)| y);
    let floor = (settled.fold(100.0, f64::min) - 1.0).floor().clamp(0.0, 99.0);
    let largest = loss.iter().flatten().map(|&(_, y)| y).fold(0.1, f64::max);
    let smallest = loss.iter().flatten().map(|&(_, y)| y).fold(1.0, f64::min).max(1e-6);

    let area = (&mut canvas).into_drawing_area();
    let (left, right) = area.split_horizontally(640);
    let x = 0.0..epochs as f64;
    let names = ["training", set];
    // The canvas is infallible. An error of plotters leaves a part of the picture blank, which is no reason to fail the
    // run.
    let _ =
        panel(&left, "loss (logarithmic)", names, x.clone(), (smallest * 0.8..largest * 1.2).log_scale(), &loss, |y| {
            format!("{y:.4}").trim_end_matches('0').trim_end_matches('.').to_string()
        });
    let _ = panel(&right, "accuracy in %", names, x, floor..100.0, &accuracy, |y| format!("{y:.1}"));
    drop((left, right, area));
    canvas
}

/// One chart of two curves.
fn panel<Y>(
    area: &DrawingArea<&mut Canvas, Shift>,
    title: &str,
    names: [&str; 2],
    x: std::ops::Range<f64>,
    y: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
    curves: &[Vec<(f64, f64)>; 2],
    label: impl Fn(&f64) -> String,
) -> Result<(), DrawingAreaErrorKind<std::convert::Infallible>>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(WHITE).x_labels(10).y_labels(8).label_style(("sans-serif", 8));
    mesh.x_desc("epoch").y_label_formatter(&label).draw()?;
    let range = chart.y_range();
    let clamp = |&(x, y): &(f64, f64)| (x, y.clamp(range.start, range.end));
    let [train, evaluated] = curves;
    chart.draw_series(LineSeries::new(train.iter().map(clamp), TRAIN))?;
    chart.draw_series(LineSeries::new(evaluated.iter().map(clamp), EVALUATED.stroke_width(2)))?;
    chart.draw_series(evaluated.iter().map(clamp).map(|point| Circle::new(point, 4, EVALUATED.filled())))?;
    // plotters' own legend needs font metrics, which the canvas has not. This one is in the right corner that the
    // curves leave free: the upper one if they fall.
    let (width, height) = area.dim_in_pixel();
    let falls = train.first().zip(train.last()).is_some_and(|(first, last)| first.1 > last.1);
    let top = if falls { 64 } else { height as i32 - 110 };
    for (line, (name, color)) in names.into_iter().zip([TRAIN, EVALUATED]).enumerate() {
        let at = (width as i32 - 130, top + 20 * line as i32);
        area.draw(&Rectangle::new([at, (at.0 + 16, at.1 + 8)], color.filled()))?;
        area.draw_text(name, &("sans-serif", 8).into_text_style(area), (at.0 + 24, at.1))?;
    }
    Ok(())
}
