//! Owns what is asked of the machine: what it is, what a process used, and how to give it less CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::binary::workspace;

/// Standard output of a program, or "unknown".
pub(crate) fn told_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(workspace())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// One line: processor, memory, system, versions.
pub(crate) fn description() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or_else(
            || "unknown".to_owned(),
            |(_, value)| value.trim().to_owned(),
        )
    };
    let memory_kb: u64 = field("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    format!(
        "{} × {}, {} GiB, {}; {}; PostgreSQL {}; Node {}; Python {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        field("/proc/cpuinfo", "model name"),
        memory_kb.div_ceil(1024 * 1024),
        told_by("uname", &["-srm"]),
        told_by("rustc", &["--version"]),
        told_by(
            "sh",
            &[
                "-c",
                "for bin in \"$DSQL_LOCAL_POSTGRES_BIN\" .tools/postgres/bin /usr/lib/postgresql/*/bin /usr/local/pgsql/bin; do \
                 \"$bin/postgres\" --version 2>/dev/null && break; done | grep -o '[0-9][0-9.]*' | head -1"
            ]
        ),
        told_by("node", &["--version"]).trim_start_matches('v'),
        told_by(
            "python3",
            &["-c", "import platform; print(platform.python_version())"]
        ),
    )
}

/// The load of the last minute: above the number of processors, the figures are of a busy machine.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// CPU time of all threads of a process so far.
pub(crate) fn cpu_time(pid: i32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Resident memory of a process, MiB.
pub(crate) fn resident_mib(pid: i32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024.0
}

/// A share of one CPU, by the first version of control groups. Removed when dropped; then no
/// process may be in it.
#[derive(Debug)]
pub(crate) struct Share(PathBuf);

impl Share {
    /// None where the machine does not permit it.
    pub(crate) fn of_cpu(percent: u32) -> Option<Self> {
        /// Lambda's period is short as well: a long one would give a process all it needs before it
        /// is stopped first.
        const PERIOD_US: u32 = 20_000;
        let root = Path::new("/sys/fs/cgroup/cpu");
        if !root.join("cpu.cfs_quota_us").exists() {
            return None;
        }
        let folder = root.join(format!("bench-{}-{percent}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let share = Self(folder);
        share.set("cpu.cfs_period_us", PERIOD_US)?;
        share.set("cpu.cfs_quota_us", PERIOD_US * percent / 100)?;
        Some(share)
    }

    fn set(&self, file: &str, value: u32) -> Option<()> {
        fs::write(self.0.join(file), value.to_string()).ok()
    }

    /// The program and arguments that start what follows them inside the share.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.0.display());
        ["/bin/sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Left behind, it is empty and harms nobody.
        let _ = fs::remove_dir(&self.0);
    }
}
