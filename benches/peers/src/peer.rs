//! A peer's processes: started, timed, and stopped while others are timed.

use crate::results::median;
use crate::{Args, Failure, SAMPLE};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A column of the table: one process, or one per waiting policy of its threads.
pub struct Peer {
    pub name: String,
    processes: Vec<Process>,
}

impl Peer {
    /// Starts it on `threads` threads.
    pub fn start(name: &str, args: &Args, threads: usize) -> Result<Self, Failure> {
        // Out of work, OpenMP's threads spin for a while or sleep at once. Which is faster depends on the work.
        let policies: &[&[(&str, &str)]] = match name {
            "torch" => &[&[], &[("KMP_BLOCKTIME", "0"), ("OMP_WAIT_POLICY", "passive")]],
            _ => &[&[]],
        };
        let start = |policy: &&[(&str, &str)]| Process::start(name, args, threads, policy);
        let processes = policies.iter().map(start).collect::<Result<_, _>>()?;
        Ok(Peer { name: name.to_owned(), processes })
    }

    /// Sends a command to all processes and returns the answer of the first.
    pub fn ask(&mut self, command: &str) -> Result<String, Failure> {
        let answers = self.processes.iter_mut().map(|process| process.ask(command));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        Ok(answers.into_iter().next().expect("a peer has a process"))
    }

    /// Chooses the number of calls per sample of each process.
    pub fn plan_samples(&mut self, timed: bool, long: bool) -> Result<(), Failure> {
        for process in &mut self.processes {
            (process.samples, process.runs, process.long) = (Vec::new(), Vec::new(), long);
            process.calls = match timed {
                false => 0,
                true if long => 1,
                true => process.calls_per_sample()?,
            };
        }
        Ok(())
    }

    /// Takes a sample of each process.
    pub fn sample(&mut self) -> Result<(), Failure> {
        self.processes.iter_mut().try_for_each(Process::sample)
    }

    /// Ends a run: the median of its samples counts.
    pub fn end_run(&mut self) {
        for process in &mut self.processes {
            if !process.samples.is_empty() {
                process.runs.push(median(&process.samples));
                process.samples.clear();
            }
        }
    }

    /// The runs of the process with the smallest median.
    pub fn best_runs(&mut self) -> Vec<f64> {
        let runs = self.processes.iter_mut().map(|process| std::mem::take(&mut process.runs));
        runs.min_by(|a, b| median(a).total_cmp(&median(b))).expect("a peer has a process")
    }

    /// Nanoseconds per call, over `n` calls, of the faster process.
    pub fn time(&mut self, n: usize) -> Result<f64, Failure> {
        let times = self.processes.iter_mut().map(|process| process.time(n)).collect::<Result<Vec<_>, _>>()?;
        Ok(times.into_iter().fold(f64::INFINITY, f64::min))
    }

    /// Closes the processes' inputs and waits for them to exit.
    pub fn end(self) -> Result<(), Failure> {
        self.processes.into_iter().try_for_each(Process::end)
    }
}

/// A process that runs only while it answers a command.
struct Process {
    name: String,
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    calls: usize,
    long: bool,
    samples: Vec<f64>,
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
        let (to, Some(from)) = (child.stdin.take(), child.stdout.take()) else { unreachable!("both are piped") };
        let (samples, runs) = (Vec::new(), Vec::new());
        let from = BufReader::new(from);
        let process = Process { name: name.to_owned(), child, to, from, calls: 0, long: false, samples, runs };
        process.stop()?;
        Ok(process)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Stops all of its threads and waits until they have stopped.
    fn stop(&self) -> Result<(), Failure> {
        kill_process(self.pid(), Signal::STOP)?;
        // If it exited instead, the next command fails.
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
            return Err(format!("{} exited at {command:?}: {:?}", self.name, self.child.wait()?).into());
        }
        self.stop()?;
        Ok(answer.trim().to_string())
    }

    /// Nanoseconds per call, over `n` calls.
    fn time(&mut self, n: usize) -> Result<f64, Failure> {
        Ok(self.ask(&format!("time {n}"))?.parse::<f64>()? / n as f64)
    }

    /// The number of warm calls that take [`SAMPLE`].
    fn calls_per_sample(&mut self) -> Result<usize, Failure> {
        let mut calls = 1;
        for _ in 0..3 {
            let once = self.time(calls)?;
            calls = ((SAMPLE / once.max(1.0)).ceil() as usize).clamp(1, 100_000);
            if calls == 1 {
                break;
            }
        }
        Ok(calls)
    }

    fn sample(&mut self) -> Result<(), Failure> {
        if self.calls == 0 {
            return Ok(());
        }
        if self.long {
            let once = self.time(1)?;
            self.samples.push(once);
            return Ok(());
        }
        // The process was stopped, and the caches hold another peer's data: untimed calls warm it first. Both are one command, so that the
        // process is not stopped in between.
        let calls = self.calls;
        let time = self.ask(&format!("warm {calls}"))?.parse::<f64>()? / calls as f64;
        self.samples.push(time);
        Ok(())
    }

    /// Closes its input and waits for it to exit.
    fn end(mut self) -> Result<(), Failure> {
        kill_process(self.pid(), Signal::CONT)?;
        self.to = None;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    /// After a failure: a stopped process would never exit.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
