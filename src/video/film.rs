//! The file that pictures go to, one after another.

#[cfg(feature = "mp4")]
use super::mp4::Mp4File;
use super::{cannot_write, frame};
use crate::config::ConfigError;
use anyhow::Result;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use td_koopman_envs::Frame;

/// What a name's ending asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Gif,
    #[cfg(feature = "mp4")]
    Mp4,
}

impl Format {
    /// The format of `path`, which pictures of `width` × `height` fit.
    pub fn of(path: &Path, [width, height]: [usize; 2]) -> Result<Self, ConfigError> {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let complain = |why: &str| Err(ConfigError(format!("{}: {why}", cannot_write(path))));
        match ending.as_str() {
            "gif" => Ok(Self::Gif),
            #[cfg(feature = "mp4")]
            "mp4" if width % 2 + height % 2 > 0 || width.max(height) > 3840 || width.min(height) > 2160 => {
                complain("the sides of an MP4's pictures are even numbers, up to 3840 and 2160")
            }
            #[cfg(feature = "mp4")]
            "mp4" => Ok(Self::Mp4),
            #[cfg(not(feature = "mp4"))]
            "mp4" => complain(
                "this program was built without MP4; name it FILE.gif, or build with `--features mp4`",
            ),
            _ => complain("its name has to end in .gif or .mp4"),
        }
    }
}

/// An open file.
pub enum Film {
    Gif(GifFile),
    #[cfg(feature = "mp4")]
    Mp4(Box<Mp4File>),
}

impl Film {
    /// Creates `path` for pictures of `width` × `height`.
    pub fn create(format: Format, path: &Path, [width, height]: [usize; 2]) -> Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        Ok(match format {
            Format::Gif => Self::Gif(GifFile::new(file, width, height)?),
            #[cfg(feature = "mp4")]
            Format::Mp4 => Self::Mp4(Box::new(Mp4File::new(file)?)),
        })
    }

    /// Adds a picture, shown for `hundredths` of a second.
    pub fn add(&mut self, picture: Frame, hundredths: u16) -> Result<()> {
        match self {
            Self::Gif(file) => file.add(picture, hundredths),
            #[cfg(feature = "mp4")]
            Self::Mp4(file) => file.add(&picture, hundredths),
        }
    }

    /// Completes the file.
    pub fn finish(self) -> Result<()> {
        let writer = match self {
            Self::Gif(file) => file.encoder.into_inner()?,
            #[cfg(feature = "mp4")]
            Self::Mp4(file) => file.finish()?,
        };
        writer.into_inner().map_err(|e| e.into_error())?;
        Ok(())
    }
}

/// An animated GIF that plays for ever.
pub struct GifFile {
    encoder: gif::Encoder<BufWriter<File>>,
    last: Option<Frame>,
}

impl GifFile {
    fn new(file: BufWriter<File>, width: usize, height: usize) -> Result<Self> {
        let mut encoder = gif::Encoder::new(file, width as u16, height as u16, &[])?;
        encoder.set_repeat(gif::Repeat::Infinite)?;
        Ok(Self { encoder, last: None })
    }

    fn add(&mut self, picture: Frame, hundredths: u16) -> Result<()> {
        let mut frame = frame::encode(self.last.as_ref(), &picture);
        frame.delay = hundredths;
        self.last = Some(picture);
        Ok(self.encoder.write_frame(&frame)?)
    }
}
