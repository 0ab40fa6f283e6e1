//! Named sets of changes to the defaults, built in.

use super::{Layer, RunConfig};
use serde::Deserialize;
use td_koopman_agents::config::Recipe;
use td_koopman_envs::Spec;

const SMALL: &str = include_str!("../../configs/preset/small.toml");
const LIGHT: &str = include_str!("../../configs/preset/light.toml");
const PAPER: &str = include_str!("../../configs/preset/paper.toml");
const TDMPC2: &str = include_str!("../../configs/preset/tdmpc2.toml");
const TDMPC2_GYM: &str = include_str!("../../configs/preset/tdmpc2-gym.toml");
const TERMINATING: &str = include_str!("../../configs/preset/terminating.toml");
const LIGHT2: &str = include_str!("../../configs/preset/light2.toml");

/// A named set of changes to the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Learns within minutes on one CPU core.
    Small,
    /// The default: `small` with heads of width 64, about four times cheaper, and more of the policy's sequences in every plan.
    #[default]
    Light,
    /// `light2` for tasks that end when the agent falls.
    Terminating,
    /// TD-MPC v1's published settings.
    Paper,
    /// TD-MPC2's published settings for DMControl, 5 M parameters.
    Tdmpc2,
    /// The same as it is changed for Gymnasium's MuJoCo tasks.
    Tdmpc2Gym,
    /// TD-MPC2's recipe at sizes that learn within minutes on one CPU core.
    Light2,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Small,
        Self::Light,
        Self::Terminating,
        Self::Paper,
        Self::Tdmpc2,
        Self::Tdmpc2Gym,
        Self::Light2,
    ];

    /// The layers of this preset.
    pub fn layers(self) -> Vec<Layer> {
        let small = Layer::built_in("configs/preset/small.toml", SMALL);
        let light = Layer::built_in("configs/preset/light.toml", LIGHT);
        let tdmpc2 = Layer::built_in("configs/preset/tdmpc2.toml", TDMPC2);
        let light2 = Layer::built_in("configs/preset/light2.toml", LIGHT2);
        match self {
            Preset::Small => vec![small],
            Preset::Light => vec![small, light],
            Preset::Terminating => {
                vec![tdmpc2, light2, Layer::built_in("configs/preset/terminating.toml", TERMINATING)]
            }
            Preset::Paper => vec![Layer::built_in("configs/preset/paper.toml", PAPER)],
            Preset::Tdmpc2 => vec![tdmpc2],
            Preset::Tdmpc2Gym => {
                vec![tdmpc2, Layer::built_in("configs/preset/tdmpc2-gym.toml", TDMPC2_GYM)]
            }
            Preset::Light2 => vec![tdmpc2, light2],
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Small => "small",
            Preset::Light => "light",
            Preset::Terminating => "terminating",
            Preset::Paper => "paper",
            Preset::Tdmpc2 => "tdmpc2",
            Preset::Tdmpc2Gym => "tdmpc2-gym",
            Preset::Light2 => "light2",
        }
    }

    /// A better preset for `task` than the settings of `config`, if there is one.
    pub fn advice(config: &RunConfig, task: &Spec) -> Option<String> {
        (task.terminates && config.agent == Recipe::V1).then(|| {
            let name = Preset::Terminating.name();
            format!("{} can end early; `--preset {name}` is made for such tasks", task.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RunConfig, resolve};
    use super::*;

    #[test]
    fn tasks_that_end_early_are_told_of_their_preset() {
        let advice = |preset: Preset, terminates| {
            let config: RunConfig = resolve(&preset.layers()).unwrap();
            let task = Spec { terminates, ..Spec::new("hopper", 1, &[(-1.0, 1.0)], 10) };
            Preset::advice(&config, &task)
        };
        assert!(
            advice(Preset::Light, true).unwrap().contains("hopper can end early; `--preset terminating`")
        );
        for preset in [Preset::Terminating, Preset::Light2] {
            assert_eq!(advice(preset, true), None, "{preset:?}");
        }
        assert_eq!(advice(Preset::Light, false), None);
    }
}
