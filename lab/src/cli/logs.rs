//! `lab logs`: what the parts of a lab have said, merged by time.

use std::collections::HashMap;
use std::io::{self, Write as _};

use clap::Args;

use super::error::CliError;
use crate::backend::LabError;
use crate::exit::Exit;
use crate::limits;
use crate::logs::{self, Follower, LogLine};
use crate::paths::Workspace;
use crate::spec::LabSpec;

/// Show the logs of a lab's parts, merged by time; also of one that has ended.
#[derive(Debug, Clone, Args)]
pub(super) struct LogsArgs {
    /// The parts, as `lab status` names them; all without a name.
    resources: Vec<String>,
    /// Go on with what is added.
    #[arg(long, short)]
    follow: bool,
    /// The last lines of each part; 0 shows all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    tail: usize,
    /// Name of the lab.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    lab: String,
}

pub(super) async fn run(args: &LogsArgs) -> Result<Exit, CliError> {
    let workspace = Workspace::find()?;
    LabSpec { name: args.lab.clone(), ..LabSpec::default() }.validate().map_err(LabError::from)?;
    let files = workspace.lab(&args.lab);
    if !files.logs().exists() {
        return Err(LabError::NotRunning { name: args.lab.clone() }.into());
    }
    // Before the reading, so that no line falls between.
    let mut follower = Follower::new(&files, &args.resources)?;
    print(&last(logs::read(&files, &args.resources)?, args.tail)).map_err(CliError::Stdout)?;
    if !args.follow {
        return Ok(Exit::Ok);
    }
    loop {
        print(&follower.added()).map_err(CliError::Stdout)?;
        tokio::select! {
            () = tokio::time::sleep(limits::FILE_POLL) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
        }
    }
}

/// The last lines of each resource, in the order in which they came.
fn last(lines: Vec<LogLine>, count: usize) -> Vec<LogLine> {
    if count == 0 {
        return lines;
    }
    let mut left: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<LogLine> = Vec::new();
    for line in lines.into_iter().rev() {
        let shown = left.entry(line.resource.clone()).or_default();
        if *shown < count {
            *shown += 1;
            kept.push(line);
        }
    }
    kept.reverse();
    kept
}

fn print(lines: &[LogLine]) -> io::Result<()> {
    let width = lines.iter().map(|line| line.resource.len()).max().unwrap_or_default();
    let mut stdout = io::stdout().lock();
    for LogLine { resource, text } in lines {
        writeln!(stdout, "{resource:<width$}│ {text}")?;
    }
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_those_of_each_resource() {
        let line =
            |resource: &str, text: &str| LogLine { resource: resource.to_owned(), text: text.to_owned() };
        let lines = vec![line("a", "1"), line("b", "1"), line("a", "2"), line("a", "3")];
        assert_eq!(last(lines.clone(), 1), [line("b", "1"), line("a", "3")]);
        assert_eq!(last(lines.clone(), 0), lines);
    }
}
