//! An evaluation episode as an animated GIF or an MP4, in the task's own time.

mod caption;
mod film;
mod frame;
#[cfg(feature = "mp4")]
mod mp4;

use crate::config::ConfigError;
use crate::evaluate::{Moment, Watcher};
use crate::record::say;
use crate::task::Task;
use anyhow::{Context, Result};
use film::{Film, Format};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use td_koopman_envs::{Error, Painter, View};

/// Frames closer together than this are left out: 25 a second.
const SHORTEST_FRAME: f64 = 0.04;
/// Seconds per decision of a task without a clock.
const NO_CLOCK: f64 = 0.05;
/// How long the last frame stays, in hundredths of a second.
const LAST_FRAME: u16 = 100;

/// Width and height of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { width: 320, height: 240 }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides = text.split_once('x').map(|(width, height)| (width.parse(), height.parse()));
        match sides {
            Some((Ok(width @ 16..=4096), Ok(height @ 16..=4096))) => Ok(Self { width, height }),
            _ => Err("give width x height in pixels, both from 16 to 4096, e.g. 320x240".into()),
        }
    }
}

/// What to record.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Size of the picture, without the caption.
    pub size: Size,
    /// Camera, by name or number; otherwise one that shows the whole task.
    pub camera: Option<String>,
    /// Decisions per frame; otherwise as many as 25 frames a second leave.
    pub every: Option<usize>,
    /// Episode to record, counted from 0.
    pub episode: u64,
    /// Seconds of the task after which recording ends.
    pub seconds: Option<f64>,
}

/// Records one episode of an evaluation.
pub struct Video {
    path: PathBuf,
    options: Options,
    painter: Painter,
    film: Film,
    /// Seconds of the task in a frame.
    frame_seconds: f64,
    every: usize,
    frames: usize,
    bar: ProgressBar,
    /// What went wrong on the way; the evaluation goes on without pictures.
    failed: Option<anyhow::Error>,
}

impl Video {
    /// Prepares to record an episode of `task` into `path`, with a first picture to see whether it can be drawn.
    /// `None`, after a warning, if it cannot; the task is left at the start of some episode.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or the options do not fit the task.
    pub fn open(path: &Path, options: Options, task: &mut Task) -> Result<Option<Self>> {
        let Size { width, height } = options.size;
        let sides = [width, height + caption::HEIGHT];
        let format = Format::of(path, sides)?;
        let mut painter = Painter::new(View { width, height, camera: options.camera.clone() });
        task.reset(0);
        match task.render(&mut painter) {
            Ok(_) => {}
            Err(
                error @ (Error::NoPicture { .. } | Error::NoRenderer { .. } | Error::PythonPicture { .. }),
            ) => {
                say(format_args!("warning: no video: {error}"));
                return Ok(None);
            }
            Err(error) => return Err(ConfigError(format!("cannot record a video: {error}")).into()),
        }
        let film = Film::create(format, path, sides).with_context(|| cannot_write(path))?;
        let spec = task.spec();
        let decision = spec.timestep.map_or(NO_CLOCK, |seconds| seconds * spec.action_repeat as f64);
        let every = options.every.unwrap_or_else(|| decisions_per_frame(decision));
        Ok(Some(Self {
            path: path.to_owned(),
            bar: bar(spec.decisions() as u64),
            options,
            painter,
            film,
            frame_seconds: decision * every as f64,
            every,
            frames: 0,
            failed: None,
        }))
    }

    fn record(&mut self, task: &mut Task, moment: &Moment) -> Result<()> {
        let end =
            moment.end.is_over() || self.options.seconds.is_some_and(|s| self.time(self.frames + 1) >= s);
        let picture = task.render(&mut self.painter)?;
        let spec = task.spec();
        let step = (moment.decision as usize * spec.action_repeat).min(spec.max_episode_steps);
        let right = format!("step {step:>4}  return {:>8.1}", moment.total);
        let picture = caption::add(picture, &spec.name, &right);
        let hundredths = if end { LAST_FRAME } else { self.delay() };
        self.film.add(picture, hundredths).with_context(|| cannot_write(&self.path))?;
        self.frames += 1;
        Ok(())
    }

    /// When frame `n` is due, in seconds.
    fn time(&self, n: usize) -> f64 {
        n as f64 * self.frame_seconds
    }

    /// Hundredths of a second to the next frame, rounded so that errors do not add up.
    fn delay(&self) -> u16 {
        let due = |n| (100.0 * self.time(n)).round();
        (due(self.frames + 1) - due(self.frames)).clamp(1.0, 65535.0) as u16
    }

    fn is_full(&self) -> bool {
        self.options.seconds.is_some_and(|s| self.frames > 0 && self.time(self.frames) >= s)
    }

    /// Completes the file and says what is in it.
    ///
    /// # Errors
    ///
    /// What went wrong while recording.
    pub fn finish(self) -> Result<String> {
        self.bar.finish_and_clear();
        if let Some(error) = self.failed {
            return Err(error);
        }
        let seconds = self.time(self.frames);
        self.film.finish().with_context(|| cannot_write(&self.path))?;
        Ok(format!("video: {}, {} frames, {:.1} s", self.path.display(), self.frames, seconds))
    }
}

impl Watcher for Video {
    fn moment(&mut self, task: &mut Task, moment: &Moment) {
        // one episode, up to its end or as long as asked for
        if moment.episode != self.options.episode || self.failed.is_some() || self.is_full() {
            return;
        }
        self.bar.set_position(moment.decision);
        if moment.end.is_over() || moment.decision.is_multiple_of(self.every as u64) {
            self.failed = self.record(task, moment).err();
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the video {}", path.display())
}

/// The fewest decisions that take as long as the shortest frame.
fn decisions_per_frame(decision_seconds: f64) -> usize {
    ((SHORTEST_FRAME / decision_seconds - 1e-9).ceil() as usize).max(1)
}

/// Shown on a terminal only.
fn bar(decisions: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("recording {wide_bar:.cyan/dim} {pos}/{len} decisions  ETA {eta}")
            .expect("the template is a constant that every video shows")
            .progress_chars("━╸─");
    ProgressBar::new(decisions).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use td_koopman_envs::End;

    /// An episode of the pendulum, which can be drawn anywhere, recorded with `options`; the file's frames.
    fn recorded(options: Options, episodes: u64) -> Vec<gif::Frame<'static>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.gif");
        let mut task = Task::open(&"pendulum".into(), 0).unwrap();
        let mut video = Video::open(&path, options, &mut task).unwrap().unwrap();
        for episode in 0..episodes {
            task.reset(episode);
            let mut moment = Moment { episode, decision: 0, reward: 0.0, total: 0.0, end: End::Running };
            video.moment(&mut task, &moment);
            while !moment.end.is_over() {
                let step = task.step(&[1.0]);
                moment.decision += 1;
                (moment.total, moment.end) = (moment.total + step.reward, step.end);
                video.moment(&mut task, &moment);
            }
        }
        assert!(video.finish().unwrap().contains("p.gif, "));
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(std::fs::File::open(path).unwrap()).unwrap();
        assert_eq!((decoder.width(), decoder.height()), (64, 48 + caption::HEIGHT as u16));
        std::iter::from_fn(|| decoder.read_next_frame().unwrap().cloned()).collect()
    }

    fn small() -> Options {
        Options { size: Size { width: 64, height: 48 }, ..Options::default() }
    }

    #[test]
    fn a_video_shows_one_episode_in_the_tasks_own_time() {
        let frames = recorded(small(), 2);
        assert_eq!(frames.len(), 201, "the start and 200 decisions of 0.05 s");
        assert!(frames[..200].iter().all(|frame| frame.delay == 5));
        assert_eq!(frames[200].delay, LAST_FRAME);
        assert_ne!(frames[0].buffer, frames[100].buffer);
    }

    #[test]
    fn frames_can_be_left_out_and_the_end_cut_off() {
        let every = recorded(Options { every: Some(3), ..small() }, 1);
        assert_eq!(every.len(), 68, "67 of every third decision from 0 to 198, and the end");
        assert!(every[..67].iter().all(|frame| frame.delay == 15));
        let cut = recorded(Options { seconds: Some(1.0), ..small() }, 1);
        assert_eq!((cut.len(), cut[19].delay), (20, LAST_FRAME));
    }

    #[test]
    fn a_frame_is_no_shorter_than_the_shortest() {
        // hopper 0.008 s, cheetah-run 0.01 s × 4, halfcheetah 0.05 s, quadruped 0.02 s × 4
        let counts = [0.008, 0.04, 0.05, 0.08, 0.0301].map(decisions_per_frame);
        assert_eq!(counts, [5, 1, 1, 1, 2]);
    }

    #[test]
    fn what_cannot_be_recorded_is_said() {
        let mut pendulum = Task::open(&"pendulum".into(), 0).unwrap();
        let error = Video::open(Path::new("p.avi"), small(), &mut pendulum).err().unwrap().to_string();
        assert_eq!(error, "cannot write the video p.avi: its name has to end in .gif or .mp4");
        let odd = Options { size: Size { width: 65, height: 48 }, ..small() };
        let error = Video::open(Path::new("p.mp4"), odd, &mut pendulum).err().unwrap().to_string();
        assert!(
            error.contains(if cfg!(feature = "mp4") { "even numbers" } else { "--features mp4" }),
            "{error}"
        );
        let error = Video::open(Path::new("absent/p.gif"), small(), &mut pendulum).err().unwrap();
        assert!(error.to_string().contains("cannot write the video absent/p.gif"), "{error}");
        let mut linear = Task::open(&"linear".into(), 0).unwrap();
        assert!(Video::open(Path::new("absent/p.gif"), small(), &mut linear).unwrap().is_none());
        let mut cheetah = Task::open(&"cheetah-run".into(), 0).unwrap();
        let options = Options { camera: Some("front".into()), ..small() };
        let error = Video::open(Path::new("absent/p.gif"), options, &mut cheetah).err().unwrap();
        assert!(error.is::<ConfigError>() && error.to_string().contains("0 side, 1 back"), "{error}");
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!("480x360".parse(), Ok(Size { width: 480, height: 360 }));
        for wrong in ["480", "480x", "x", "0x0", "-1x20", "5000x20"] {
            assert!(wrong.parse::<Size>().unwrap_err().contains("e.g. 320x240"), "{wrong}");
        }
    }
}
