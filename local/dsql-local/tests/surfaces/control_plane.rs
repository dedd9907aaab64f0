//! The control plane, asked by the unmodified SDK, and the clusters that it makes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_dsql::config::http::HttpRequest;
use aws_sdk_dsql::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_dsql::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dsql::error::BoxError;
use aws_sdk_dsql::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dsql::operation::create_cluster::CreateClusterOutput;
use aws_sdk_dsql::types::{ClusterStatus, ValidationExceptionReason};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::TimeSource;
use dsql_local::{Action, DsqlLocal, Options, Principal, Secret};
use tokio_postgres::Client;

use crate::support::{Login, PATIENCE, admin, environment, moody, sqlstate, steady, wait_until};

/// A stand-in with a control plane.
async fn start(options: Options) -> DsqlLocal {
    let options = Options {
        control_plane: Some("127.0.0.1:0".parse().unwrap()),
        ..options
    };
    DsqlLocal::start(options).await.unwrap()
}

/// The SDK's client of the control plane, for a principal.
fn sdk(dsql: &DsqlLocal, principal: &Principal) -> aws_sdk_dsql::Client {
    sdk_of(dsql, principal, "us-east-1", dsql.now())
}

fn sdk_of(
    dsql: &DsqlLocal,
    principal: &Principal,
    region: &'static str,
    now: SystemTime,
) -> aws_sdk_dsql::Client {
    let credentials = Credentials::new(
        &principal.access_key_id,
        principal.secret_access_key.expose(),
        principal
            .session_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
        None,
        "test",
    );
    let config = aws_sdk_dsql::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_dsql::config::Region::new(region))
        .credentials_provider(credentials)
        .endpoint_url(dsql.control_plane_url().unwrap())
        .http_client(https::Connector::from(https::Client::new()))
        .sleep_impl(TokioSleep::new())
        .time_source(At(now))
        .retry_config(aws_sdk_dsql::config::retry::RetryConfig::disabled())
        .build();
    aws_sdk_dsql::Client::from_conf(config)
}

/// The clock of a client.
#[derive(Clone, Debug)]
struct At(SystemTime);

impl TimeSource for At {
    fn now(&self) -> SystemTime {
        self.0
    }
}

/// The name of a failure, as the client reads it.
fn code<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
) -> String {
    let error = result.unwrap_err();
    error.code().unwrap_or_default().to_owned()
}

async fn create(sdk: &aws_sdk_dsql::Client) -> CreateClusterOutput {
    let unprotected = sdk.create_cluster().deletion_protection_enabled(false);
    let created = unprotected.send().await.unwrap();
    assert_eq!(*created.status(), ClusterStatus::Creating);
    wait_for_status(sdk, created.identifier(), ClusterStatus::Active).await;
    created
}

async fn wait_for_status(sdk: &aws_sdk_dsql::Client, id: &str, status: ClusterStatus) {
    let reached = async {
        loop {
            let cluster = sdk.get_cluster().identifier(id).send().await.unwrap();
            if *cluster.status() == status {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
}

async fn wait_until_gone(sdk: &aws_sdk_dsql::Client, id: &str) {
    let gone = async {
        while sdk.get_cluster().identifier(id).send().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

/// The environment of a client of another cluster.
fn environment_of(dsql: &DsqlLocal, cluster: &CreateClusterOutput) -> HashMap<String, String> {
    let mut env = environment(dsql);
    env.insert("DSQL_ENDPOINT".into(), cluster.endpoint().unwrap().into());
    env
}

/// Makes another cluster: the environment of its clients.
pub(crate) async fn another_cluster(dsql: &DsqlLocal) -> HashMap<String, String> {
    environment_of(dsql, &create(&sdk(dsql, dsql.admin())).await)
}

async fn connect(env: &HashMap<String, String>) -> Client {
    Login::from_env(env).connect_to(env).await.unwrap()
}

#[tokio::test]
async fn a_cluster_that_the_sdk_makes_is_apart_from_the_default_one_and_ends_when_it_is_deleted() {
    let dsql = steady();
    let sdk = sdk(dsql, dsql.admin());
    let created = create(&sdk).await;
    let id = created.identifier();
    let arn = format!("arn:aws:dsql:us-east-1:111122223333:cluster/{id}");
    assert_eq!(created.arn(), arn);
    let host = format!("{id}.dsql.us-east-1.on.aws");
    assert_eq!(created.endpoint(), Some(host.as_str()));
    let first = admin(dsql).await;
    let env = environment_of(dsql, &created);
    let second = connect(&env).await;
    first
        .batch_execute("CREATE TABLE apart (n int)")
        .await
        .unwrap();
    first
        .batch_execute("CREATE ROLE apart LOGIN")
        .await
        .unwrap();
    assert_eq!(sqlstate(second.batch_execute("TABLE apart").await), "42P01");
    second
        .batch_execute("CREATE TABLE apart (n int)")
        .await
        .unwrap();
    second
        .batch_execute("INSERT INTO apart VALUES (1)")
        .await
        .unwrap();
    second
        .batch_execute("CREATE ROLE apart LOGIN")
        .await
        .unwrap();
    let rows = first.query_typed("TABLE apart", &[]).await.unwrap();
    assert!(rows.is_empty());
    // A token of one cluster is none of the other.
    let mut login = Login::from_env(&env);
    login.host = dsql.endpoint().to_owned();
    assert!(login.connect_to(&env).await.is_err());
    let deleted = sdk.delete_cluster().identifier(id).send().await.unwrap();
    assert_eq!(*deleted.status(), ClusterStatus::Deleting);
    wait_until("its connections ended", || second.is_closed()).await;
    wait_until_gone(&sdk, id).await;
    let gone = sdk.get_cluster().identifier(id).send().await;
    let gone = gone.unwrap_err().into_service_error();
    assert!(gone.is_resource_not_found_exception(), "{gone:?}");
    assert!(Login::from_env(&env).connect_to(&env).await.is_err());
    first
        .batch_execute("INSERT INTO apart VALUES (1)")
        .await
        .unwrap();
}

#[tokio::test]
async fn clusters_are_listed_in_pages_described_tagged_and_protected() {
    let dsql = moody().await;
    let sdk = sdk(&dsql, dsql.admin());
    let create = || {
        sdk.create_cluster()
            .tags("team", "a b")
            .client_token("only-once")
            .send()
    };
    let created = create().await.unwrap();
    assert!(created.deletion_protection_enabled());
    let again = create().await.unwrap();
    assert_eq!(again.identifier(), created.identifier());
    let other = sdk.create_cluster().client_token("only-once").send().await;
    assert_eq!(code(other), "ConflictException");
    sdk.create_cluster().send().await.unwrap();
    let full = sdk.create_cluster().send().await.unwrap_err();
    let full = full.into_service_error();
    assert!(full.is_service_quota_exceeded_exception(), "{full:?}");

    let pages = sdk.list_clusters().into_paginator().page_size(2).items();
    let listed = pages.send().collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(listed.len(), 3);
    assert!(
        listed
            .iter()
            .any(|one| dsql.endpoint().starts_with(one.identifier()))
    );

    let (id, arn) = (created.identifier(), created.arn());
    wait_for_status(&sdk, id, ClusterStatus::Active).await;
    let tag = sdk.tag_resource().resource_arn(arn).tags("env", "test");
    tag.send().await.unwrap();
    let untag = sdk.untag_resource().resource_arn(arn).tag_keys("team");
    untag.tag_keys("a key").send().await.unwrap();
    let tags = sdk.list_tags_for_resource().resource_arn(arn).send();
    let expected = HashMap::from([("env".to_owned(), "test".to_owned())]);
    assert_eq!(tags.await.unwrap().tags(), Some(&expected));
    let reserved = sdk.tag_resource().resource_arn(arn).tags("aws:x", "y");
    assert_eq!(code(reserved.send().await), "ValidationException");
    let foreign = "arn:aws:dsql:us-east-1:111122223333:cluster/aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let foreign = sdk.list_tags_for_resource().resource_arn(foreign).send();
    assert_eq!(code(foreign.await), "ResourceNotFoundException");

    let refused = sdk.delete_cluster().identifier(id).send().await;
    let refused = refused.unwrap_err().into_service_error();
    let reason = match &refused {
        aws_sdk_dsql::operation::delete_cluster::DeleteClusterError::ValidationException(error) => {
            error.reason()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        *reason,
        ValidationExceptionReason::DeletionProtectionEnabled
    );
    let update = sdk.update_cluster().identifier(id);
    let updated = update
        .deletion_protection_enabled(false)
        .send()
        .await
        .unwrap();
    assert_eq!(*updated.status(), ClusterStatus::Updating);
    let described = sdk.get_cluster().identifier(id).send().await.unwrap();
    assert!(!described.deletion_protection_enabled());
    assert_eq!(described.tags(), Some(&expected));
    assert_eq!(described.creation_time(), created.creation_time());
    let service = sdk.get_vpc_endpoint_service_name().identifier(id).send();
    let service = service.await.unwrap().service_name().to_owned();
    assert!(
        service.starts_with("com.amazonaws.us-east-1.dsql-"),
        "{service}"
    );
    let malformed = sdk.get_cluster().identifier("Not-A-Cluster").send().await;
    assert_eq!(code(malformed), "ValidationException");
    let peers = aws_sdk_dsql::types::MultiRegionProperties::builder().witness_region("us-west-2");
    let peers = sdk.create_cluster().multi_region_properties(peers.build());
    assert_eq!(code(peers.send().await), "ValidationException");
    let policy = sdk.get_cluster_policy().identifier(id).send().await;
    assert_eq!(code(policy), "ValidationException");

    let default = dsql.endpoint().split('.').next().unwrap();
    let update = sdk.update_cluster().identifier(default);
    let update = update.deletion_protection_enabled(false).send().await;
    assert_eq!(code(update), "ConflictException");
}

#[tokio::test]
async fn only_a_known_principal_that_may_and_signs_now_is_served() {
    let dsql = moody().await;
    let known = dsql.admin().clone();
    let refusal = async |change: &dyn Fn(&mut Principal)| {
        let mut principal = known.clone();
        change(&mut principal);
        code(sdk(&dsql, &principal).list_clusters().send().await)
    };
    let other_secret = refusal(&|one| one.secret_access_key = Secret::new("other")).await;
    assert_eq!(other_secret, "InvalidSignatureException");
    let other_key = refusal(&|one| one.access_key_id = "AKIAOTHER".into()).await;
    assert_eq!(other_key, "UnrecognizedClientException");
    let with_token = refusal(&|one| one.session_token = Some(Secret::new("more"))).await;
    assert_eq!(with_token, "UnrecognizedClientException");
    let now = dsql.now();
    for (region, at) in [
        ("us-west-2", now),
        ("us-east-1", now - Duration::from_secs(310)),
        ("us-east-1", now + Duration::from_secs(310)),
    ] {
        let listed = sdk_of(&dsql, &known, region, at).list_clusters().send();
        assert_eq!(code(listed.await), "InvalidSignatureException");
    }
    let reader = Principal {
        access_key_id: "ASIAREADER".into(),
        session_token: Some(Secret::new("session")),
        arn: "arn:aws:sts::111122223333:assumed-role/reader/one".into(),
        actions: vec![Action::ListClusters, Action::CreateCluster],
        ..known.clone()
    };
    let foreigner = Principal {
        access_key_id: "ASIAFOREIGN".into(),
        arn: "arn:aws:iam::999999999999:role/reader".into(),
        ..reader.clone()
    };
    dsql.add_principal(reader.clone()).unwrap();
    dsql.add_principal(foreigner.clone()).unwrap();
    let reads = sdk(&dsql, &reader);
    reads.list_clusters().send().await.unwrap();
    let id = dsql.endpoint().split('.').next().unwrap();
    let denied = reads.get_cluster().identifier(id).send().await.unwrap_err();
    let denied = denied.into_service_error();
    assert!(denied.is_access_denied_exception());
    assert!(denied.message().unwrap().contains("dsql:GetCluster"));
    let tagged = reads.create_cluster().tags("a", "b").send().await;
    assert_eq!(code(tagged), "AccessDeniedException");
    let foreign = sdk(&dsql, &foreigner).list_clusters().send().await;
    assert_eq!(code(foreign), "AccessDeniedException");
    // A client whose clock is behind the movable one is told the time.
    let late = sdk(&dsql, &known);
    dsql.advance(Duration::from_secs(3600));
    let late = late.list_clusters().send().await;
    assert_eq!(code(late), "InvalidSignatureException");
}

/// Changes a request on its way, after it was signed.
#[derive(Debug)]
struct Changed(fn(&mut HttpRequest));

impl Intercept for Changed {
    fn name(&self) -> &'static str {
        "changed"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0(context.request_mut());
        Ok(())
    }
}

#[tokio::test]
async fn a_request_that_was_changed_on_its_way_is_refused() {
    let dsql = moody().await;
    let sdk = sdk(&dsql, dsql.admin());
    let listed = async || sdk.list_clusters().send().await.unwrap().clusters().len();
    let before = listed().await;
    let sent = async |change| {
        let create = sdk.create_cluster().deletion_protection_enabled(true);
        let create = create.customize().interceptor(Changed(change));
        code(create.send().await)
    };
    let other_body = |request: &mut HttpRequest| {
        let body = "{\"deletionProtectionEnabled\":false}";
        *request.body_mut() = body.into();
        let length = body.len().to_string();
        request.headers_mut().insert("content-length", length);
    };
    assert_eq!(sent(other_body).await, "InvalidSignatureException");
    let other_path = |request: &mut HttpRequest| {
        let uri = request.uri().replace("/cluster", "/cluster?max-results=1");
        request.set_uri(uri).unwrap();
    };
    assert_eq!(sent(other_path).await, "InvalidSignatureException");
    let other_date = |request: &mut HttpRequest| {
        let date = request.headers().get("x-amz-date").unwrap();
        let date = format!("{}000000Z", &date[..9]);
        request.headers_mut().insert("x-amz-date", date);
    };
    assert_eq!(sent(other_date).await, "InvalidSignatureException");
    let unsigned = |request: &mut HttpRequest| {
        request.headers_mut().remove("authorization");
    };
    assert_eq!(sent(unsigned).await, "MissingAuthenticationTokenException");
    let host_is_free = |request: &mut HttpRequest| {
        let signed = request.headers().get("authorization").unwrap();
        let signed = signed.replace(";host;", ";");
        request.headers_mut().insert("authorization", signed);
    };
    assert_eq!(sent(host_is_free).await, "InvalidSignatureException");
    let half = |request: &mut HttpRequest| {
        let signed = request.headers().get("authorization").unwrap();
        let signed = signed.replace("Signature=", "Sign=");
        request.headers_mut().insert("authorization", signed);
    };
    assert_eq!(sent(half).await, "IncompleteSignatureException");
    assert_eq!(listed().await, before);
}

#[tokio::test]
async fn clusters_outlive_a_restart_with_their_data_tags_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = Some(dir.path().join("data"));
    let options = || Options {
        data_dir: data_dir.clone(),
        ..Options::default()
    };
    let dsql = start(options()).await;
    let client = sdk(&dsql, dsql.admin());
    let kept = client
        .create_cluster()
        .deletion_protection_enabled(false)
        .tags("team", "a")
        .client_token("kept")
        .send();
    let kept = kept.await.unwrap();
    wait_for_status(&client, kept.identifier(), ClusterStatus::Active).await;
    let session = connect(&environment_of(&dsql, &kept)).await;
    session
        .batch_execute("CREATE TABLE t (n int)")
        .await
        .unwrap();
    session
        .batch_execute("INSERT INTO t VALUES (7)")
        .await
        .unwrap();
    dsql.stop().await;
    assert!(session.is_closed());

    // Served without a control plane, too.
    let dsql = DsqlLocal::start(options()).await.unwrap();
    assert_eq!(dsql.control_plane_url(), None);
    let session = connect(&environment_of(&dsql, &kept)).await;
    let row = session.query_one("TABLE t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
    dsql.stop().await;

    let dsql = start(options()).await;
    let client = sdk(&dsql, dsql.admin());
    let again = client
        .create_cluster()
        .deletion_protection_enabled(false)
        .tags("team", "a")
        .client_token("kept")
        .send();
    assert_eq!(again.await.unwrap().identifier(), kept.identifier());
    let id = kept.identifier();
    let described = client.get_cluster().identifier(id).send().await.unwrap();
    assert_eq!(described.tags().unwrap()["team"], "a");
    let files: PathBuf = data_dir.clone().unwrap().join("clusters").join(id);
    assert!(files.exists());
    client.delete_cluster().identifier(id).send().await.unwrap();
    wait_until_gone(&client, id).await;
    assert!(!files.exists());
    dsql.stop().await;
}
