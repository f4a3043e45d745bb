//! A peer's processes: started, asked, timed, and stopped while others are timed.

use crate::table::median;
use crate::{Args, Failure, TURN};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A column of the table: one process, or one for each policy by which its threads wait.
pub struct Peer {
    pub name: String,
    processes: Vec<Process>,
}

impl Peer {
    /// Starts it, on so many threads.
    pub fn start(name: &str, args: &Args, threads: usize) -> Result<Self, Failure> {
        // OpenMP's threads spin for a while when they run out of work, or sleep at once. Which is faster depends on the work.
        let policies: &[&[(&str, &str)]] = match name {
            "torch" => &[&[], &[("KMP_BLOCKTIME", "0"), ("OMP_WAIT_POLICY", "passive")]],
            _ => &[&[]],
        };
        let start = |policy: &&[(&str, &str)]| Process::start(name, args, threads, policy);
        let processes = policies.iter().map(start).collect::<Result<_, _>>()?;
        Ok(Peer { name: name.to_owned(), processes })
    }

    /// The same command for all processes; they answer alike, and the first one's answer counts.
    pub fn ask(&mut self, command: &str) -> Result<String, Failure> {
        let answers = self.processes.iter_mut().map(|process| process.ask(command));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        Ok(answers.into_iter().next().expect("a peer has a process"))
    }

    /// Decides how many calls a turn of each process takes.
    pub fn plan_turns(&mut self, timed: bool, long: bool) -> Result<(), Failure> {
        for process in &mut self.processes {
            (process.turns, process.runs, process.long) = (Vec::new(), Vec::new(), long);
            process.calls = match timed {
                false => 0,
                true if long => 1,
                true => process.calls_of_a_turn()?,
            };
        }
        Ok(())
    }

    /// Times a turn of each process.
    pub fn turn(&mut self) -> Result<(), Failure> {
        self.processes.iter_mut().try_for_each(Process::turn)
    }

    /// Ends a run: the median of its turns counts.
    pub fn end_run(&mut self) {
        for process in &mut self.processes {
            if !process.turns.is_empty() {
                process.runs.push(median(&process.turns));
                process.turns.clear();
            }
        }
    }

    /// The runs of the process whose median run is the fastest.
    pub fn best_runs(&mut self) -> Vec<f64> {
        let runs = self.processes.iter_mut().map(|process| std::mem::take(&mut process.runs));
        runs.min_by(|a, b| median(a).total_cmp(&median(b))).expect("a peer has a process")
    }

    /// Nanoseconds of a call, over `n` of them, of the faster process.
    pub fn time(&mut self, n: usize) -> Result<f64, Failure> {
        let times = self.processes.iter_mut().map(|process| process.time(n)).collect::<Result<Vec<_>, _>>()?;
        Ok(times.into_iter().fold(f64::INFINITY, f64::min))
    }

    /// Closes the inputs and waits for the ends.
    pub fn end(self) -> Result<(), Failure> {
        self.processes.into_iter().try_for_each(Process::end)
    }
}

/// A process that is stopped whenever it is not asked.
struct Process {
    name: String,
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    calls: usize,
    long: bool,
    turns: Vec<f64>,
    runs: Vec<f64>,
}

impl Process {
    fn start(name: &str, args: &Args, threads: usize, policy: &[(&str, &str)]) -> Result<Self, Failure> {
        let mut command = match name {
            "torch" => {
                let mut command = Command::new(&args.python);
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/torch_peer.py"));
                command
            }
            _ => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--serve", name]);
                command
            }
        };
        let threads = threads.to_string();
        for variable in
            ["PEERS_THREADS", "MINITORCH_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
        {
            command.env(variable, &threads);
        }
        command.envs(policy.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, Some(from)) = (child.stdin.take(), child.stdout.take()) else { unreachable!("it is piped") };
        let (turns, runs) = (Vec::new(), Vec::new());
        let from = BufReader::new(from);
        let process = Process { name: name.to_owned(), child, to, from, calls: 0, long: false, turns, runs };
        process.stop()?;
        Ok(process)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Stops all of its threads, and returns when they are.
    fn stop(&self) -> Result<(), Failure> {
        kill_process(self.pid(), Signal::STOP)?;
        // An end instead is told by the next question.
        waitpid(Some(self.pid()), WaitOptions::UNTRACED)?;
        Ok(())
    }

    fn ask(&mut self, command: &str) -> Result<String, Failure> {
        kill_process(self.pid(), Signal::CONT)?;
        if let Some(to) = &mut self.to {
            writeln!(to, "{command}")?;
        }
        let mut answer = String::new();
        if self.from.read_line(&mut answer)? == 0 {
            return Err(format!("{} ended at {command:?}: {:?}", self.name, self.child.wait()?).into());
        }
        self.stop()?;
        Ok(answer.trim().to_string())
    }

    /// Nanoseconds of a call, over `n` of them.
    fn time(&mut self, n: usize) -> Result<f64, Failure> {
        Ok(self.ask(&format!("time {n}"))?.parse::<f64>()? / n as f64)
    }

    /// How many calls take as long as a turn, once they are warm.
    fn calls_of_a_turn(&mut self) -> Result<usize, Failure> {
        let mut calls = 1;
        for _ in 0..3 {
            let once = self.time(calls)?;
            calls = ((TURN / once.max(1.0)).ceil() as usize).clamp(1, 100_000);
            if calls == 1 {
                break;
            }
        }
        Ok(calls)
    }

    fn turn(&mut self) -> Result<(), Failure> {
        if self.calls == 0 {
            return Ok(());
        }
        if self.long {
            let once = self.time(1)?;
            self.turns.push(once);
            return Ok(());
        }
        // It was stopped, and the caches are full of what the peer before used: the first calls wake and warm it. Both parts are one
        // command, so that nothing stops it between them.
        let calls = self.calls;
        let time = self.ask(&format!("warm {calls}"))?.parse::<f64>()? / calls as f64;
        self.turns.push(time);
        Ok(())
    }

    /// Closes its input and waits for its end.
    fn end(mut self) -> Result<(), Failure> {
        kill_process(self.pid(), Signal::CONT)?;
        self.to = None;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    /// After a failure: a stopped process would stay for ever.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
