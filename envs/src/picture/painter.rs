//! What makes pictures of MuJoCo simulations, off the screen.
use mujoco_rs::{
    prelude::{MjData, MjModel, MjtObjBase, MjvCamera},
    renderer::{MjRenderer, MjRendererBuilder, RendererError},
};

use super::Frame;
use crate::Error;

/// Cameras that show the whole task, the best first; the models come with different ones.
const GOOD_CAMERAS: [&str; 6] = ["track", "side", "y", "y-axis", "tracking_y", "fixed"];

/// What a picture should look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// A camera of the model, by name or number; by default one that shows the whole task. Environments that
    /// are no MuJoCo models have one view only.
    pub camera: Option<String>,
}

/// Draws the pictures that environments are asked for.
///
/// It keeps the OpenGL context, which is expensive to make, from one picture to the next, and stays on the thread
/// that made it.
pub struct Painter {
    view: View,
    renderer: Option<MjRenderer>,
}

impl Painter {
    /// A painter of such pictures. Nothing is opened before the first one.
    pub fn new(view: View) -> Self {
        Self { view, renderer: None }
    }

    /// What the pictures should look like.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Draws a simulation as it is; it goes on as if nobody had looked.
    pub(crate) fn simulation(&mut self, data: &mut MjData<Box<MjModel>>) -> Result<Frame, Error> {
        let View { width, height, .. } = self.view;
        let camera = self.camera(data.model())?;
        let renderer = match &mut self.renderer {
            Some(renderer) => renderer,
            none => none.insert(self.view.renderer(data.model())?),
        };
        renderer.set_camera(camera);
        // some tasks shape the ground anew in every episode
        renderer.update_hfields_from(data.model()).map_err(|error| no_renderer(&error))?;
        // twice, because an endless floor is laid around the place where the camera was the last time
        let drawn = renderer.sync_data(data).and_then(|()| renderer.sync_data(data));
        drawn.and_then(|()| renderer.render()).map_err(|error| no_renderer(&error))?;
        let rgb = renderer.rgb_flat().expect("a renderer makes colours unless told otherwise").to_vec();
        Ok(Frame { width, height, rgb })
    }

    fn camera(&self, model: &MjModel) -> Result<MjvCamera, Error> {
        let named = |name: &str| model.name_to_id(MjtObjBase::mjOBJ_CAMERA, name);
        let count = model.cam_mode().len();
        let chosen = match &self.view.camera {
            None => GOOD_CAMERAS.into_iter().find_map(named).or((count > 0).then_some(0)),
            Some(wanted) => {
                let numbered = || wanted.parse().ok().filter(|&number| number < count);
                let names = || {
                    let name = |id| model.id_to_name(MjtObjBase::mjOBJ_CAMERA, id).unwrap_or_default();
                    (0..count).map(|id| format!("{id} {}", name(id)).trim_end().to_owned()).collect()
                };
                let unknown = || Error::UnknownCamera { camera: wanted.clone(), known: names() };
                Some(named(wanted).or_else(numbered).ok_or_else(unknown)?)
            }
        };
        Ok(chosen.map_or_else(|| MjvCamera::new_free(model), MjvCamera::new_fixed))
    }
}

impl View {
    fn renderer(&self, model: &MjModel) -> Result<MjRenderer, Error> {
        let global = &model.vis().global;
        let largest = (global.offwidth.max(0) as usize, global.offheight.max(0) as usize);
        let (width, height) = (self.width, self.height);
        if width == 0 || height == 0 || width > largest.0 || height > largest.1 {
            return Err(Error::PictureSize { width, height, largest });
        }
        MjRendererBuilder::new()
            .width(width as u32)
            .height(height as u32)
            .build(model)
            .map_err(|error| no_renderer(&error))
    }
}

/// The error with its causes, on one line.
fn no_renderer(error: &RendererError) -> Error {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message += &format!(": {cause}");
        source = cause.source();
    }
    Error::NoRenderer { message }
}
