//! What the operating system says of a process.

use std::fs;
use std::time::Duration;

/// The time it has had on a processor, all its threads together: by the scheduler's own account where there is one, to the
/// nanosecond; else in ticks of 10 ms. A thread that has ended is no longer counted by the scheduler.
///
/// # Errors
/// There is no such process.
pub(crate) fn cpu(pid: u32) -> Result<Duration, String> {
    let gone = |error| format!("process {pid} is gone: {error}");
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(gone)?;
    let nanoseconds = |task: std::io::Result<fs::DirEntry>| -> Option<u64> {
        let account = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        account.split_whitespace().next()?.parse().ok()
    };
    let scheduled: u64 = tasks.filter_map(nanoseconds).sum();
    if scheduled > 0 {
        return Ok(Duration::from_nanos(scheduled));
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(gone)?;
    // The name, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// How much of its memory is resident, in bytes.
///
/// # Errors
/// There is no such process.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|error| format!("process {pid} is gone: {error}"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map(|kib: u64| kib * 1024).ok_or_else(|| format!("process {pid} has no memory"))
}
