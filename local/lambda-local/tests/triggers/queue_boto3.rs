//! Every action of the endpoint, by boto3, which finds it through `AWS_ENDPOINT_URL_SQS`.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::support::{Sqs, queue};

/// The folder with the Python packages: `TEST_CLIENTS`, or made now.
async fn python_packages() -> PathBuf {
    if let Some(folder) = std::env::var_os("TEST_CLIENTS") {
        return folder.into();
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut install = Command::new("scripts/install-tools.sh");
    let install = install.arg("clients").current_dir(&repository);
    let status = install.status().await.unwrap();
    assert!(status.success(), "scripts/install-tools.sh clients failed");
    repository.join(".tools/clients")
}

#[tokio::test]
async fn boto3_does_every_action() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let output = Command::new("python3")
        .arg("-c")
        .arg(include_str!("queue_boto3.py"))
        .env("PYTHONPATH", python_packages().await)
        .env("AWS_ENDPOINT_URL_SQS", sqs.endpoint.url())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
