//! `feature-maps.svg`: the outputs of layers of a trained model for one image, as tiles.
//!
//! A tile is a PNG in the SVG, enlarged by an integer factor so that viewers do not blur its pixels; titles and numbers
//! are text.

use crate::common::evaluate::Score;
use minitorch::nn::data::ImageDataset;
use minitorch::prelude::*;
use std::fmt::Write;
use std::io;

/// The outputs of one layer.
pub(crate) struct Maps<B: Backend> {
    /// The title of the layer.
    pub(crate) title: &'static str,
    /// `[1, maps, height, width]`.
    pub(crate) values: Tensor<B>,
}

type Rgb = [f64; 3];

/// Colour scales from the lowest value to the highest, equally spaced; colours between are interpolated.
const BLUES: [Rgb; 4] = [[255.0, 255.0, 255.0], [158.0, 202.0, 225.0], [49.0, 130.0, 189.0], [8.0, 48.0, 107.0]];
const INK: [Rgb; 2] = [[255.0, 255.0, 255.0], [0.0, 0.0, 0.0]];

const WIDTH: usize = 1040;
const MARGIN: usize = 24;
/// The maximal side of a tile.
const TILE: usize = 112;
/// The gap between tiles, and the height of a label below them.
const GAP: usize = 12;
const LABEL: usize = 18;
const BAR: usize = 120;

/// The picture for one image of a set: the image, and a block of tiles per layer.
///
/// # Errors
/// If the device fails.
pub(crate) fn picture<B: Backend>(maps: &[Maps<B>], set: &ImageDataset, image: usize, score: &Score) -> Result<String> {
    let (classes, label) = (score.classes, set.labels()[image] as usize);
    let mistake = score.mistakes.iter().find(|mistake| mistake.example == image);
    let read = mistake.map_or(label, |mistake| mistake.predicted);
    let mut svg = Svg { body: String::new(), y: MARGIN + 20, gradients: 0 };
    let title = format!(
        "Feature maps of test image {image}: {} {}, read as {}",
        classes.kind, classes.names[label], classes.names[read]
    );
    svg.text((MARGIN, svg.y), 20, &title);
    svg.y += 16;

    let [channels, height, width] = set.image_shape();
    let bytes: Vec<f64> = set.image(image).iter().map(|&byte| byte as f64).collect();
    svg.heading(&format!("input: {width} x {height} pixels"), (0.0, 255.0), &INK);
    let color = |at: usize| match channels {
        3 => [0, 1, 2].map(|channel| bytes[channel * height * width + at]),
        _ => mix(&INK, bytes[at] / 255.0),
    };
    svg.tiles([height, width], 1, |_, at| color(at), |_| String::new())?;

    for layer in maps {
        let [_, count, height, width] = layer.values.dims();
        let values: Vec<f32> = layer.values.to_vec()?;
        let low = values.iter().copied().fold(0.0, f32::min) as f64;
        let high = values.iter().copied().fold(0.0, f32::max) as f64;
        svg.heading(&format!("{}: {count} maps of {width} x {height}", layer.title), (low, high), &BLUES);
        let share = |value: f32| if high > low { (value as f64 - low) / (high - low) } else { 0.0 };
        let color = |map: usize, at: usize| mix(&BLUES, share(values[map * height * width + at]));
        svg.tiles([height, width], count, color, |map| format!("map {}", map + 1))?;
    }
    Ok(svg.finish())
}

/// A picture that grows downwards.
struct Svg {
    body: String,
    /// Where the next block starts.
    y: usize,
    gradients: usize,
}

// Writing to a String cannot fail.
impl Svg {
    fn text(&mut self, (x, y): (usize, usize), size: usize, text: &str) {
        let _ = writeln!(self.body, r#"<text x="{x}" y="{y}" font-size="{size}">{text}</text>"#);
    }

    /// The title of a block, and its colour scale at the right.
    fn heading(&mut self, title: &str, (low, high): (f64, f64), colors: &[Rgb]) {
        self.y += 28;
        self.text((MARGIN, self.y), 15, title);
        let id = self.gradients;
        self.gradients += 1;
        let _ = write!(self.body, r#"<linearGradient id="scale{id}">"#);
        for (i, [r, g, b]) in colors.iter().enumerate() {
            let offset = i as f64 / (colors.len() - 1) as f64;
            let _ = write!(self.body, r#"<stop offset="{offset:.4}" stop-color="rgb({r},{g},{b})"/>"#);
        }
        let (x, y) = (WIDTH - MARGIN - 56 - BAR, self.y - 11);
        let _ = writeln!(
            self.body,
            r##"</linearGradient><rect x="{x}" y="{y}" width="{BAR}" height="12" fill="url(#scale{id})" stroke="#888"/>"##
        );
        let _ = writeln!(
            self.body,
            r#"<text x="{}" y="{}" font-size="13" text-anchor="end">{}</text>"#,
            x - 8,
            self.y,
            number(low)
        );
        self.text((x + BAR + 8, self.y), 13, &number(high));
        self.y += 12;
    }

    /// `count` tiles in rows, each with a label below.
    fn tiles(
        &mut self,
        [height, width]: [usize; 2],
        count: usize,
        color: impl Fn(usize, usize) -> Rgb,
        label: impl Fn(usize) -> String,
    ) -> Result<()> {
        let factor = (TILE / height.max(width).max(1)).max(1);
        let (w, h) = (width * factor, height * factor);
        let columns = ((WIDTH - 2 * MARGIN + GAP) / (w + GAP)).max(1);
        for tile in 0..count {
            let x = MARGIN + tile % columns * (w + GAP);
            let y = self.y + tile / columns * (h + LABEL + GAP);
            let pixels: Vec<u8> = (0..w * h)
                .map(|at| at / w / factor * width + at % w / factor)
                .flat_map(|at| color(tile, at).map(|part| part.round() as u8))
                .collect();
            let png = png(&pixels, w as u32, h as u32).map_err(|e| Error::Invalid(format!("a feature map: {e}")))?;
            let data = base64(&png);
            let _ = writeln!(
                self.body,
                r##"<image x="{x}" y="{y}" width="{w}" height="{h}" href="data:image/png;base64,{data}"/><rect x="{x}" y="{y}" width="{w}" height="{h}" fill="none" stroke="#888"/>"##
            );
            self.text((x, y + h + 14), 12, &label(tile));
        }
        self.y += count.div_ceil(columns) * (h + LABEL + GAP);
        Ok(())
    }

    fn finish(self) -> String {
        let height = self.y + MARGIN - GAP;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" fill=\"#222\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// With at most two decimals and no trailing zeros.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// The colour at a position of the scale, from 0 to 1; the lowest one for NaN.
fn mix(colors: &[Rgb], share: f64) -> Rgb {
    let at = share.max(0.0) * (colors.len() - 1) as f64;
    let left = (at as usize).min(colors.len() - 2);
    let part = (at - left as f64).min(1.0);
    std::array::from_fn(|i| colors[left][i] + (colors[left + 1][i] - colors[left][i]) * part)
}

fn png(rgb: &[u8], width: u32, height: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(bytes)
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0, |word, &byte| word << 8 | byte as usize) << (8 * (3 - group.len()));
        for i in 0..4 {
            text.push(if i <= group.len() { LETTERS[word >> (18 - 6 * i) & 63] as char } else { '=' });
        }
    }
    text
}
