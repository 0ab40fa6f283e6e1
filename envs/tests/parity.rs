//! Every task that has an original in Python does what the original did, from the same states under the same
//! actions: observations, rewards and terminations to 1e-9, in segments and over whole episodes, also with other
//! options than the defaults. `scripts/record_reference.py` made the recordings, describes their format, and says
//! why they are cut into segments.
mod recording;

use recording::{replay, replay_with};
use td_koopman_envs::{
    OptionValue::{self, Count, Flag, Number, Range},
    Source, registry,
};

/// Segments from random starts and from where they led.
#[test]
fn segments() {
    for entry in registry::table().iter().filter(|entry| entry.official != entry.name) {
        replay(entry.name);
    }
}

/// Whole episodes. Contacts amplify the last bit of a sine within some 120 steps, and the C library computes
/// it differently on processors without fused multiply-add: there only the segments above are compared.
#[test]
fn whole_episodes() {
    if !std::is_x86_feature_detected!("fma") {
        println!("this processor has no fused multiply-add; whole episodes are not compared");
        return;
    }
    for entry in registry::table().iter().filter(|entry| entry.source != Source::Classic) {
        let file = format!("{}.episode", entry.name);
        assert_eq!(replay(&file).segments[0].rewards.len(), entry.max_episode_steps);
    }
}

/// What makes a chosen state worth recording.
enum Shows {
    /// A reward of at least this.
    Reward(f64),
    /// A hard contact, which the start state sees to.
    Contact,
    /// A termination in the first step.
    Termination,
    /// A termination after steps without.
    LaterTermination,
}

#[test]
fn chosen_states() {
    use Shows::{Contact, LaterTermination, Reward, Termination};
    for (file, shows) in [
        ("mountain-car.at-the-top", Reward(99.0)),
        ("mountain-car.at-the-wall", Contact),
        ("hopper.falling", LaterTermination),
        ("hopper.too-low", Termination),
        ("hopper.too-fast", Termination),
        ("walker2d.falling", LaterTermination),
        ("walker2d.too-low", Termination),
        ("walker2d.too-high", Termination),
        ("ant.jumping", LaterTermination),
        ("ant.too-high", Termination),
        ("ant.landing", Contact),
        ("humanoid.falling", LaterTermination),
        ("humanoid.too-high", Termination),
        ("humanoid.landing", Contact),
        ("humanoid-standup.landing", Contact),
        ("reacher.at-target", Reward(-0.1)),
        ("pusher.touching", Contact),
        ("inverted-double-pendulum.upright", Reward(9.0)),
        ("inverted-double-pendulum.tipping", LaterTermination),
        ("inverted-double-pendulum.tipped", Termination),
        ("inverted-double-pendulum.at-the-end", Contact),
        ("inverted-pendulum.tipping", LaterTermination),
        ("inverted-pendulum.tipped", Termination),
        ("acrobot-swingup.at-target", Reward(1.0)),
        ("acrobot-swingup-sparse.at-target", Reward(1.0)),
        ("ball-in-cup-catch.caught", Reward(1.0)),
        ("cartpole-balance.upright", Reward(0.99)),
        ("cartpole-balance-sparse.upright", Reward(1.0)),
        ("cartpole-swingup.upright", Reward(0.99)),
        ("cartpole-swingup-sparse.upright", Reward(1.0)),
        ("cartpole-two-poles.upright", Reward(0.99)),
        ("cartpole-three-poles.upright", Reward(0.99)),
        ("cheetah-run.running", Reward(1.0)),
        ("dog-stand.moving", Reward(0.99)),
        ("dog-walk.moving", Reward(0.99)),
        ("dog-trot.moving", Reward(0.99)),
        ("dog-run.moving", Reward(0.99)),
        ("dog-fetch.fetched", Reward(0.99)),
        ("dog-fetch.bitten", Reward(0.8)),
        ("finger-spin.spinning", Reward(1.0)),
        ("finger-turn-easy.at-target", Reward(1.0)),
        ("finger-turn-hard.at-target", Reward(1.0)),
        ("fish-upright.upright", Reward(0.99)),
        ("fish-swim.at-target", Reward(0.99)),
        ("hopper-stand.standing", Reward(0.8)),
        ("hopper-hop.moving", Reward(0.99)),
        ("humanoid-stand.moving", Reward(0.8)),
        ("humanoid-walk.moving", Reward(0.8)),
        ("humanoid-run.moving", Reward(0.8)),
        ("humanoid-run-pure-state.moving", Reward(0.8)),
        ("manipulator-bring-ball.brought", Reward(1.0)),
        ("manipulator-bring-ball.grasped", Reward(1.0)),
        ("manipulator-bring-peg.brought", Reward(1.0)),
        ("manipulator-bring-peg.grasped", Reward(0.33)),
        ("manipulator-insert-ball.inserted", Reward(1.0)),
        ("manipulator-insert-peg.inserted", Reward(1.0)),
        ("pendulum-swingup.upright", Reward(1.0)),
        ("point-mass-easy.at-target", Reward(0.8)),
        ("point-mass-hard.at-target", Reward(0.8)),
        ("quadruped-walk.moving", Reward(0.99)),
        ("quadruped-run.moving", Reward(0.99)),
        ("quadruped-escape.escaped", Reward(0.9)),
        ("quadruped-fetch.fetched", Reward(0.99)),
        ("quadruped-fetch.far-away", Reward(0.1)),
        ("reacher-easy.at-target", Reward(1.0)),
        ("reacher-hard.at-target", Reward(1.0)),
        ("stacker-stack-2.stacked", Reward(0.99)),
        ("stacker-stack-2.hand-near", Reward(0.5)),
        ("stacker-stack-4.stacked", Reward(0.99)),
        ("stacker-stack-4.hand-near", Reward(0.5)),
        ("swimmer-swimmer6.at-target", Reward(1.0)),
        ("swimmer-swimmer15.at-target", Reward(1.0)),
        ("walker-stand.standing", Reward(0.99)),
        ("walker-walk.moving", Reward(0.99)),
        ("walker-run.moving", Reward(0.99)),
    ] {
        let segment = &replay(file).segments[0];
        let terminated_at = segment.terminated.iter().position(|terminated| *terminated);
        let shown = match shows {
            Reward(least) => segment.rewards.iter().any(|reward| *reward >= least),
            Contact => true,
            Termination => terminated_at == Some(0),
            LaterTermination => terminated_at.is_some_and(|step| step > 0),
        };
        assert!(shown, "{file} does not show what it was recorded for");
    }
}

/// A task and some of its options.
type Chosen = (&'static str, &'static [(&'static str, OptionValue)]);

/// Every task that offers options, with others than the defaults.
#[test]
fn options() {
    #[rustfmt::skip] // one line an option
    let chosen: &[Chosen] = &[
        ("halfcheetah", &[
            ("frame_skip", Count(3)),
            ("forward_reward_weight", Number(2.0)),
            ("ctrl_cost_weight", Number(0.5)),
            ("exclude_current_positions_from_observation", Flag(false)),
        ]),
        ("hopper", &[
            ("healthy_reward", Number(3.0)),
            ("terminate_when_unhealthy", Flag(false)),
            ("healthy_state_range", Range(-2.0, 2.0)),
            ("healthy_z_range", Range(1.0, 1.3)),
            ("healthy_angle_range", Range(-0.05, 0.1)),
            ("forward_reward_weight", Number(0.5)),
        ]),
        ("walker2d", &[
            ("healthy_z_range", Range(1.0, 1.26)),
            ("healthy_angle_range", Range(-0.1, 0.2)),
            ("ctrl_cost_weight", Number(0.3)),
            ("healthy_reward", Number(0.2)),
            ("exclude_current_positions_from_observation", Flag(false)),
        ]),
        ("ant", &[
            ("contact_cost_weight", Number(0.1)),
            ("contact_force_range", Range(-0.3, 0.6)),
            ("healthy_z_range", Range(0.5, 0.8)),
            ("healthy_reward", Number(2.0)),
            ("include_cfrc_ext_in_observation", Flag(false)),
        ]),
        ("humanoid", &[
            ("contact_cost_weight", Number(0.001)),
            ("contact_cost_range", Range(0.5, 2.0)),
            ("ctrl_cost_weight", Number(1.0)),
            ("include_cinert_in_observation", Flag(false)),
            ("include_cvel_in_observation", Flag(false)),
            ("healthy_z_range", Range(1.2, 1.45)),
            ("terminate_when_unhealthy", Flag(false)),
        ]),
        ("humanoid-standup", &[
            ("impact_cost_weight", Number(0.001)),
            ("impact_cost_range", Range(0.0, 3.0)),
            ("frame_skip", Count(2)),
            ("include_qfrc_actuator_in_observation", Flag(false)),
            ("include_cfrc_ext_in_observation", Flag(false)),
            ("include_cinert_in_observation", Flag(false)),
            ("exclude_current_positions_from_observation", Flag(false)),
        ]),
        ("swimmer", &[
            ("forward_reward_weight", Number(3.0)),
            ("ctrl_cost_weight", Number(0.2)),
            ("exclude_current_positions_from_observation", Flag(false)),
        ]),
        ("reacher", &[
            ("reward_dist_weight", Number(2.0)),
            ("reward_control_weight", Number(0.1)),
            ("frame_skip", Count(4)),
        ]),
        ("pusher", &[
            ("reward_near_weight", Number(2.0)),
            ("reward_dist_weight", Number(0.1)),
            ("reward_control_weight", Number(0.3)),
        ]),
        ("inverted-pendulum", &[
            ("frame_skip", Count(5)),
        ]),
        ("inverted-double-pendulum", &[
            ("healthy_reward", Number(3.0)),
            ("frame_skip", Count(2)),
        ]),
        ("mountain-car", &[
            ("goal_velocity", Number(0.02)),
        ]),
        ("pendulum", &[
            ("g", Number(3.0)),
        ]),
    ];
    for (name, options) in chosen {
        replay_with(&format!("{name}.options"), options);
    }
    let offering =
        registry::table().iter().filter(|entry| entry.official != entry.name && entry.options().len() > 1);
    let missing: Vec<_> =
        offering.filter(|entry| chosen.iter().all(|(name, _)| *name != entry.name)).collect();
    assert!(missing.is_empty(), "no options of {} are compared", missing[0].name);
}
