//! The CPU and wall-clock seconds a run has used.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Counts the seconds a run has used, across the processes it was resumed in.
///
/// The time between the last checkpoint and a kill is not counted: the work done in it is not kept either.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    cpu_before: f64,
    wall_before: f64,
    cpu_start: Duration,
    wall_start: Instant,
}

impl Clock {
    /// Starts counting at zero.
    pub fn start() -> Self {
        Self::resume(0.0, 0.0)
    }

    /// Goes on counting from the seconds that a checkpoint holds.
    pub fn resume(cpu_seconds: f64, wall_seconds: f64) -> Self {
        Self {
            cpu_before: cpu_seconds,
            wall_before: wall_seconds,
            cpu_start: process_cpu_time(),
            wall_start: Instant::now(),
        }
    }

    /// Runs something that is not to be counted, such as an evaluation.
    pub fn uncounted<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (cpu, wall) = (process_cpu_time(), Instant::now());
        let result = work();
        self.cpu_start += process_cpu_time().saturating_sub(cpu);
        self.wall_start += wall.elapsed();
        result
    }

    /// CPU seconds, user and system, of all threads of the process.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_before + process_cpu_time().saturating_sub(self.cpu_start).as_secs_f64()
    }

    /// Seconds on the wall clock.
    pub fn wall_seconds(&self) -> f64 {
        self.wall_before + self.wall_start.elapsed().as_secs_f64()
    }
}

/// Runs `work` and returns its result with the CPU seconds it took.
pub fn timed<R>(work: impl FnOnce() -> R) -> (R, f64) {
    let clock = Clock::start();
    let result = work();
    (result, clock.cpu_seconds())
}

/// CPU time of this process, finished threads included.
fn process_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_clock_goes_on_from_the_checkpoint() {
        let clock = Clock::resume(100.0, 200.0);
        let (cpu, wall) = (clock.cpu_seconds(), clock.wall_seconds());
        assert!((100.0..160.0).contains(&cpu), "{cpu}");
        assert!((200.0..260.0).contains(&wall), "{wall}");
    }

    #[test]
    fn uncounted_work_is_not_counted() {
        let mut clock = Clock::start();
        clock.uncounted(|| std::thread::sleep(Duration::from_millis(300)));
        assert!(clock.wall_seconds() < 0.3, "{}", clock.wall_seconds());
    }

    #[test]
    fn the_work_of_another_thread_counts_after_it_has_ended() {
        let clock = Clock::start();
        let wanted = 0.02;
        std::thread::spawn(move || {
            let mut state = 1u64;
            while clock.cpu_seconds() < wanted {
                for _ in 0..10_000 {
                    state = std::hint::black_box(state.wrapping_mul(6364136223846793005).wrapping_add(1));
                }
            }
        })
        .join()
        .unwrap();
        assert!(clock.cpu_seconds() >= wanted);
    }
}
