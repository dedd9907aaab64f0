//! Owns how a process is started, signalled, and inspected.

use std::fs;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::sleep;

/// How often a program that is still being written is tried again, and after how long.
const BUSY_TRIES: u32 = 500;
const BUSY_POLL: Duration = Duration::from_millis(20);

/// Starts the process. A program that somebody still writes is a build about to end: it is waited
/// for.
pub(super) async fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut tries = BUSY_TRIES;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries > 0 => {
                tries -= 1;
                sleep(BUSY_POLL).await;
            }
            spawned => return spawned,
        }
    }
}

/// Only a process not yet seen to end is signalled: its id may belong to another afterwards.
pub(super) fn signal(pid: Pid, exited: &watch::Receiver<Option<ExitStatus>>, signal: Signal) {
    if exited.borrow().is_none() {
        // It may end between the look and the signal; then there is nothing to do.
        let _ = kill_process(pid, signal);
    }
}

/// The state letter of `/proc/PID/stat`, after the parenthesis that closes the program's name.
pub(super) fn process_state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
