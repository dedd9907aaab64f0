//! The steps of one reply: each time the model has called tools, they are executed, and it is asked
//! again with what they gave, a bounded number of times. What goes on meanwhile, and what ends it,
//! is the same as while the model speaks: the lock is kept, the client hears signs of life, and a
//! stop, a lost lock or the end of the time ends the reply.
//!
//! Every step but the first has a reservation of its own (`spending`), made before the model is
//! asked and settled when it has answered: a step reads the whole conversation once more, with what
//! the tools gave.

use std::pin::pin;
use std::sync::Arc;

use chat_store::{Likely, StreamId};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::{FinishReason, Turn, Usage};
use tokio::time::{sleep, timeout};

use crate::context;
use crate::draft::{Draft, OpenCall, Outcome};
use crate::lock::Beat;
use crate::produce::{End, MAX_REPLY_BYTES, Production, tokens};
use crate::writing::{Step, Tally, Writing};

/// Calls that are executed in one step. A model that makes more is told so.
const MAX_CALLS: usize = 8;
const TOO_MANY: &str = "too many calls at once: make fewer";
const NO_STEP_LEFT: &str = "no more calls are possible in this reply";

impl Production {
    /// What `work` comes to, while the lock is kept and the time lasts.
    ///
    /// # Cancel safety
    /// That of `work`.
    pub(crate) async fn during<T>(
        &self,
        writing: &mut Writing,
        work: impl Future<Output = T>,
    ) -> Result<T, End> {
        let mut work = pin!(work);
        let mut watchdog = pin!(sleep(self.until(self.budget.last_event())));
        loop {
            tokio::select! {
                biased;
                () = &mut watchdog => return Err(End::Interrupted),
                beat = writing.lock.beat() => match beat {
                    Beat::Due => writing.lock.store(&writing.draft),
                    Beat::Done => {}
                    Beat::Lost(held) => return Err(End::of(held)),
                },
                never = writing.ticker.run() => match never {},
                done = &mut work => return Ok(done),
            }
        }
    }

    /// Goes on once the model has ended a step with calls: executes them, and asks it again.
    ///
    /// # Errors
    /// The end of the reply.
    pub(crate) async fn go_on(
        &self,
        reason: FinishReason,
        writing: &mut Writing,
        tally: &mut Tally,
    ) -> Result<model::Reply, End> {
        let is_cut = matches!(
            reason,
            FinishReason::Length | FinishReason::ContentFilter | FinishReason::Error
        );
        if is_cut || tally.step >= self.settings.tools.steps {
            if !is_cut {
                for call in writing.draft.open_calls() {
                    let refused = Outcome::Failed(NO_STEP_LEFT.to_owned());
                    writing.draft.answer(&call.id, refused, &writing.out);
                }
            }
            return Err(End::said(reason, None, &writing.draft));
        }
        self.execute(writing).await?;
        if writing.draft.is_asking() {
            return Err(End::Finished(FinishReason::ToolCalls, None));
        }
        if writing.draft.bytes() > MAX_REPLY_BYTES {
            return Err(End::said(FinishReason::Length, None, &writing.draft));
        }
        self.ask(writing, tally).await
    }

    /// Executes the calls that may be, at the same time.
    async fn execute(&self, writing: &mut Writing) -> Result<(), End> {
        let (tools, limits) = (&self.asking.tools, self.settings.tools);
        let call = |call: OpenCall| async move {
            let called = tools.call(&call.name, &call.input, limits).await;
            (call.id, called)
        };
        let mut running = FuturesUnordered::new();
        for (n, open) in writing.draft.open_calls().into_iter().enumerate() {
            let (draft, out) = (&mut writing.draft, &writing.out);
            match open.is_approved {
                Some(false) => draft.answer(&open.id, Outcome::Denied, out),
                _ if n >= MAX_CALLS => {
                    draft.answer(&open.id, Outcome::Failed(TOO_MANY.to_owned()), out);
                }
                None if tools.needs_approval(&open.name) => {
                    draft.ask(&open.id, StreamId::new().as_str(), out);
                }
                _ => running.push(call(open)),
            }
        }
        while let Some((id, called)) = self.during(writing, running.next()).await? {
            writing.draft.answer(&id, called.outcome, &writing.out);
            for source in called.sources {
                writing.draft.cite(&source, &writing.out);
            }
            writing.ticker.heard();
            writing.lock.grown_to(writing.draft.bytes());
        }
        Ok(())
    }

    /// Asks the model, with all that the reply holds so far.
    async fn ask(&self, writing: &mut Writing, tally: &mut Tally) -> Result<model::Reply, End> {
        let mut messages = self.asking.messages.clone();
        let has_tools = !self.asking.tools.offered().is_empty();
        messages.extend(context::reply(&writing.draft.parts(), has_tools, true));
        let bytes = writing.draft.bytes();
        let step = self.asking.step(&messages, &self.settings, bytes);
        if tally.step > 0 && !self.reserve(tally.step + 1, step).await? {
            return Err(End::Spent);
        }
        tally.begin(step);
        writing.lock.reads(step.input_tokens);
        let provider = Arc::clone(&self.asking.provider);
        // Boxed: the providers' futures are large.
        let asked = Box::pin(provider.start(Turn {
            model: self.model.clone(),
            system: self.settings.system.clone(),
            messages,
            tools: Arc::clone(self.asking.tools.offered()),
            may_call: tally.step < self.settings.tools.steps,
            max_tokens: provider.max_tokens(),
            deadline: self.budget.last_event(),
        }));
        let now = self.dsql.clock().now();
        let patience = self.until(self.budget.acceptance(now));
        match self.during(writing, timeout(patience, asked)).await? {
            Ok(Ok(source)) => {
                writing.draft.step(&writing.out);
                Ok(source)
            }
            Ok(Err(error)) => {
                // A model that says no has cost nothing.
                let nothing = Usage::default();
                self.end_step(Some(&nothing), &writing.draft, tally).await;
                Err(End::Failed(error))
            }
            Err(_) => Err(End::Interrupted),
        }
    }

    /// Ends the step under way, and settles what was reserved for it; that of the first step is
    /// settled with the reply.
    pub(crate) async fn end_step(&self, counted: Option<&Usage>, draft: &Draft, tally: &mut Tally) {
        let Some(spent) = tally.end(counted, draft) else {
            return;
        };
        if tally.step <= 1 {
            tally.spent = spent;
            return;
        }
        let db = self.dsql.until(self.budget.close());
        let settled =
            chat_store::spending::settle(&db, &self.reservation(tally.step), tokens(spent)).await;
        if let Err(error) = settled {
            tracing::warn!(
                error.cause = error.report(),
                "what was reserved for a step could not be settled; it stays spent for the day"
            );
        }
    }

    /// Reserves what a further step may cost; says whether the budgets suffice.
    async fn reserve(&self, number: usize, step: Step) -> Result<bool, End> {
        let db = self.dsql.until(self.budget.last_event());
        let likely = Likely {
            likely: tokens(step.input_tokens + u64::from(self.asking.provider.max_tokens())),
            most: tokens(step.at_most),
        };
        let id = self.reservation(number);
        chat_store::spending::reserve_step(&db, &id, &self.asking.budgets, likely)
            .await
            .map_err(|error| {
                tracing::warn!(
                    error.cause = error.report(),
                    "a step could not be reserved: the reply ends"
                );
                End::Interrupted
            })
    }

    fn reservation(&self, step: usize) -> String {
        format!("{}.{step}", self.reply.stream.as_str())
    }
}
