//! A picture, and just enough drawing for environments that have no renderer of their own.

/// A picture in RGB, rows from the top: `rgb.len() == 3 · width · height`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green, blue of every pixel.
    pub rgb: Vec<u8>,
}

impl Frame {
    /// A picture of one colour.
    pub fn blank(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, rgb: colour.repeat(width * height) }
    }

    /// Draws a line with round ends and smooth edges; a point twice is a disc. The origin is the centre of the
    /// picture, x points right, y up, and the shorter side reaches from -1 to 1.
    pub fn capsule(&mut self, from: [f64; 2], to: [f64; 2], radius: f64, colour: [u8; 3]) {
        let pixel = 2.0 / self.width.min(self.height) as f64;
        let along = [to[0] - from[0], to[1] - from[1]];
        let squared_length = along[0] * along[0] + along[1] * along[1];
        for (index, rgb) in self.rgb.chunks_exact_mut(3).enumerate() {
            let (column, row) = (index % self.width, index / self.width);
            let x = (column as f64 + 0.5 - self.width as f64 / 2.0) * pixel - from[0];
            let y = (self.height as f64 / 2.0 - row as f64 - 0.5) * pixel - from[1];
            // the nearest point of the line, as a share of its length
            let share = match squared_length {
                0.0 => 0.0,
                _ => ((x * along[0] + y * along[1]) / squared_length).clamp(0.0, 1.0),
            };
            let distance = (x - share * along[0]).hypot(y - share * along[1]);
            let cover = (0.5 + (radius - distance) / pixel).clamp(0.0, 1.0);
            for (channel, own) in rgb.iter_mut().zip(colour) {
                *channel = (f64::from(*channel) * (1.0 - cover) + f64::from(own) * cover).round() as u8;
            }
        }
    }

    /// The picture scaled to fit into another size, in the middle, on black. Every pixel is the mean of those for
    /// which it stands.
    pub(crate) fn fitted(&self, width: usize, height: usize) -> Self {
        let scale = (width as f64 / self.width as f64).min(height as f64 / self.height as f64);
        let scaled =
            |size: usize, room: usize| ((size as f64 * scale).round() as usize).clamp(1, room.max(1));
        let (columns, rows) = (scaled(self.width, width), scaled(self.height, height));
        let (left, top) = (width.saturating_sub(columns) / 2, height.saturating_sub(rows) / 2);
        // the pixels out of `size` for which pixel `i` of `count` stands
        let part = |i: usize, count: usize, size: usize| i * size / count..((i + 1) * size).div_ceil(count);
        let mut fitted = Self::blank(width, height, [0; 3]);
        for (index, pixel) in fitted.rgb.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((index % width).wrapping_sub(left), (index / width).wrapping_sub(top));
            if x >= columns || y >= rows {
                continue;
            }
            let (across, down) = (part(x, columns, self.width), part(y, rows, self.height));
            let count = across.len() * down.len();
            for (channel, value) in pixel.iter_mut().enumerate() {
                let places = down.clone().flat_map(|y| across.clone().map(move |x| y * self.width + x));
                let sum: usize = places.map(|place| usize::from(self.rgb[3 * place + channel])).sum();
                *value = ((sum + count / 2) / count) as u8;
            }
        }
        fitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(frame: &Frame, column: usize, row: usize) -> u8 {
        frame.rgb[3 * (row * frame.width + column)]
    }

    #[test]
    fn a_capsule_covers_its_area() {
        let mut frame = Frame::blank(300, 200, [0; 3]);
        frame.capsule([-0.5, 0.2], [0.5, 0.2], 0.25, [255; 3]);
        let area =
            frame.rgb.iter().map(|&x| f64::from(x) / 255.0).sum::<f64>() / 3.0 * (2.0 / 200.0f64).powi(2);
        let expected = 0.5 * 1.0 + std::f64::consts::PI * 0.25 * 0.25;
        assert!((area / expected - 1.0).abs() < 0.005, "{area} {expected}");
    }

    #[test]
    fn up_is_up_and_right_is_right() {
        let mut frame = Frame::blank(40, 20, [0; 3]);
        frame.capsule([1.5, 0.5], [1.5, 0.5], 0.2, [9; 3]);
        // a unit is half the shorter side, 10 pixels
        assert_eq!((at(&frame, 35, 5), at(&frame, 5, 5), at(&frame, 35, 15)), (9, 0, 0));
    }
    #[test]
    fn a_fitted_picture_keeps_its_shape_and_its_mean() {
        // columns 0, 1, 2, 3: halved, then 2x1 in a square leaves a row above and two below
        let rgb: Vec<u8> = [10, 20, 30, 60].repeat(2).into_iter().flat_map(|x| [x; 3]).collect();
        let frame = Frame { width: 4, height: 2, rgb };
        assert_eq!(frame.fitted(4, 2), frame);
        let reds = |frame: &Frame| frame.rgb.iter().step_by(3).copied().collect::<Vec<_>>();
        assert_eq!(reds(&frame.fitted(2, 1)), [15, 45]);
        assert_eq!(reds(&frame.fitted(2, 4)), [0, 0, 15, 45, 0, 0, 0, 0]);
        assert_eq!(reds(&frame.fitted(8, 4))[..8], [10, 10, 20, 20, 30, 30, 60, 60]);
        assert_eq!(reds(&frame.fitted(0, 3)), []);
    }
}
