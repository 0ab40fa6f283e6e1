//! The protocol, tested with a child that needs no Python: a shell script. And, where there is a Python with
//! Gymnasium, its pendulum beside ours.
use super::*;
use crate::{State, View, registry};

/// A child that says `first`, then answers requests by the `case` arms in `answers`.
fn fake(first: &str, answers: &str) -> Result<PythonEnv, Error> {
    let script = format!("echo '{first}'; while read -r kind words; do case $kind in {answers} esac; done");
    PythonEnv::start("py:fake:Env-v0", "sh", &["-c", &script])
}

const SPEC: &str = "spec 2 1 7 0.05 -2.0 3.5";

fn failure(env: &mut PythonEnv) -> String {
    let mut observation = [0.0; 2];
    env.reset(0, &mut observation);
    let step = env.step(&[0.5], &mut observation);
    assert!(step.reward.is_nan() && step.end == End::Terminated && observation.iter().all(|x| x.is_nan()));
    let said = env.failure().expect("it has failed").to_string();
    assert_eq!(env.failure().unwrap().to_string(), said, "it stays failed");
    said
}

#[test]
fn the_specification_is_what_the_child_says() {
    let env = fake(SPEC, "").unwrap();
    let spec = env.spec();
    assert_eq!((spec.name.as_str(), spec.official.as_str()), ("py:fake:Env-v0", "Env-v0"));
    assert_eq!((spec.observation_dim, spec.max_episode_steps, spec.timestep), (2, 7, Some(0.05)));
    assert_eq!((&spec.action_low[..], &spec.action_high[..]), (&[-2.0][..], &[3.5][..]));
    for nonsense in
        ["spec", "spec 2 1 7 none -2.0", "spec 0 1 7 none -2.0 3.5", "spec 2 1 x none -2.0 3.5", "hello"]
    {
        let Err(error) = fake(nonsense, "") else { panic!("`{nonsense}` was accepted") };
        assert!(error.to_string().contains("said `"), "{error}");
    }
}

#[test]
fn seeds_and_actions_arrive_and_numbers_return_unchanged() {
    // the child returns what it was sent: the seed as an observation, the action as a reward
    let mut env =
        fake(SPEC, "reset) echo observation $words -0.0;; step) echo step $words truncated 5e-324 0.1;;")
            .unwrap();
    let mut observation = [0.0; 2];
    env.reset(u64::MAX, &mut observation);
    assert_eq!(observation.map(f64::to_bits), [u64::MAX as f64, -0.0].map(f64::to_bits));
    let step = env.step(&[std::f64::consts::PI / 3e7], &mut observation);
    assert_eq!(step, Step { reward: std::f64::consts::PI / 3e7, end: End::Truncated });
    assert_eq!(observation, [5e-324, 0.1]);
    assert!(env.failure().is_none());
}

#[test]
fn a_child_that_fails_is_quoted() {
    let mut env = fake(SPEC, "reset) echo error ValueError: no such pose;;").unwrap();
    assert!(failure(&mut env).ends_with("`py:fake:Env-v0` failed: ValueError: no such pose"));
    let mut env =
        fake(SPEC, "reset) echo observation 1 2;; step) echo 'out of memory' >&2; exit 3;;").unwrap();
    let said = failure(&mut env);
    assert!(said.contains("exit status: 3") && said.contains("out of memory"), "{said}");
    let mut env = fake(SPEC, "reset) echo observation 1 2;; step) echo step 0.5 running 1;;").unwrap();
    assert!(failure(&mut env).contains("sent the observation `1`; 2 numbers are needed"));
    let mut env = fake(SPEC, "reset) echo observation 1 2;; step) echo step 0.5 sleeping 1 2;;").unwrap();
    assert!(failure(&mut env).contains("which is no step"));
}

#[test]
fn pictures_arrive_in_the_size_asked_for() {
    let draw = |answer: &str| {
        let mut env = fake(SPEC, &format!("render) echo picture {answer};;")).unwrap();
        let drawn = env.render(&mut Painter::new(View { width: 2, height: 3, camera: None }));
        (drawn.map_err(|error| error.to_string()), env.failure())
    };
    let row = [255, 0, 0, 0, 16, 171];
    let rgb = [[0; 6], row, [0; 6]].concat();
    let (drawn, failure) = draw("2 1 ff00000010aB");
    assert_eq!(drawn.unwrap(), Frame { width: 2, height: 3, rgb });
    assert!(failure.is_none());
    // what cannot be drawn can go on
    let (drawn, failure) = draw("none DependencyNotInstalled: no pygame");
    assert_eq!(
        drawn.unwrap_err(),
        "the environment `py:fake:Env-v0` has no picture: DependencyNotInstalled: no pygame"
    );
    assert!(failure.is_none());
    for nonsense in
        ["2 1 ff", "2 1 ff00000010aBf", "2 1 gg00000010aB", "0 1 ", "2", "99999999999 99999999999 ff"]
    {
        assert!(draw(nonsense).0.unwrap_err().contains("that are no picture"), "{nonsense}");
    }
}

#[test]
fn a_child_that_never_speaks_is_reported() {
    let start =
        |program, script| PythonEnv::start("py:x:Y", program, &["-c", script]).err().unwrap().to_string();
    let said = start("sh", "echo 'No module named x' >&2; exit 1");
    assert!(said.contains("died (exit status: 1): No module named x"), "{said}");
    let said = start("there-is-no-such-program", "");
    assert!(said.contains("`py:x:Y` cannot be started") && said.contains("set PYTHON"), "{said}");
    for name in ["py:", "py:gymnasium", "py::Pendulum-v1", "py:gymnasium:"] {
        assert!(
            registry::make(name).err().unwrap().to_string().contains("is not written py:MODULE:ID"),
            "{name}"
        );
    }
}

/// Closing its input is all that ends a child whose parent was killed, and dropping must not leave one behind. It used to be
/// killed before it could close anything.
#[test]
fn a_dropped_child_closes_what_it_opened() {
    let note = std::env::temp_dir().join(format!("td-koopman-closed-{}", std::process::id()));
    let script = format!("echo '{SPEC}'; while read -r line; do :; done; echo closed > {note:?}");
    let env = PythonEnv::start("py:fake:Env-v0", "sh", &["-c", &script]).unwrap();
    let process = format!("/proc/{}", env.process.id());
    assert!(std::path::Path::new(&process).exists());
    drop(env);
    assert!(!std::path::Path::new(&process).exists());
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "closed\n");
    std::fs::remove_file(note).unwrap();
}

/// Ctrl-C in a terminal used to end it as well, in the middle of a step that we were waiting for.
#[test]
fn a_child_is_not_in_our_process_group() {
    let env = fake(SPEC, "").unwrap();
    let id = env.process.id().to_string();
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    assert_eq!(stat.rsplit(") ").next().unwrap().split(' ').nth(2), Some(id.as_str()), "{stat}");
}

/// Processes that it started may keep its pipes open; what it says need not be UTF-8.
#[test]
fn the_end_of_a_child_is_noticed_whatever_it_leaves_behind() {
    let step = "step) printf 'caf\\351\\n' >&2; sleep 20 & exit 3;;";
    let mut env = fake(SPEC, &format!("reset) echo observation 1 2;; {step}")).unwrap();
    let began = std::time::Instant::now();
    let said = failure(&mut env);
    assert!(said.contains("exit status: 3") && said.contains("caf\u{fffd}"), "{said}");
    assert!(began.elapsed().as_secs() < 15, "it waited for its child's child");
}

/// Gymnasium's pendulum, through its own Python, and ours in `f64`: theirs rounds the observation to `f32` and takes
/// an `f32` action.
#[test]
fn gymnasiums_pendulum_is_ours() {
    let mut theirs = match registry::make("py:gymnasium:Pendulum-v1") {
        Ok(env) => env,
        Err(error) => {
            eprintln!("not tested, for there is no Python with Gymnasium: {error}");
            assert!(matches!(error, Error::Python { .. }), "{error}");
            return;
        }
    };
    let mut ours = registry::make("pendulum").unwrap();
    let (a, b) = (theirs.spec(), ours.spec());
    assert_eq!(
        (a.observation_dim, &a.action_low, &a.action_high, a.max_episode_steps, a.timestep),
        (b.observation_dim, &b.action_low, &b.action_high, b.max_episode_steps, b.timestep)
    );
    let (mut seen, mut expected) = ([0.0; 3], [0.0; 3]);
    theirs.reset(3, &mut seen);
    let start = State { qpos: vec![seen[1].atan2(seen[0])], qvel: vec![seen[2]], extra: vec![] };
    ours.set_state(&start, &mut expected).unwrap();
    for step in 0..200 {
        let action = [f64::from((2.0 * (0.3 * step as f32).sin()).clamp(-2.0, 2.0))];
        let (one, other) = (theirs.step(&action, &mut seen), ours.step(&action, &mut expected));
        assert_eq!(one.end, other.end, "step {step}");
        assert!((one.reward - other.reward).abs() < 1e-3, "step {step}: {} {}", one.reward, other.reward);
        for (x, y) in seen.iter().zip(expected) {
            assert!((x - y).abs() < 1e-3, "step {step}: {seen:?} {expected:?}");
        }
    }
}
