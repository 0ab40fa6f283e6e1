//! Pictures as H.264 in an MP4 file: smaller than a GIF, in all colours.

use anyhow::{Context, Result};
use mp4::{AvcConfig, MediaConfig, Mp4Config, Mp4Sample, Mp4Writer, TrackConfig, TrackType};
use openh264::encoder::{Encoder, EncoderConfig, FrameType, QpRange, RateControlMode, VuiConfig};
use openh264::formats::{RgbSliceU8, YUVBuffer};
use openh264::nal_units;
use openh264::{OpenH264API, Timestamp};
use std::fs::File;
use std::io::BufWriter;
use td_koopman_envs::Frame;

/// Units of the file's clock in a second.
const CLOCK: u32 = 100;
/// The only track.
const TRACK: u32 = 1;
/// Types of H.264's units (ITU-T H.264, table 7-1) that describe the sequence and the pictures.
const SEQUENCE: u8 = 7;
const PICTURE: u8 = 8;
/// Frames between pictures that need no other one, for jumping about in a player.
const KEY_FRAMES: u32 = 100;

/// A file being written.
pub struct Mp4File {
    encoder: Encoder,
    writer: Mp4Writer<BufWriter<File>>,
    /// When the next picture is shown.
    time: u64,
}

impl Mp4File {
    /// Begins a file.
    pub fn new(file: BufWriter<File>) -> Result<Self> {
        let brand = |name: &str| name.parse().map_err(|_| anyhow::anyhow!("no brand of an MP4: {name}"));
        let config = Mp4Config {
            major_brand: brand("isom")?,
            minor_version: 512,
            compatible_brands: ["isom", "iso2", "avc1", "mp41"]
                .into_iter()
                .map(brand)
                .collect::<Result<_>>()?,
            timescale: CLOCK,
        };
        // one thread and a fixed quality: the same pictures make the same file
        let encoding = EncoderConfig::new()
            .rate_control_mode(RateControlMode::Off)
            .qp(QpRange::new(0, 51))
            .skip_frames(false)
            .intra_frame_period(openh264::encoder::IntraFramePeriod::from_num_frames(KEY_FRAMES))
            .num_threads(1)
            .vui(VuiConfig::bt601());
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), encoding)?;
        Ok(Self { encoder, writer: Mp4Writer::write_start(file, &config)?, time: 0 })
    }

    /// Adds a picture with even sides, shown for `hundredths` of a second.
    pub fn add(&mut self, picture: &Frame, hundredths: u16) -> Result<()> {
        let pixels =
            YUVBuffer::from_rgb8_source(RgbSliceU8::new(&picture.rgb, (picture.width, picture.height)));
        let time = Timestamp::from_millis(1000 * self.time / u64::from(CLOCK));
        let stream = self.encoder.encode_at(&pixels, time)?;
        let is_sync = matches!(stream.frame_type(), FrameType::IDR | FrameType::I);
        let stream = stream.to_vec();
        let units: Vec<&[u8]> = nal_units(&stream).map(payload).collect();
        if self.time == 0 {
            let find = |kind| units.iter().find(|unit| kind_of(unit) == kind).map(|unit| unit.to_vec());
            let track = AvcConfig {
                width: picture.width as u16,
                height: picture.height as u16,
                seq_param_set: find(SEQUENCE).context("the first picture describes no sequence")?,
                pic_param_set: find(PICTURE).context("the first picture describes no pictures")?,
            };
            self.writer.add_track(&TrackConfig {
                track_type: TrackType::Video,
                timescale: CLOCK,
                language: "und".into(),
                media_conf: MediaConfig::AvcConfig(track),
            })?;
        }
        let pictures = units.into_iter().filter(|unit| ![SEQUENCE, PICTURE].contains(&kind_of(unit)));
        let prefixed = |unit: &[u8]| [&(unit.len() as u32).to_be_bytes(), unit].concat();
        let sample = Mp4Sample {
            start_time: self.time,
            duration: u32::from(hundredths),
            rendering_offset: 0,
            is_sync,
            bytes: pictures.flat_map(prefixed).collect::<Vec<u8>>().into(),
        };
        self.writer.write_sample(TRACK, &sample)?;
        self.time += u64::from(hundredths);
        Ok(())
    }

    /// Completes the file.
    pub fn finish(mut self) -> Result<BufWriter<File>> {
        self.writer.write_end()?;
        Ok(self.writer.into_writer())
    }
}

/// A unit without its start code 0 0 1 or 0 0 0 1.
fn payload(unit: &[u8]) -> &[u8] {
    let zeros = unit.iter().take_while(|byte| **byte == 0).count();
    unit.get(zeros + 1..).unwrap_or_default()
}

fn kind_of(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4::Mp4Reader;
    use openh264::decoder::Decoder;
    use openh264::formats::YUVSource;

    /// A dark square that moves over a slope of colours.
    fn picture(shift: usize) -> Frame {
        let pixel = |i: usize| match (i % 64, i / 64) {
            (x, y) if (shift..shift + 12).contains(&x) && (10..22).contains(&y) => [20, 30, 40],
            (x, y) => [60 + 2 * x as u8, 200 - 3 * y as u8, 120],
        };
        Frame { width: 64, height: 48, rgb: (0..64 * 48).flat_map(pixel).collect() }
    }

    #[test]
    fn a_player_shows_the_pictures_for_as_long_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.mp4");
        let mut file = Mp4File::new(BufWriter::new(File::create(&path).unwrap())).unwrap();
        let shown: Vec<Frame> = (0..40).map(picture).collect();
        for (i, picture) in shown.iter().enumerate() {
            file.add(picture, if i == 39 { 100 } else { 4 }).unwrap();
        }
        file.finish().unwrap().into_inner().unwrap();

        let file = File::open(&path).unwrap();
        let size = file.metadata().unwrap().len();
        let mut reader = Mp4Reader::read_header(file, size).unwrap();
        let track = &reader.tracks()[&TRACK];
        assert_eq!((track.width(), track.height(), track.sample_count()), (64, 48, 40));
        assert_eq!(track.duration().as_millis(), 39 * 40 + 1000);
        let annex_b = |unit: &[u8]| [&[0, 0, 0, 1], unit].concat();
        let mut stream = annex_b(track.sequence_parameter_set().unwrap());
        stream.extend(annex_b(track.picture_parameter_set().unwrap()));
        let mut decoder = Decoder::new().unwrap();
        for (i, shown) in shown.iter().enumerate() {
            let sample = reader.read_sample(TRACK, i as u32 + 1).unwrap().unwrap();
            let length = u32::from_be_bytes(sample.bytes[..4].try_into().unwrap()) as usize;
            assert_eq!(length, sample.bytes.len() - 4, "one unit a picture");
            stream.extend(annex_b(&sample.bytes[4..]));
            let decoded = decoder.decode(&stream).unwrap().expect("a picture");
            let mut rgb = vec![0; decoded.rgb8_len()];
            decoded.write_rgb8(&mut rgb);
            let off: f64 = rgb.iter().zip(&shown.rgb).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
            assert!(off / (rgb.len() as f64) < 6.0, "picture {i} is off by {}", off / rgb.len() as f64);
            stream.clear();
        }
    }
}
