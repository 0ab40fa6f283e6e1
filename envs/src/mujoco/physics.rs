//! A model and its data, started and stepped by the rules of the library a task comes from.
use std::ops::Range;

use mujoco_rs::prelude::{MjData, MjModel, MjtDisableBit, MjtIntegrator, MjtObjBase, MjtWarning};

use crate::{Error, Frame, Painter, StateDims};

/// The data of a simulation that owns its model.
pub(crate) type Data = MjData<Box<MjModel>>;

/// Whose rules for starting and stepping are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Convention {
    /// `mj_step` n times: derived quantities, such as body positions and sensors, are one substep old.
    /// `mj_rnePostConstraint`, with which Gymnasium then fills in contact forces, is left out; the trajectory
    /// is the same.
    Gymnasium,
    /// The same with `mj_rnePostConstraint`, for tasks that read `cfrc_ext`.
    GymnasiumWithContactForces,
    /// `legacy_step=True`: `mj_step2`, `mj_step` n - 1 times, `mj_step1`, so that derived quantities are
    /// those of the new state (Tassa et al. 2020, arXiv:2006.12983, page 6). Starts run without actuation,
    /// for no control is given yet.
    DmControl,
}

/// One simulation.
pub(crate) struct Physics {
    data: Data,
    convention: Convention,
    /// Physics steps in a control step.
    substeps: usize,
    /// Hold positions, velocities and activations while the data are changed.
    scratch: [Vec<f64>; 3],
}

impl Physics {
    pub(crate) fn new(model: MjModel, convention: Convention, substeps: usize) -> Self {
        let data = MjData::new(Box::new(model));
        let scratch = [data.qpos().to_vec(), data.qvel().to_vec(), data.act().to_vec()];
        Self { data, convention, substeps, scratch }
    }

    /// For reading.
    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn model(&self) -> &MjModel {
        self.data.model()
    }

    /// Changes numbers of the model that leave its sizes and its parts as they are.
    pub(crate) fn edit_model(&mut self, change: impl FnOnce(&mut MjModel)) {
        // SAFETY: the callers, all in this crate, change numbers in place; none swaps the model or changes a size,
        // an index or an address in it.
        change(unsafe { self.data.model_mut() });
    }

    /// Lowest and highest control of every actuator.
    pub(crate) fn action_range(&self) -> (Vec<f64>, Vec<f64>) {
        self.model().actuator_ctrlrange().iter().map(|&[low, high]| (low, high)).unzip()
    }

    /// Sizes of `qpos` and `qvel`, and of the `extra` that the task adds.
    pub(crate) fn state_dims(&self, extra: usize) -> StateDims {
        StateDims { qpos: self.data.qpos().len(), qvel: self.data.qvel().len(), extra }
    }

    /// The simulated time of a control step, in seconds.
    pub(crate) fn control_timestep(&self) -> f64 {
        self.data.model_opt().timestep * self.substeps as f64
    }

    /// Everything as in a new simulation: the model's default state, nothing remembered.
    pub(crate) fn clear(&mut self) {
        self.data.reset();
        match self.convention {
            Convention::Gymnasium | Convention::GymnasiumWithContactForces => {}
            Convention::DmControl => self.forward_without_actuation(),
        }
    }

    /// Starts from the given state with nothing remembered, so that whoever copies the same numbers into
    /// Gymnasium or into dm_control's `reset_context` gets the same trajectory.
    pub(crate) fn start_from(&mut self, qpos: &[f64], qvel: &[f64]) {
        self.clear();
        self.data.qpos_mut().copy_from_slice(qpos);
        self.data.qvel_mut().copy_from_slice(qvel);
        self.derive();
    }

    /// Computes what follows from a start state.
    pub(crate) fn derive(&mut self) {
        match self.convention {
            Convention::Gymnasium | Convention::GymnasiumWithContactForces => self.data.forward(),
            Convention::DmControl => self.forward_without_actuation(),
        }
    }

    /// Changes positions and velocities; what is derived from them stays as it was.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut [f64], &mut [f64])) {
        self.copy_state();
        let [qpos, qvel, _] = &mut self.scratch;
        change(qpos, qvel);
        self.data.qpos_mut().copy_from_slice(qpos);
        self.data.qvel_mut().copy_from_slice(qvel);
    }

    /// Sets the states of the actuators.
    pub(crate) fn set_activations(&mut self, act: &[f64]) {
        self.data.act_mut().copy_from_slice(act);
    }

    /// Starts from the state in which the simulation is now; drops the warm start that the way to it left
    /// behind.
    pub(crate) fn start_here(&mut self) {
        self.copy_state();
        self.clear();
        let [qpos, qvel, act] = &self.scratch;
        self.data.qpos_mut().copy_from_slice(qpos);
        self.data.qvel_mut().copy_from_slice(qvel);
        self.data.act_mut().copy_from_slice(act);
        self.derive();
    }

    fn copy_state(&mut self) {
        let [qpos, qvel, act] = &mut self.scratch;
        qpos.copy_from_slice(self.data.qpos());
        qvel.copy_from_slice(self.data.qvel());
        act.copy_from_slice(self.data.act());
    }

    /// One control step.
    pub(crate) fn step(&mut self, action: &[f64]) {
        self.data.ctrl_mut().copy_from_slice(action);
        self.simulate(self.substeps);
    }

    /// `substeps` physics steps under the present controls.
    pub(crate) fn simulate(&mut self, substeps: usize) {
        let after_first = match self.convention {
            // A Runge-Kutta step cannot be cut in two.
            Convention::DmControl if !self.uses_runge_kutta() => {
                self.data.step2();
                substeps - 1
            }
            _ => substeps,
        };
        for _ in 0..after_first {
            self.data.step();
        }
        match self.convention {
            Convention::Gymnasium => {}
            Convention::GymnasiumWithContactForces => self.data.rne_post_constraint(),
            Convention::DmControl => self.data.step1(),
        }
    }

    /// Whether MuJoCo found a position, velocity or acceleration beyond reason since the last [`clear`](Self::clear). It then
    /// starts again from the model's default state, with numbers that look like any others.
    pub(crate) fn diverged(&self) -> bool {
        let of_state = [MjtWarning::mjWARN_BADQPOS, MjtWarning::mjWARN_BADQVEL, MjtWarning::mjWARN_BADQACC];
        of_state.iter().any(|warning| self.data.warning()[*warning as usize].number > 0)
    }

    /// A picture of the simulation as it is.
    pub(crate) fn render(&mut self, painter: &mut Painter) -> Result<Frame, Error> {
        painter.simulation(&mut self.data)
    }

    fn uses_runge_kutta(&self) -> bool {
        self.data.model_opt().integrator == MjtIntegrator::mjINT_RK4 as i32
    }

    fn forward_without_actuation(&mut self) {
        let flags = self.data.model_opt().disableflags;
        self.data.model_opt_mut().disableflags |= MjtDisableBit::mjDSBL_ACTUATION as i32;
        self.data.forward();
        self.data.model_opt_mut().disableflags = flags;
    }

    pub(crate) fn body(&self, name: &str) -> Result<usize, Error> {
        self.part(MjtObjBase::mjOBJ_BODY, "body", name)
    }

    pub(crate) fn geom(&self, name: &str) -> Result<usize, Error> {
        self.part(MjtObjBase::mjOBJ_GEOM, "geom", name)
    }

    /// The place of a joint's first position in `qpos`, and of its first velocity in `qvel`.
    pub(crate) fn joint(&self, name: &str) -> Result<(usize, usize), Error> {
        let joint = self.part(MjtObjBase::mjOBJ_JOINT, "joint", name)?;
        Ok((self.model().jnt_qposadr()[joint] as usize, self.model().jnt_dofadr()[joint] as usize))
    }

    pub(crate) fn site(&self, name: &str) -> Result<usize, Error> {
        self.part(MjtObjBase::mjOBJ_SITE, "site", name)
    }

    /// The readings of a sensor in `sensordata`.
    pub(crate) fn sensor(&self, name: &str) -> Result<Range<usize>, Error> {
        Ok(self.sensor_readings(self.part(MjtObjBase::mjOBJ_SENSOR, "sensor", name)?))
    }

    /// The readings of the sensor with this number.
    pub(crate) fn sensor_readings(&self, sensor: usize) -> Range<usize> {
        let start = self.model().sensor_adr()[sensor] as usize;
        start..start + self.model().sensor_dim()[sensor] as usize
    }

    fn part(&self, object: MjtObjBase, kind: &'static str, name: &str) -> Result<usize, Error> {
        self.model()
            .name_to_id(object, name)
            .ok_or_else(|| Error::PartMissing { kind, name: name.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mujoco::load_model;

    fn cheetah(convention: Convention) -> Physics {
        Physics::new(load_model("dm_control/cheetah.xml").unwrap(), convention, 3)
    }

    #[test]
    fn derived_quantities_are_up_to_date_only_in_the_dm_control_order() {
        for (convention, up_to_date) in [(Convention::DmControl, true), (Convention::Gymnasium, false)] {
            let mut physics = cheetah(convention);
            physics.start_from(&[0.0; 9], &[1.0; 9]);
            physics.step(&[0.5; 6]);
            let seen = physics.data().xpos()[1];
            physics.data.forward();
            assert_eq!(physics.data().xpos()[1] == seen, up_to_date, "{convention:?}");
        }
    }

    #[test]
    fn a_control_step_advances_the_clock_by_its_length() {
        for convention in [Convention::DmControl, Convention::Gymnasium] {
            let mut physics = cheetah(convention);
            physics.start_from(&[0.0; 9], &[0.0; 9]);
            physics.step(&[0.0; 6]);
            assert!((physics.data.time() - physics.control_timestep()).abs() < 1e-15);
        }
    }

    #[test]
    fn starting_here_forgets_the_way() {
        let mut walked = cheetah(Convention::DmControl);
        walked.clear();
        walked.simulate(50);
        walked.start_here();
        let mut fresh = cheetah(Convention::DmControl);
        fresh.start_from(walked.data().qpos(), walked.data().qvel());
        for _ in 0..100 {
            walked.step(&[0.3; 6]);
            fresh.step(&[0.3; 6]);
        }
        assert_eq!((walked.data.qpos(), walked.data.qvel()), (fresh.data.qpos(), fresh.data.qvel()));
    }

    /// A cheetah at the speed of light comes to rest at the origin within a step, and every number is finite.
    #[test]
    fn divergence_shows_until_the_next_start() {
        for convention in [Convention::DmControl, Convention::Gymnasium] {
            let mut physics = cheetah(convention);
            physics.start_from(&[0.0; 9], &[0.0; 9]);
            physics.step(&[1.0; 6]);
            assert!(!physics.diverged());
            physics.edit(|qpos, qvel| (qpos[0], qvel[8]) = (5.0, 1e12));
            physics.step(&[1.0; 6]);
            assert!(physics.diverged(), "{convention:?}");
            assert!(physics.data.qpos().iter().chain(physics.data.qvel()).all(|x| x.abs() < 4.0));
            physics.step(&[1.0; 6]);
            assert!(physics.diverged(), "it stays");
            physics.clear();
            assert!(!physics.diverged());
        }
    }

    #[test]
    fn a_missing_part_is_named() {
        let error = cheetah(Convention::Gymnasium).body("wing").unwrap_err().to_string();
        assert!(error.contains("no body called `wing`"), "{error}");
    }
}
