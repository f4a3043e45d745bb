//! An RGB picture in memory, with the 8 x 8 bitmap letters of the font8x8 crate: pictures do not depend on system
//! fonts. It is a drawing backend of plotters.

use font8x8::UnicodeFonts;
use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind};
use std::convert::Infallible;
use std::io::BufWriter;
use std::path::Path;

/// The side of a letter at scale 1.
pub(crate) const LETTER: i32 = 8;

/// An RGB picture, white at first.
pub(crate) struct Canvas {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Canvas {
    /// A white picture.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Canvas { width, height, rgb: vec![255; width as usize * height as usize * 3] }
    }

    /// Blends a colour into a pixel; pixels outside the picture are ignored.
    pub(crate) fn blend(&mut self, x: i32, y: i32, (r, g, b): (u8, u8, u8), alpha: f64) {
        if x < 0 || y < 0 || x >= self.width as i32 || y >= self.height as i32 {
            return;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        for (old, new) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            *old = (*old as f64 * (1.0 - alpha) + new as f64 * alpha).round() as u8;
        }
    }

    /// Fills a square.
    pub(crate) fn square(&mut self, (x, y): (i32, i32), side: i32, color: (u8, u8, u8)) {
        for dy in 0..side {
            for dx in 0..side {
                self.blend(x + dx, y + dy, color, 1.0);
            }
        }
    }

    /// Draws a line of text, given its upper left corner. Letters that the font lacks become question marks.
    pub(crate) fn text(&mut self, text: &str, (x, y): (i32, i32), scale: i32, color: (u8, u8, u8)) {
        for (i, letter) in text.chars().enumerate() {
            let known = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::BASIC_FONTS.get('?'));
            for (row, bits) in known.unwrap_or_default().into_iter().enumerate() {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    let corner = (x + (i as i32 * LETTER + column) * scale, y + row as i32 * scale);
                    self.square(corner, scale, color);
                }
            }
        }
    }

    /// Writes the picture as PNG.
    ///
    /// # Errors
    /// If the file system fails.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        replace_file(path, |file| {
            let mut encoder = png::Encoder::new(BufWriter::new(file), self.width, self.height);
            encoder.set_color(png::ColorType::Rgb);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&self.rgb)?;
            Ok(writer.finish()?)
        })
    }
}

/// plotters draws everything but text by pixels.
impl DrawingBackend for &mut Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn ensure_prepared(&mut self) -> std::result::Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> std::result::Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(
        &mut self,
        (x, y): BackendCoord,
        color: BackendColor,
    ) -> std::result::Result<(), DrawingErrorKind<Infallible>> {
        self.blend(x, y, color.rgb, color.alpha);
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> std::result::Result<(), DrawingErrorKind<Infallible>> {
        let (width, height) = self.estimate_text_size(text, style)?;
        let x = match style.anchor().h_pos {
            HPos::Left => x,
            HPos::Center => x - width as i32 / 2,
            HPos::Right => x - width as i32,
        };
        let y = match style.anchor().v_pos {
            VPos::Top => y,
            VPos::Center => y - height as i32 / 2,
            VPos::Bottom => y - height as i32,
        };
        self.text(text, (x, y), scale(style), style.color().rgb);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> std::result::Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let side = (LETTER * scale(style)) as u32;
        Ok((side * text.chars().count() as u32, side))
    }
}

/// The scale of the letters for a style: a multiple of 8 pixels.
fn scale<S: BackendTextStyle>(style: &S) -> i32 {
    (style.size() as i32 / LETTER).max(1)
}
