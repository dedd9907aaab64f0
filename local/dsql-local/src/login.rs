//! From an encrypted connection to a session that may run statements: startup message, limits,
//! token, role.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::auth::{Refusal, RefusalKind};
use crate::cluster::Cluster;
use crate::clusters::Clusters;
use crate::dialect::SERVER_VERSION;
use crate::faults::Refuse;
use crate::prestart::Prestart;
use crate::startup::{
    CANCEL_REQUEST, GSS_REQUEST, MAX_STARTUP_BYTES, SSL_REQUEST, Startup, StartupError, TEXT_STYLE,
};
use crate::transport::{self, Secured, Transport};
use crate::wire::{Backend, ErrorAnswer, Message, ParameterStatus, TransactionStatus, strings};

/// A token with a session token is about 1.3 KB.
const MAX_PASSWORD_BYTES: u32 = 64 * 1024;
/// A client that is not logged in by then is dropped; real time.
const PATIENCE: Duration = Duration::from_secs(60);
const DENIED: &str = "unable to accept connection, access denied";

/// A client that has logged in.
pub(crate) struct Client {
    pub(crate) stream: Box<dyn Transport>,
    pub(crate) startup: Startup,
    /// The backend on its way, if there is room for it.
    pub(crate) prestart: Option<Prestart>,
    /// Counts against the limit of open connections.
    pub(crate) slot: tokio::sync::OwnedSemaphorePermit,
}

/// Logs a client in, whose connection `secured` encrypts, at the cluster that it named; `None` when
/// it was refused or went away.
pub(crate) async fn login(
    clusters: &Clusters,
    secured: impl Future<Output = io::Result<Option<Secured>>>,
) -> io::Result<Option<(Arc<Cluster>, Client)>> {
    tokio::time::timeout(PATIENCE, async {
        let Some(Secured { mut stream, sni }) = secured.await? else {
            return Ok(None);
        };
        match admit(clusters, &mut stream, sni.as_deref()).await {
            Ok(Ok(Some(Admitted { cluster, startup, prestart, slot }))) => {
                return Ok(Some((cluster, Client { stream, startup, prestart, slot })));
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::info!(error = %error.message, hint = error.hint.as_deref().unwrap_or_default(), "refused a connection");
                let mut out = BytesMut::new();
                Backend::from(&error).write_to(&mut out);
                stream.write_all(&out).await?;
            }
            Err(error) => {
                transport::end(&mut stream).await;
                return Err(error);
            }
        }
        transport::end(&mut stream).await;
        Ok(None)
    })
    .await
    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A connection whose token was accepted.
struct Admitted {
    cluster: Arc<Cluster>,
    startup: Startup,
    prestart: Option<Prestart>,
    slot: tokio::sync::OwnedSemaphorePermit,
}

/// Everything that is decided inside the encryption. The outer error is the connection's, the inner
/// one is told to the client.
async fn admit(
    clusters: &Clusters,
    stream: &mut Box<dyn Transport>,
    sni: Option<&str>,
) -> io::Result<Result<Option<Admitted>, ErrorAnswer>> {
    let Some((version, parameters)) = read_startup(stream).await? else {
        return Ok(Ok(None));
    };
    if version >> 16 != 3 {
        return Ok(Err(ErrorAnswer::fatal(
            "0A000",
            "unsupported frontend protocol",
        )));
    }
    let (cluster, startup) = match before_token(clusters, sni, parameters) {
        Ok(named) => named,
        Err(error) => return Ok(Err(error)),
    };
    let Some(slot) = cluster.limits.take_slot() else {
        cluster
            .counters
            .connections_refused
            .add_one("too_many_connections");
        return Ok(Err(refusal(Refuse::TooManyConnections)));
    };
    // While the client sends its token; refused, it goes with this.
    let prestart = Prestart::begin(&cluster.postgres, &startup);
    let mut out = BytesMut::new();
    if version & 0xffff != 0 || !startup.protocol_options.is_empty() {
        negotiate_version(&startup.protocol_options).write_to(&mut out);
    }
    Message::new(b'R', &b"\0\0\0\x03"[..]).write_to(&mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    let Some(password) = read_password(stream).await? else {
        return Ok(Ok(None));
    };
    if let Err(refusal) = check_token(&cluster, &password, &startup.user).await {
        cluster.counters.tokens_refused.add_one(refusal.kind.name());
        return Ok(Err(
            ErrorAnswer::fatal("08006", DENIED).with_hint(refusal.hint)
        ));
    }
    cluster.counters.tokens_accepted.add_one();
    Ok(Ok(Some(Admitted {
        cluster,
        startup,
        prestart,
        slot,
    })))
}

fn before_token(
    clusters: &Clusters,
    sni: Option<&str>,
    parameters: Bytes,
) -> Result<(Arc<Cluster>, Startup), ErrorAnswer> {
    let counted = |reason: &'static str, error: ErrorAnswer| {
        let counters = &clusters.region.counters;
        counters.connections_refused.add_one(reason);
        error
    };
    let sni = sni.ok_or_else(|| {
        counted(
            "no_sni",
            ErrorAnswer::fatal("08006", "unable to accept connection, sni was not received"),
        )
    })?;
    let cluster = clusters.find(sni).ok_or_else(|| {
        let error = ErrorAnswer::fatal("08006", DENIED)
            .with_hint(format!("There is no cluster {sni} here."));
        counted("other_host", error)
    })?;
    if let Some(refuse) = cluster.faults.refuse() {
        return Err(counted("injected", refusal(refuse)));
    }
    if !cluster.limits.allow_one_more(cluster.clock.now()) {
        return Err(counted("rate_exceeded", refusal(Refuse::RateExceeded)));
    }
    let startup = Startup::parse(parameters, &cluster.auth.cluster_id).map_err(|error| {
        let answer = match error {
            StartupError::Malformed => ErrorAnswer::fatal("08P01", "invalid startup packet layout"),
            StartupError::NoUser => ErrorAnswer::fatal(
                "28000",
                "no PostgreSQL user name specified in startup packet",
            ),
            StartupError::Database(name) => {
                ErrorAnswer::fatal("3D000", format!("database \"{name}\" does not exist"))
            }
            StartupError::Setting(name) => ErrorAnswer::fatal(
                "0A000",
                format!("setting configuration parameter \"{name}\" not supported"),
            ),
        };
        counted("startup_message", answer)
    })?;
    Ok((cluster, startup))
}

/// The service's words for a refusal.
fn refusal(refuse: Refuse) -> ErrorAnswer {
    match refuse {
        Refuse::AccessDenied => ErrorAnswer::fatal("08006", DENIED),
        Refuse::RateExceeded => {
            ErrorAnswer::fatal("53400", "Unable to accept connection, rate exceeded.")
        }
        Refuse::TooManyConnections => ErrorAnswer::fatal(
            "53300",
            "Unable to accept connection, too many open connections.",
        ),
        Refuse::WakingUp => ErrorAnswer::fatal(
            "08006",
            "unable to accept connection, waking up cluster, please retry later",
        ),
    }
}

async fn check_token(cluster: &Cluster, password: &[u8], user: &str) -> Result<(), Refusal> {
    let token = std::str::from_utf8(password).unwrap_or_default();
    let principal = cluster.auth.verify(token, user, cluster.clock.now())?;
    if user == "admin" {
        return Ok(());
    }
    match cluster.postgres.catalog.is_mapped(&principal, user).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::new(
            RefusalKind::UnmappedRole,
            format!(
                "Role {user} does not exist or is not mapped to {}.",
                principal.arn
            ),
        )),
        Err(error) => {
            tracing::error!(error = %error, "cannot read the role mappings");
            Err(Refusal::new(
                RefusalKind::UnmappedRole,
                format!("Cannot establish trust with role {user}"),
            ))
        }
    }
}

/// The version and the parameters; `None` for what asks for no session.
async fn read_startup(stream: &mut Box<dyn Transport>) -> io::Result<Option<(u32, Bytes)>> {
    let length = stream.read_u32().await?;
    if !(8..=MAX_STARTUP_BYTES).contains(&length) {
        return Ok(None);
    }
    let version = stream.read_u32().await?;
    if [SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST].contains(&version) {
        return Ok(None);
    }
    let mut body = vec![0; usize::try_from(length - 8).map_err(io::Error::other)?];
    stream.read_exact(&mut body).await?;
    Ok(Some((version, body.into())))
}

async fn read_password(stream: &mut Box<dyn Transport>) -> io::Result<Option<Bytes>> {
    let tag = match stream.read_u8().await {
        Ok(tag) => tag,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = stream.read_u32().await?;
    if tag != b'p' || !(5..=MAX_PASSWORD_BYTES).contains(&length) {
        return Ok(None);
    }
    let mut body = vec![0; usize::try_from(length - 4).map_err(io::Error::other)?];
    stream.read_exact(&mut body).await?;
    // Without its NUL.
    body.pop();
    Ok(Some(body.into()))
}

/// `NegotiateProtocolVersion`: 3.0 is what we speak, and none of these options is known.
fn negotiate_version(options: &[String]) -> Message {
    let mut body = BytesMut::new();
    body.put_u32(3 << 16);
    body.put_u32(u32::try_from(options.len()).unwrap_or(u32::MAX));
    body.put_slice(&strings(options.iter().map(String::as_str)));
    Message::new(b'v', body)
}

/// What a client is told once it is logged in, up to the first ReadyForQuery. `reported` are the
/// settings that an attached backend reported and that win over our own.
pub(crate) fn welcome(startup: &Startup, reported: &[(String, String)]) -> BytesMut {
    let mut settings: Vec<(&str, &str)> = vec![
        ("server_version", SERVER_VERSION),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        (
            "application_name",
            startup.setting("application_name").unwrap_or_default(),
        ),
        ("is_superuser", "off"),
        ("session_authorization", &startup.user),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("default_transaction_read_only", "off"),
        ("in_hot_standby", "off"),
    ];
    settings.extend(TEXT_STYLE);
    for (name, value) in reported {
        if let Some(setting) = settings
            .iter_mut()
            .find(|(known, _)| known == name && name != "server_version")
        {
            setting.1 = value;
        }
    }
    let mut out = BytesMut::new();
    Message::new(b'R', &b"\0\0\0\0"[..]).write_to(&mut out);
    for (name, value) in settings {
        Backend::ParameterStatus(ParameterStatus::new(name, value)).write_to(&mut out);
    }
    // A cancel key that leads nowhere: CancelRequest has no effect on DSQL.
    let mut key = BytesMut::new();
    key.put_u32(fastrand::u32(1..0x7fff_ffff));
    key.put_u32(fastrand::u32(..));
    Backend::KeyData(key.freeze()).write_to(&mut out);
    Backend::ReadyForQuery(TransactionStatus::Idle).write_to(&mut out);
    out
}
