//! Owns custom resources as CloudFormation drives them: Create at the first start, Update when
//! properties changed, nothing when they did not, Delete when asked. What it knows of a resource is
//! kept in a file, so that the next start compares with it. A failure is an error with the
//! provider's reason, and rolls nothing back: the next start asks again.

mod answer;
mod outcome;
mod response_url;
mod state;

use std::path::PathBuf;
use std::sync::PoisonError;

use serde_json::{Value, json};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::answer::Answer;
pub use self::outcome::{Change, CustomResourceError, Provisioned};
use self::response_url::{Pending, ResponseServer};
use self::state::{Known, State};
use crate::application::CustomResource;
use crate::clock::{self, Clock};
use crate::invoker::{InvokeError, Invoker};

/// Creates, updates and deletes the custom resources of a stack; dropping it ends what it invoked.
#[derive(Debug)]
pub struct CustomResources {
    stack_id: String,
    invoker: Invoker,
    clock: Clock,
    server: ResponseServer,
    /// Also lets one request run at a time.
    state: Mutex<State>,
    invocations: std::sync::Mutex<JoinSet<()>>,
}

impl CustomResources {
    /// Reads the state, when there is one, and listens for answers on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The state cannot be read, or no port is free.
    pub async fn start(
        stack_id: impl Into<String>,
        state: impl Into<PathBuf>,
        invoker: Invoker,
        clock: Clock,
    ) -> Result<Self, CustomResourceError> {
        let state = State::read(state.into()).await?;
        let server = ResponseServer::start()
            .await
            .map_err(CustomResourceError::Server)?;
        Ok(Self {
            stack_id: stack_id.into(),
            invoker,
            clock,
            server,
            state: Mutex::new(state),
            invocations: std::sync::Mutex::default(),
        })
    }

    /// Brings a resource up to date: creates it, updates it, or finds it unchanged. A new physical
    /// id from an update means a replacement: the old resource is deleted, and a failure of that is
    /// only logged, as in a stack's clean-up.
    ///
    /// # Errors
    /// The provider failed, answered wrongly or not at all, or the state cannot be written.
    pub async fn apply(
        &self,
        resource: &CustomResource,
    ) -> Result<Provisioned, CustomResourceError> {
        let mut state = self.state.lock().await;
        let known = state.get(&resource.logical_id).cloned();
        if let Some(known) = &known
            && known.is_as(resource)
        {
            return Ok(known.provisioned(Change::Unchanged));
        }
        let (request, change) = match &known {
            None => ("Create", Change::Created),
            Some(_) => ("Update", Change::Updated),
        };
        let answer = self.ask(request, resource, known.as_ref()).await?;
        let new = Known::new(resource, answer);
        let provisioned = new.provisioned(change);
        state.put(&resource.logical_id, Some(new)).await?;
        if let Some(old) = known
            && old.physical_resource_id != provisioned.physical_resource_id
        {
            let outcome = self
                .ask("Delete", &old.resource(resource), Some(&old))
                .await;
            if let Err(error) = outcome {
                tracing::warn!("the replaced {} stays: {error}", resource.logical_id);
            }
        }
        Ok(provisioned)
    }

    /// Deletes a resource, if there is one.
    ///
    /// # Errors
    /// As [`CustomResources::apply`]; the resource is kept in the state then.
    pub async fn delete(&self, resource: &CustomResource) -> Result<(), CustomResourceError> {
        let mut state = self.state.lock().await;
        let Some(known) = state.get(&resource.logical_id).cloned() else {
            return Ok(());
        };
        self.ask("Delete", &known.resource(resource), Some(&known))
            .await?;
        state.put(&resource.logical_id, None).await
    }

    /// Invokes the provider and waits for what it sends to the `ResponseURL`.
    async fn ask(
        &self,
        request: &'static str,
        resource: &CustomResource,
        known: Option<&Known>,
    ) -> Result<Answer, CustomResourceError> {
        let name = || resource.logical_id.clone();
        let request_id = Uuid::new_v4().to_string();
        let mut pending = self.server.expect(&resource.logical_id);
        let mut event = json!({
            "RequestType": request,
            "ServiceToken": resource.service_token,
            "ResponseURL": pending.url(),
            "StackId": self.stack_id,
            "RequestId": request_id,
            "LogicalResourceId": resource.logical_id,
            "ResourceType": resource.resource_type,
            "ResourceProperties": state::properties(resource),
        });
        if let (Some(known), Value::Object(event)) = (known, &mut event) {
            let id = known.physical_resource_id.clone();
            event.insert("PhysicalResourceId".to_owned(), id.into());
            if request == "Update" {
                let old = known.properties.clone();
                event.insert("OldResourceProperties".to_owned(), old.into());
            }
        }
        let body = self
            .answer_of(request, resource, &event, &mut pending)
            .await?;
        let answer =
            Answer::read(&body, &event).map_err(|problem| CustomResourceError::InvalidAnswer {
                request,
                resource: name(),
                problem,
            })?;
        answer.map_err(|reason| CustomResourceError::Failed {
            request,
            resource: name(),
            reason,
        })
    }

    async fn answer_of(
        &self,
        request: &'static str,
        resource: &CustomResource,
        event: &Value,
        pending: &mut Pending<'_>,
    ) -> Result<bytes::Bytes, CustomResourceError> {
        let name = || resource.logical_id.clone();
        let timeout = resource.service_timeout;
        let deadline = clock::after(self.clock.now(), timeout);
        let (sender, mut ended) = oneshot::channel();
        let (invoker, function) = (self.invoker.clone(), resource.service_token.clone());
        let event = event.to_string();
        self.spawn(async move {
            let _ = sender.send(invoker.invoke(&function, event).await);
        });
        let mut is_running = true;
        loop {
            let outcome = tokio::select! {
                biased;
                answer = pending.answer() => return Ok(answer),
                outcome = &mut ended, if is_running => outcome,
                () = self.clock.sleep_until(deadline) => {
                    return Err(CustomResourceError::TimedOut {
                        request,
                        resource: name(),
                        seconds: timeout.as_secs(),
                    });
                }
            };
            is_running = false;
            // Without an error another process may still answer.
            let source = match outcome {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error,
                Err(_) => InvokeError::Function {
                    error_type: "Runtime.Unknown".to_owned(),
                    message: "the invocation broke off".to_owned(),
                },
            };
            // It may have answered first and failed then.
            return pending
                .answered()
                .ok_or_else(|| CustomResourceError::Function {
                    request,
                    resource: name(),
                    source,
                });
        }
    }

    /// Invocations outlast the answer: a provider may do more after it.
    fn spawn(&self, invocation: impl Future<Output = ()> + Send + 'static) {
        // Nothing panics half way through a change.
        let invocations = self.invocations.lock();
        let mut invocations = invocations.unwrap_or_else(PoisonError::into_inner);
        while invocations.try_join_next().is_some() {}
        invocations.spawn(invocation);
    }
}
