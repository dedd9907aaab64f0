//! The state of a reply that is being written, and what its steps have cost.

use std::sync::Arc;

use chat_store::Budgets;
use model::{Message, Provider, Usage};

use crate::body::Writer;
use crate::context::{self, estimate_bytes};
use crate::draft::Draft;
use crate::lock::Lock;
use crate::settings::Settings;
use crate::ticker::Ticker;
use crate::tools::Toolbox;

/// What the model is asked again with.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) provider: Arc<Provider>,
    /// The conversation up to the visitor's message.
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Toolbox,
    pub(crate) budgets: Budgets,
}

impl Asking {
    /// What asking with `messages` costs.
    pub(crate) fn step(
        &self,
        messages: &[Message],
        settings: &Settings,
        bytes_before: usize,
    ) -> Step {
        let tools = context::bytes_of_tools(self.tools.offered());
        let most_of_tools = u64::try_from(tools).unwrap_or(u64::MAX);
        Step {
            input_tokens: context::estimate(messages)
                + settings.system_tokens()
                + estimate_bytes(tools),
            at_most: context::most(messages)
                + settings.most_system_tokens()
                + most_of_tools
                + u64::from(self.provider.max_tokens()),
            bytes_before,
        }
    }
}

/// What a reply is written with.
pub(crate) struct Writing {
    pub(crate) lock: Lock,
    pub(crate) draft: Draft,
    pub(crate) ticker: Ticker,
    pub(crate) out: Writer,
}

/// What the steps have cost.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Which step is under way, from 1 on; 0 before the first.
    pub(crate) step: usize,
    /// Of all that have ended.
    pub(crate) usage: Usage,
    /// What the first step has cost, or a later one that its reservation is for: it is settled with
    /// the reply.
    pub(crate) spent: u64,
    current: Option<Step>,
}

/// The step under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Tokens of the conversation, roughly.
    pub(crate) input_tokens: u64,
    /// What it costs at most, by any tokenizer.
    pub(crate) at_most: u64,
    /// Bytes of the reply before it.
    pub(crate) bytes_before: usize,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            step: 0,
            usage: Usage::default(),
            spent: 0,
            current: None,
        }
    }

    /// Begins a step.
    pub(crate) fn begin(&mut self, step: Step) {
        self.step += 1;
        self.current = Some(step);
    }

    /// Ends the step under way, if there is one; `counted` is what the provider says of it. Returns
    /// what it has cost: what nobody has counted has cost the most.
    pub(crate) fn end(&mut self, counted: Option<&Usage>, draft: &Draft) -> Option<u64> {
        let step = self.current.take()?;
        let usage = counted.copied().unwrap_or_else(|| {
            let output_tokens = estimate_bytes(draft.bytes().saturating_sub(step.bytes_before));
            Usage {
                input_tokens: step.input_tokens,
                output_tokens,
                total_tokens: step.input_tokens + output_tokens,
                cached_input_tokens: 0,
            }
        });
        self.usage.add(&usage);
        Some(counted.map_or(step.at_most, billed))
    }
}

/// What a provider bills by its count: one total says more than its parts, where it has parts that
/// they leave out.
fn billed(usage: &Usage) -> u64 {
    usage
        .total_tokens
        .max(usage.input_tokens + usage.output_tokens)
}
