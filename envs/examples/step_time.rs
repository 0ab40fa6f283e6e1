//! CPU microseconds per simulator step under random actions, resets included: `step_time NAME SECONDS` prints one
//! number. `scripts/env_speed.py` runs it beside the Python originals.
use std::{error::Error, fs};

use td_koopman_envs::{Env, registry};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seconds] = arguments.as_slice() else { return Err("usage: step_time NAME SECONDS".into()) };
    let (mut env, seconds) = (registry::make(name)?, seconds.parse::<f64>()?);
    let mut run = Run::new(&mut *env);
    run.steps(&mut *env, 200);
    let (start, mut steps) = (cpu_seconds()?, 0);
    loop {
        run.steps(&mut *env, 200);
        steps += 200;
        let taken = cpu_seconds()? - start;
        if taken >= seconds {
            println!("{:.3}", taken / f64::from(steps) * 1e6);
            return Ok(());
        }
    }
}

/// Episodes under actions from a small generator, one after another.
struct Run {
    observation: Vec<f64>,
    action: Vec<f64>,
    random: u64,
    episodes: u64,
}

impl Run {
    fn new(env: &mut dyn Env) -> Self {
        let mut run = Self {
            observation: vec![0.0; env.spec().observation_dim],
            action: vec![0.0; env.spec().action_dim()],
            random: 1,
            episodes: 0,
        };
        env.reset(0, &mut run.observation);
        run
    }

    fn steps(&mut self, env: &mut dyn Env, count: usize) {
        for _ in 0..count {
            let (low, high) = (&env.spec().action_low, &env.spec().action_high);
            for (action, (low, high)) in self.action.iter_mut().zip(low.iter().zip(high)) {
                // Knuth's linear congruential generator; its high bits are good enough here
                self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *action = low + (high - low) * (self.random >> 11) as f64 * (-53f64).exp2();
            }
            if env.step(&self.action, &mut self.observation).end.is_over() {
                self.episodes += 1;
                env.reset(self.episodes, &mut self.observation);
            }
        }
    }
}

/// CPU time of this thread.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().ok_or("the kernel keeps no schedstat")?;
    Ok(nanoseconds.parse::<u64>()? as f64 * 1e-9)
}
