//! td-koopman: train and watch a model-based planning agent with a Koopman latent, on real MuJoCo.
//!
//! This crate is the application: it turns a [configuration](config) into a run. Learning and planning live in
//! `td-koopman-agents`, simulators in `td-koopman-envs`; files, flags, clocks and terminals live here only.
#![warn(missing_docs)]

pub mod app;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod controller;
pub mod diagnose;
pub mod environments;
pub mod evaluate;
pub mod memory;
pub mod offline;
pub mod provenance;
pub mod record;
pub mod report;
pub mod study;
pub mod task;
pub mod trace;
pub mod train;
pub mod video;

pub use app::run;
pub use controller::Controller;
pub use td_koopman_envs as envs;
