//! A picture as a frame of a GIF: what changed since the last one, in 255 colours.

use color_quant::NeuQuant;
use std::collections::{HashMap, HashSet};
use td_koopman_envs::Frame;

/// Colours of a frame; one more index means transparent.
const COLOURS: usize = 255;
const TRANSPARENT: u8 = COLOURS as u8;
/// Pixels that the quantiser should look at, at least.
const SAMPLES: usize = 4000;

/// The pixels that differ from the last picture; the others are transparent, so that a sky that stays costs nothing.
pub fn encode(last: Option<&Frame>, picture: &Frame) -> gif::Frame<'static> {
    let stays =
        |place: usize| last.is_some_and(|last| last.rgb[place..place + 3] == picture.rgb[place..place + 3]);
    let pixels = picture.rgb.chunks_exact(3).enumerate();
    let pixels: Vec<Option<[u8; 3]>> =
        pixels.map(|(i, p)| (!stays(3 * i)).then(|| [p[0], p[1], p[2]])).collect();
    let colours: HashSet<_> = pixels.iter().flatten().copied().collect();
    let (palette, index) =
        if colours.len() <= COLOURS { exact(colours) } else { quantised(&pixels, colours) };
    let indices: Vec<u8> = pixels.iter().map(|p| p.map_or(TRANSPARENT, |colour| index[&colour])).collect();
    let (width, height) = (picture.width as u16, picture.height as u16);
    let mut frame = gif::Frame::from_palette_pixels(width, height, indices, palette, Some(TRANSPARENT));
    frame.dispose = gif::DisposalMethod::Keep;
    frame
}

/// A palette, padded so that the transparent index exists, and the index of every colour.
type Palette = (Vec<u8>, HashMap<[u8; 3], u8>);

fn exact(colours: HashSet<[u8; 3]>) -> Palette {
    let mut colours: Vec<_> = colours.into_iter().collect();
    colours.sort_unstable(); // the same pictures make the same file
    let mut palette = colours.concat();
    palette.resize(3 * (COLOURS + 1), 0);
    (palette, colours.into_iter().zip(0..).collect())
}

fn quantised(pixels: &[Option<[u8; 3]>], colours: HashSet<[u8; 3]>) -> Palette {
    let opaque = |[r, g, b]: [u8; 3]| [r, g, b, 255];
    let seen: Vec<u8> = pixels.iter().flatten().copied().flat_map(opaque).collect();
    let every = (seen.len() / 4 / SAMPLES).clamp(1, 30) as i32;
    let quantiser = NeuQuant::new(every, COLOURS, &seen);
    let mut palette = quantiser.color_map_rgb();
    palette.resize(3 * (COLOURS + 1), 0);
    (palette, colours.into_iter().map(|c| (c, quantiser.index_of(&opaque(c)) as u8)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with a smooth slope of colours over half of it, and noise of 64 colours over the rest.
    fn picture(shift: usize) -> Frame {
        let pixel = |i: usize| match (i % 60, i / 60) {
            (x, y) if x < 30 => [4 * (x + shift) as u8, 5 * y as u8, 90],
            (x, y) => [(x * 37 + y * 11) as u8, (x * y) as u8, (x * 91) as u8].map(|level| level & 0xc0),
        };
        Frame { width: 60, height: 40, rgb: (0..60 * 40).flat_map(pixel).collect() }
    }

    /// What a player shows after `frame`.
    fn show(screen: &mut [u8], frame: &gif::Frame) {
        let palette = frame.palette.as_ref().unwrap();
        for (pixel, &index) in screen.chunks_exact_mut(3).zip(frame.buffer.iter()) {
            if index != TRANSPARENT {
                pixel.copy_from_slice(&palette[3 * index as usize..][..3]);
            }
        }
    }

    /// gif's own quantiser mixed transparent and opaque pixels into dark shades, which stayed as smudges.
    #[test]
    fn frames_put_over_each_other_are_the_pictures() {
        let mut screen = vec![0; 3 * 60 * 40];
        let mut last = None;
        for shift in 0..5 {
            let now = picture(shift);
            let frame = encode(last.as_ref(), &now);
            show(&mut screen, &frame);
            let worst = screen.iter().zip(&now.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst < 60, "frame {shift}: a colour is off by {worst}");
            let mean = screen.iter().zip(&now.rgb).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
            assert!(mean / (screen.len() as f64) < 8.0, "frame {shift}: {}", mean / screen.len() as f64);
            let stayed = frame.buffer.iter().filter(|&&index| index == TRANSPARENT).count();
            assert_eq!(stayed, if shift == 0 { 0 } else { 30 * 40 });
            last = Some(now);
        }
    }

    #[test]
    fn few_colours_are_exact_and_no_change_is_no_colour() {
        let mut now = Frame::blank(20, 10, [3, 200, 7]);
        now.capsule([0.0; 2], [0.5, 0.0], 0.3, [250, 10, 20]);
        let mut screen = vec![0; now.rgb.len()];
        show(&mut screen, &encode(None, &now));
        assert_eq!(screen, now.rgb);
        assert!(encode(Some(&now), &now).buffer.iter().all(|&index| index == TRANSPARENT));
    }
}
