//! The `plot` command: seeds of several variants in one picture.

use super::{Curve, aggregate, common_grid, read_eval_csv, require_svg, write_svg};
use crate::config::ConfigError;
use crate::study::choices::{distinct, list};
use anyhow::Result;
use std::path::Path;

/// Draws curves given as `name=folder[,folder…]`: one run with its band over evaluation episodes, several as their mean
/// with the range from the worst to the best seed.
pub fn plot(curves: &[String], title: &str, out: &Path) -> Result<()> {
    require_svg(out)?;
    let mut drawn = Vec::new();
    let mut several = false;
    for text in curves {
        let (name, folders) = text.split_once('=').ok_or_else(|| {
            ConfigError(format!("`{text}` is not of the form name=run-folder[,run-folder...]"))
        })?;
        if name.trim().is_empty() {
            return Err(ConfigError(format!(
                "`{text}` gives its curve no name: name=run-folder[,run-folder...]"
            ))
            .into());
        }
        let folders = list(folders, ',')?;
        distinct(&format!("`{text}`"), &folders)?;
        let seeds: Vec<_> =
            folders.iter().map(|f| read_eval_csv(&Path::new(f).join("eval.csv"))).collect::<Result<_>>()?;
        several |= seeds.len() > 1;
        drawn.push(match &seeds[..] {
            [seed] => Curve::of_runs(name, seed.clone()),
            seeds => {
                let grid = common_grid(seeds.iter().flatten().map(|point| point.env_step));
                let points = aggregate(seeds, &grid).into_iter().map(Into::into).collect();
                Curve::of_runs(format!("{name} ({} seeds)", seeds.len()), points)
            }
        });
    }
    let band = if several {
        "mean over seeds, band from the worst to the best seed (one seed: ± standard deviation over episodes)"
    } else {
        "mean ± standard deviation over evaluation episodes"
    };
    write_svg(out, title, band, &drawn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn seeds_are_averaged_and_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str, value: f64| {
            let run = folder.path().join(name);
            fs::create_dir(&run).unwrap();
            let text = format!(
                "env_step,return_mean,return_sd,episodes,cpu_seconds,wall_seconds\n1000,{value},1,3,1,1\n2000,{value},1,3,1,1\n"
            );
            fs::write(run.join("eval.csv"), text).unwrap();
            run.display().to_string()
        };
        let (a, b) = (run("a", 1.0), run("b", 3.0));
        let out = folder.path().join("out.svg");
        plot(&[format!("koopman={a},{b}"), format!("mlp={a}")], "task", &out).unwrap();
        let svg = fs::read_to_string(&out).unwrap();
        assert!(svg.contains("koopman (2 seeds)") && svg.lines().any(|line| line == "mlp"));
        let png = folder.path().join("out.png");
        for (curve, out, complaint) in [
            (format!("x={a},{a}"), &out, "twice"),
            (format!("={a}"), &out, "no name"),
            ("x=".into(), &out, "empty place"),
            (format!("x={a}"), &png, "FILE.svg"),
        ] {
            let error = plot(&[curve], "t", out).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
        assert!(plot(&["koopman".into()], "t", &out).unwrap_err().to_string().contains("name=run-folder"));
        let error = format!("{:#}", plot(&["x=absent".into()], "t", &out).unwrap_err());
        assert!(error.contains("absent"), "{error}");
    }
}
