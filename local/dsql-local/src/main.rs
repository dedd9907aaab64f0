//! The command line: starts a stand-in, tells where it is, and stops it on a signal.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dsql_local::{DsqlLocal, Options, Principal};
use tokio::signal::unix::{SignalKind, signal};

/// A local Aurora DSQL that checks real IAM tokens.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Serve(Serve),
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Dialect {
    On,
    Off,
}

/// Serves a cluster, and those that its control plane creates, until SIGINT or SIGTERM stops it.
///
/// PostgreSQL (14 to 18, best 16) is found in `DSQL_LOCAL_POSTGRES_BIN`, in .tools/postgres of the
/// repository that dsql-local was built in, on the PATH or in the usual places; it is started and
/// stopped with dsql-local, and never runs as root.
#[derive(clap::Args)]
#[command(after_help = "\
Environment file, written once connections are accepted and removed on a clean stop:
  DSQL_ENDPOINT          host name of the cluster: for SNI, certificate check and token
  DSQL_HOSTADDR          address to connect to instead of resolving that name
  DSQL_PORT              port to connect to
  DSQL_WEBSOCKET_PORT    port of PostgreSQL over WebSocket, which is 443 on a cluster
  DSQL_CA_FILE           certificate to trust
  DSQL_CONTROL_URL       control interface
  AWS_ENDPOINT_URL_DSQL  control plane, with --control-plane
  AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
                         credentials of the admin principal, allowed everything
  DSQL_PRINCIPAL_ARN     its ARN, for AWS IAM GRANT

Control interface, JSON over HTTP:
  GET  /stats            connections, tokens accepted and refused by reason, statements, flights, injected faults
  GET  /clock            {\"epoch_s\": N}
  POST /clock            {\"advance_s\": N} or {\"set\": seconds since 1970}
  POST /jobs             {\"duration_ms\": N}: how long index builds and validations take from now on
  POST /faults           replaces all faults; {} clears them; an unknown key answers with the known ones
  POST /connections/cut  closes all connections, as at the end of their 60 minutes

The README documents the principals file and every fault.")]
struct Serve {
    /// Keep data, certificates and credentials here; without it everything is deleted at the end
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address for clients; loopback only, port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Port of PostgreSQL over WebSocket, on the address for clients; 0 picks a free port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    websocket_port: u16,
    /// Address of the control interface; loopback only, port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Address of the control plane, the AWS API that creates further clusters; loopback only, port
    /// 0 picks a free port
    #[arg(long, value_name = "ADDRESS")]
    control_plane: Option<SocketAddr>,
    /// File to write the client's environment to, one KEY=value a line, mode 0600
    #[arg(long, value_name = "FILE")]
    env_file: PathBuf,
    /// JSON file of further principals
    #[arg(long, value_name = "FILE")]
    principals: Option<PathBuf>,
    /// AWS Region that the cluster pretends to be in
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Account that the cluster belongs to
    #[arg(long, value_name = "DIGITS", default_value = "111122223333")]
    account: String,
    /// Do not fail the next statement of every other session after a change of the catalog; DSQL
    /// does (OC001)
    #[arg(long)]
    no_schema_conflicts: bool,
    /// Whether DSQL's rules apply to statements; `off` passes them to PostgreSQL unchanged
    #[arg(long, value_name = "on|off", default_value = "on")]
    dialect: Dialect,
    /// Milliseconds that an index build or a validation takes, by the movable clock
    #[arg(long, value_name = "MS", default_value_t = 100)]
    job_ms: u64,
    /// Also stop at the end of standard input, to end together with the process at its other end
    #[arg(long)]
    stop_at_end_of_input: bool,
    /// Log connections and refusals to standard error; twice for details
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn main() -> ExitCode {
    let Verb::Serve(arguments) = Cli::parse().command;
    let level = match arguments.verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    raise_descriptor_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(serve(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

/// One line for a person.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    let _unheard = writeln!(std::io::stderr(), "dsql-local: {text}");
    ExitCode::FAILURE
}

async fn serve(arguments: Serve) -> Result<(), Box<dyn std::error::Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let end_of_input = end_of_input(arguments.stop_at_end_of_input);
    tokio::pin!(end_of_input);
    let principals = arguments
        .principals
        .as_deref()
        .map(Principal::read_file)
        .transpose()?
        .unwrap_or_default();
    // Whoever waits for the file must not find that of an earlier run.
    match std::fs::remove_file(&arguments.env_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("cannot replace {}: {error}", arguments.env_file.display()).into());
        }
        _ => {}
    }
    let options = Options {
        data_dir: arguments.data_dir,
        listen: arguments.listen,
        websocket_port: arguments.websocket_port,
        control: arguments.control,
        control_plane: arguments.control_plane,
        region: arguments.region,
        account_id: arguments.account,
        principals,
        schema_conflicts: !arguments.no_schema_conflicts,
        dialect: arguments.dialect == Dialect::On,
        job_duration: std::time::Duration::from_millis(arguments.job_ms),
        ..Options::default()
    };
    let dsql = tokio::select! {
        started = DsqlLocal::start(options) => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
        () = &mut end_of_input => return Ok(()),
    };
    dsql.write_env_file(&arguments.env_file)?;
    let (endpoint, address) = (dsql.endpoint(), dsql.address());
    writeln!(
        std::io::stdout(),
        "dsql-local: {endpoint} on {address}, over WebSocket on {}, environment in {}",
        dsql.websocket_address(),
        arguments.env_file.display()
    )?;
    if let Some(url) = dsql.control_plane_url() {
        writeln!(std::io::stdout(), "dsql-local: control plane at {url}")?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = end_of_input => {}
    }
    let _absent = std::fs::remove_file(&arguments.env_file);
    dsql.stop().await;
    Ok(())
}

/// Waits for the end of standard input, if that `matters`. The thread that reads does not keep the
/// process from ending.
async fn end_of_input(matters: bool) {
    if !matters {
        return std::future::pending().await;
    }
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _unreadable = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ended.send(())
    });
    // A thread that panicked has read its last, too.
    let _ = end.await;
}

/// Ten thousand connections need as many descriptors; the usual soft limit is 1024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _kept = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
