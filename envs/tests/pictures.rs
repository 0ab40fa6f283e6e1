//! Pictures of environments. Where OpenGL is missing, the error must say what to install; everything else here then
//! has nothing to look at.
use td_koopman_envs::{Env, Error, Frame, Painter, State, View, registry};

fn view(camera: Option<&str>) -> View {
    View { width: 160, height: 120, camera: camera.map(Into::into) }
}

/// The picture, or nothing where there is no OpenGL.
fn picture(env: &mut dyn Env, painter: &mut Painter) -> Option<Frame> {
    match env.render(painter) {
        Ok(frame) => Some(frame),
        Err(error @ Error::NoRenderer { .. }) => {
            eprintln!("not tested: {error}");
            assert!(error.to_string().contains("apt-get install libegl1"), "{error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn started(name: &str, seed: u64) -> (Box<dyn Env>, Vec<f64>) {
    let mut env = registry::make(name).unwrap();
    let mut observation = vec![0.0; env.spec().observation_dim];
    env.reset(seed, &mut observation);
    (env, observation)
}

/// How many pixels differ clearly.
fn changed(a: &Frame, b: &Frame) -> usize {
    let pixels = a.rgb.chunks(3).zip(b.rgb.chunks(3));
    pixels.filter(|(a, b)| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 40)).count()
}

#[test]
fn the_pendulum_is_drawn_where_it_is() {
    let mut env = registry::make("pendulum").unwrap();
    let mut painter = Painter::new(view(None));
    // upright, a quarter turn anticlockwise (to the left), hanging
    for (angle, column, row) in
        [(0.0, 80, 20), (std::f64::consts::FRAC_PI_2, 40, 60), (std::f64::consts::PI, 80, 100)]
    {
        let state = State { qpos: vec![angle], qvel: vec![0.0], extra: vec![] };
        env.set_state(&state, &mut [0.0; 3]).unwrap();
        let frame = env.render(&mut painter).unwrap();
        let rod = |pixel: &[u8]| pixel == [204, 77, 77];
        assert!(rod(&frame.rgb[3 * (row * 160 + column)..][..3]), "{angle}");
        let (covered, expected) = (frame.rgb.chunks(3).filter(|p| rod(p)).count(), 0.16 * 0.8 * 3600.0);
        assert!((covered as f64 / expected - 1.0).abs() < 0.3, "{covered} pixels, expected about {expected}");
    }
}

#[test]
fn what_has_no_picture_says_so() {
    let (mut env, _) = started("linear", 0);
    let error = env.render(&mut Painter::new(view(None))).unwrap_err().to_string();
    assert_eq!(error, "the environment `linear` has no picture");
}

#[test]
fn a_simulation_is_seen_moving_and_is_not_disturbed() {
    for name in ["cheetah-run", "halfcheetah", "quadruped-walk"] {
        let (mut watched, mut seen) = started(name, 2);
        let (mut alone, mut expected) = started(name, 2);
        let mut painter = Painter::new(view(None));
        let Some(first) = picture(&mut *watched, &mut painter) else { return };
        let action = vec![0.5; watched.spec().action_dim()];
        let mut last = first.clone();
        for _ in 0..12 {
            last = picture(&mut *watched, &mut painter).unwrap();
            let step = watched.step(&action, &mut seen);
            assert_eq!(step, alone.step(&action, &mut expected), "{name}");
            assert_eq!(seen, expected, "{name}");
        }
        assert_eq!(first.rgb.len(), 3 * 160 * 120);
        assert!(changed(&first, &last) > 100, "{name}: {} pixels changed", changed(&first, &last));
    }
}

/// The floor of Gymnasium's models ends 40 m from the start, where a cheetah is after seven seconds.
#[test]
fn the_floor_is_endless() {
    let (mut env, mut seen) = started("halfcheetah", 0);
    let mut state = env.state().unwrap();
    let mut painter = Painter::new(view(None));
    let Some(start) = picture(&mut *env, &mut painter) else { return };
    // a whole number of squares away, so that the same ones are seen
    state.qpos[0] += 320.0;
    env.set_state(&state, &mut seen).unwrap();
    let far = picture(&mut *env, &mut painter).unwrap();
    assert!(changed(&start, &far) < 200, "{} pixels changed", changed(&start, &far));
}

#[test]
fn cameras_are_chosen_by_name_and_number_and_others_are_refused() {
    let (mut env, _) = started("cheetah-run", 0);
    let mut draw = |camera| env.render(&mut Painter::new(view(camera)));
    let message = draw(Some("front")).unwrap_err().to_string();
    assert_eq!(message, "the model has no camera `front`; its cameras are 0 side, 1 back");
    if let Ok(side) = draw(None) {
        assert_eq!(draw(Some("side")).unwrap(), side);
        assert_eq!(draw(Some("0")).unwrap(), side);
        assert!(changed(&draw(Some("back")).unwrap(), &side) > 500);
    }
}

#[test]
fn a_picture_too_large_for_the_model_is_refused() {
    let (mut env, _) = started("hopper", 0);
    let error = env.render(&mut Painter::new(View { width: 9999, height: 1, camera: None })).unwrap_err();
    assert_eq!(error.to_string(), "a picture of 9999x1 is not possible; the model allows 1x1 to 640x480");
}
