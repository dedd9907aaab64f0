//! The floor of a function: it answers every event with the same text.
#![expect(
    clippy::disallowed_methods,
    reason = "the only task is awaited at once"
)]

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // As a task, as the functions run.
    tokio::spawn(lambda_runtime::run_concurrent(service_fn(
        |_: LambdaEvent<Value>| async {
            Ok::<_, Error>(json!({"statusCode": 200, "headers": {}, "body": "hello"}))
        },
    )))
    .await?
}
