//! A line of text below a picture.

use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_6X10};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Alignment, Baseline, Text};
use std::convert::Infallible;
use td_koopman_envs::Frame;

/// Rows of the bar.
pub const HEIGHT: usize = 16;
const BACKGROUND: [u8; 3] = [24, 26, 32];
const WORDS: Rgb888 = Rgb888::new(222, 226, 230);
/// Pixels between the text and the edges.
const MARGIN: i32 = 5;

/// Adds a bar below `picture`, with `left` and `right` at its ends; text that does not fit is cut off.
pub fn add(mut picture: Frame, left: &str, right: &str) -> Frame {
    let mut bar = Bar(Frame::blank(picture.width, HEIGHT, BACKGROUND));
    let style = MonoTextStyle::new(&FONT_6X10, WORDS);
    let y = (HEIGHT as i32 - FONT_6X10.character_size.height as i32) / 2;
    let mut write = |text: &str, x, alignment| {
        let mut line = Text::with_baseline(text, Point::new(x, y), style, Baseline::Top);
        line.text_style.alignment = alignment;
        let Ok(_) = line.draw(&mut bar);
    };
    let end = picture.width as i32 - 1 - MARGIN;
    write(right, end, Alignment::Right);
    // the numbers matter more than the name
    let room = picture.width as i32 - 3 * MARGIN - 6 * right.len() as i32;
    write(left.get(..(room.max(0) / 6) as usize).unwrap_or(left), MARGIN, Alignment::Left);
    picture.rgb.extend(bar.0.rgb);
    picture.height += HEIGHT;
    picture
}

struct Bar(Frame);

impl OriginDimensions for Bar {
    fn size(&self) -> Size {
        Size::new(self.0.width as u32, self.0.height as u32)
    }
}

impl DrawTarget for Bar {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            let (width, height) = (self.0.width as i32, self.0.height as i32);
            if (0..width).contains(&x) && (0..height).contains(&y) {
                let place = 3 * (y * width + x) as usize;
                self.0.rgb[place..place + 3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_lies_below_the_picture_and_holds_both_texts() {
        let picture = Frame::blank(200, 50, [1, 2, 3]);
        let with = add(picture.clone(), "pendulum", "return -12.3");
        assert_eq!((with.width, with.height, with.rgb.len()), (200, 66, 3 * 200 * 66));
        assert_eq!(with.rgb[..picture.rgb.len()], picture.rgb);
        let lit = |columns: std::ops::Range<usize>| {
            let pixels = with.rgb[picture.rgb.len()..].chunks(3).enumerate();
            pixels.filter(|(i, p)| columns.contains(&(i % 200)) && p[0] > 100).count()
        };
        assert!(lit(5..53) > 50 && lit(122..195) > 70, "{} {}", lit(5..53), lit(122..195));
        assert_eq!((lit(0..5), lit(54..120), lit(196..200)), (0, 0, 0));
    }

    #[test]
    fn a_name_that_does_not_fit_gives_way_to_the_numbers() {
        let (cut, none) = (add(Frame::blank(90, 1, [0; 3]), "long-name", "return 5"), "");
        assert_eq!(cut, add(Frame::blank(90, 1, [0; 3]), "long", "return 5"));
        assert_ne!(cut, add(Frame::blank(90, 1, [0; 3]), none, "return 5"));
    }
}
