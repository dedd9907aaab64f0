//! What is counted is what was reserved or used, whatever happens to a turn, and in whatever order:
//! random turns, stops, deletions, erasures, claims, crashes and ends, against a model that keeps
//! book. A failure prints its seed; `SPENDING_SEED` runs it again.

use std::time::{Duration, SystemTime};

use chat_store::jobs::Claim;
use chat_store::upkeep::{self, Expiring};
use chat_store::{
    Allowance, AtMost, Budget, Budgets, ChatId, Closing, JobKind, Limit, MessageId, NewMessage,
    NewTurn, Opening, OwnerId, Parts, Place, Reply, Role, SoFar, Spender, StreamId, Title,
    TokenLimits, Uncounted, Visitor, erasure,
};
use dsql::Db;
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::json;

use crate::stack::Stack;

const RUNS: u64 = 6;
const STEPS: usize = 60;
const CHATS: usize = 5;
/// The last one is a guest, whom the first one claims.
const OWNERS: [&str; 3] = ["first", "second", "guest"];
const LIMITS: TokenLimits = TokenLimits {
    owner: 2_500,
    address: 4_500,
    deployment: 5_000,
};
/// Tokens of the longest reply, and of the longest history that a model is shown.
const LONGEST_REPLY: i64 = 100;
const LONGEST_HISTORY: i64 = 80;
/// Bytes of a token that is likely; by the worst tokenizer each of them is one.
const BYTES: i64 = 4;
/// What a turn that was admitted may exceed a budget by: its text by the worst tokenizer.
const SURPLUS: i64 = (BYTES - 1) * (LONGEST_HISTORY + 40);

/// A turn that was opened, and what is known of its reservation.
struct Writer {
    reply: Reply,
    /// Who opened it; a claim changes whose chat it is, not whose tokens.
    spender: usize,
    reserved: i64,
    read: i64,
    written: i64,
    is_alive: bool,
    /// What is counted in place of the reservation.
    settled: Option<i64>,
}

impl Writer {
    fn used(&self) -> i64 {
        self.read + self.written
    }

    fn counted(&self) -> i64 {
        self.settled.unwrap_or(self.reserved)
    }
}

/// The database and the book.
struct World<'a> {
    db: &'a Db,
    /// Names owners and chats of this run alone.
    run: u64,
    random: Rng,
    now: Timestamp,
    writers: Vec<Writer>,
}

impl World<'_> {
    fn owner(&self, n: usize) -> OwnerId {
        OwnerId::parse(&format!("{}{}", OWNERS[n], self.run)).unwrap()
    }

    fn any_owner(&mut self) -> OwnerId {
        let n = self.random.usize(..OWNERS.len());
        self.owner(n)
    }

    fn chat(&mut self) -> ChatId {
        ChatId::parse(&format!("chat{}-{}", self.run, self.random.usize(..CHATS))).unwrap()
    }

    /// A writer that lives, if there is one.
    fn living(&mut self) -> Option<usize> {
        let living: Vec<usize> = (0..self.writers.len())
            .filter(|n| self.writers[*n].is_alive)
            .collect();
        self.random.choice(living)
    }

    fn budgets(&self, owner: usize, chat: &ChatId) -> Budgets {
        let spender = Spender {
            owner: &format!("{owner} in {}", self.run),
            address: Some(&format!("address in {}", self.run)),
            chat,
        };
        Budgets::new(spender, LIMITS, self.now)
    }

    fn counted(&self, owner: Option<usize>) -> i64 {
        let of = |writer: &&Writer| owner.is_none_or(|owner| writer.spender == owner);
        self.writers.iter().filter(of).map(Writer::counted).sum()
    }

    async fn number(&self, sql: &'static str, like: String) -> i64 {
        let params = [(&like as _, dsql::Type::TEXT)];
        let row = self.db.query_opt_idempotent(sql, &params).await.unwrap();
        row.unwrap().get(0)
    }

    /// Whether every counter says what the book says, and that is no less than what was used and
    /// within the limits.
    async fn check(&self, step: &str) {
        let sum = "SELECT COALESCE(sum(n), 0)::bigint FROM rate_buckets WHERE key LIKE $1";
        for owner in 0..OWNERS.len() {
            let key = format!("tokens|owner|{owner} in {}", self.run);
            let counted = self.number(sum, key).await;
            assert_eq!(counted, self.counted(Some(owner)), "{step}: {owner}");
            assert!(counted <= LIMITS.owner + SURPLUS, "{step}: {owner}");
        }
        let all = self.counted(None);
        let address = format!("tokens|address|address in {}", self.run);
        assert_eq!(self.number(sum, address).await, all, "{step}: address");
        let deployment = self.number(sum, "tokens|all|%".to_owned()).await;
        assert_eq!(deployment, all, "{step}: deployment");
        assert!(
            all <= LIMITS.address.min(LIMITS.deployment) + SURPLUS,
            "{step}"
        );
        let used: i64 = self.writers.iter().map(Writer::used).sum();
        assert!(all >= used, "{step}: {all} counted, {used} used");

        let open = self
            .writers
            .iter()
            .filter(|writer| writer.settled.is_none());
        let count = "SELECT count(*) FROM reservations WHERE owner_key LIKE $1";
        let reservations = self.number(count, "%".to_owned()).await;
        assert_eq!(
            usize::try_from(reservations).unwrap(),
            open.count(),
            "{step}"
        );
        // What an owner is shown is never more than what was reserved.
        let shown = "SELECT COALESCE(sum(input_tokens + output_tokens), 0)::bigint FROM usage_daily WHERE owner_id LIKE $1";
        let shown = self.number(shown, format!("%{}", self.run)).await;
        let reserved: i64 = self.writers.iter().map(|writer| writer.reserved).sum();
        assert!(
            shown <= reserved,
            "{step}: {shown} shown, {reserved} reserved"
        );
    }

    async fn open(&mut self) {
        let (owner, chat) = (self.random.usize(..OWNERS.len()), self.chat());
        let id = self.owner(owner);
        let uncounted = |likely| Uncounted {
            likely,
            most: BYTES * likely,
        };
        let at_most = AtMost {
            question: uncounted(self.random.i64(1..40)),
            history: uncounted(LONGEST_HISTORY),
            reply: LONGEST_REPLY,
        };
        let limit = Limit {
            name: "turn",
            window: Duration::from_secs(60),
            per_owner: 1_000,
            per_guest: 1_000,
            per_address: 1_000,
        };
        let visitor = Visitor {
            owner: &id,
            is_guest: false,
            address: None,
        };
        let allowance = Allowance {
            buckets: limit.buckets(visitor),
            window: limit.window_at(self.now),
            tokens: self.budgets(owner, &chat),
            concurrent: 1_000,
        };
        let message = NewMessage {
            id: MessageId::new(),
            role: Role::User,
            parts: Parts::parse(
                &json!([{"type": "text", "text": "x".repeat(self.random.usize(1..60))}])
                    .to_string(),
            )
            .unwrap(),
            metadata: None,
        };
        let reply = Reply {
            chat,
            message: MessageId::new(),
            stream: StreamId::new(),
        };
        let replaced = MessageId::new();
        let turn = NewTurn {
            chat: &reply.chat,
            message: &message,
            uploads: &[],
            place: Place::End,
            shown: &[],
            replaced: &replaced,
            reply: &reply.message,
            stream: &reply.stream,
            model: "m",
            reply_metadata: "{}",
            title: &Title::default(),
            title_job: None,
            expires_at: None,
            now: self.now,
            lease_until: self.now + Duration::from_secs(8),
            at_most,
            allowance: &allowance,
        };
        // Once more after a lost answer, sometimes: the same turn is reserved for once.
        for _ in 0..self.random.usize(1..3) {
            match chat_store::turns::open(self.db, &id, &turn).await.unwrap() {
                Opening::Opened { .. } => {}
                Opening::Spent(budget) => {
                    let (counted, most) = match budget {
                        Budget::Owner => (self.counted(Some(owner)), LIMITS.owner),
                        Budget::Address => (self.counted(None), LIMITS.address),
                        Budget::Deployment => (self.counted(None), LIMITS.deployment),
                    };
                    let dearest = at_most.question.likely + at_most.history.likely + at_most.reply;
                    assert!(counted + dearest > most, "{budget:?} at {counted}");
                    return;
                }
                Opening::Busy | Opening::Foreign => return,
                other => panic!("{other:?}"),
            }
        }
        let tokens = "SELECT tokens FROM reservations WHERE id = $1";
        let reserved = self.number(tokens, reply.stream.as_str().to_owned()).await;
        let cheapest = at_most.question.most + at_most.reply;
        let dearest = cheapest + at_most.history.most;
        assert!((cheapest..=dearest).contains(&reserved), "{reserved}");
        self.writers.push(Writer {
            reply,
            spender: owner,
            reserved,
            read: reserved - LONGEST_REPLY,
            written: 0,
            is_alive: true,
            settled: None,
        });
    }

    /// The model says more, and sometimes a checkpoint says so too.
    async fn write(&mut self) {
        let Some(n) = self.living() else { return };
        let more = self.random.i64(1..30);
        let is_stored = self.random.bool();
        let writer = &mut self.writers[n];
        writer.written = (writer.written + more).min(LONGEST_REPLY);
        if is_stored {
            let so_far = SoFar {
                parts: "[]",
                input_tokens: writer.read,
                output_tokens: writer.written,
            };
            chat_store::replies::checkpoint(self.db, &writer.reply, Some(so_far), self.now)
                .await
                .unwrap();
        }
    }

    async fn close(&mut self) {
        let Some(n) = self.living() else { return };
        let (times, is_superseded) = (self.random.usize(1..3), self.random.u8(..5) == 0);
        // A reply that was stopped, or fails, has no count of the provider's.
        let is_counted = self.random.bool();
        let writer = &mut self.writers[n];
        let spent = if is_counted {
            writer.used()
        } else {
            writer.reserved
        };
        let closing = Closing {
            parts: "[]",
            metadata: "{}",
            status: "complete",
            finish_reason: Some("stop"),
            model: "m",
            input_tokens: writer.read,
            output_tokens: writer.written,
            is_unheard: false,
            spent,
            now: self.now,
        };
        for _ in 0..times {
            if is_superseded {
                let stream = writer.reply.stream.as_str();
                let settled = chat_store::spending::settle(self.db, stream, spent).await;
                settled.unwrap();
            } else {
                chat_store::replies::close(self.db, &writer.reply, &closing)
                    .await
                    .unwrap();
            }
        }
        (writer.is_alive, writer.settled) = (false, Some(spent));
    }

    /// The model says no, or is not waited for.
    async fn abandon(&mut self) {
        let Some(n) = self.living() else { return };
        let writer = &mut self.writers[n];
        let is_known = writer.written == 0 && self.random.bool();
        if is_known {
            writer.read = 0;
        }
        let spent = if is_known { 0 } else { writer.reserved };
        chat_store::replies::abandon(self.db, &writer.reply, spent)
            .await
            .unwrap();
        (writer.is_alive, writer.settled) = (false, Some(spent));
    }

    /// Deletes all chats of an owner, or everything, by its job.
    async fn discard(&mut self) {
        let owner = self.any_owner();
        let is_erasure = self.random.bool();
        let kind = if is_erasure {
            JobKind::EraseUser
        } else {
            JobKind::DeleteAllChats
        };
        let id = chat_store::jobs::new_id();
        let id = chat_store::jobs::discard(self.db, &owner, kind, &id, self.now)
            .await
            .unwrap();
        let now = SystemTime::from(self.now);
        let lease = now + Duration::from_secs(60);
        let claimed = chat_store::jobs::claim(self.db, &id, now, lease).await;
        let Claim::Job(job) = claimed.unwrap() else {
            panic!("the job is nobody else's")
        };
        let mut receipt = erasure::Receipt::of(&job);
        let pace = erasure::Pace::default();
        while let Some(more) = erasure::erase_chats(self.db, &job, &receipt, &owner, &pace)
            .await
            .unwrap()
        {
            receipt = more;
        }
        if is_erasure {
            while let Some(more) = erasure::erase_traces(self.db, &job, &receipt, &owner, &pace)
                .await
                .unwrap()
            {
                receipt = more;
            }
        }
        erasure::finish(self.db, &job, &receipt, "{}", self.now)
            .await
            .unwrap();
    }

    async fn expire(&mut self) {
        let chat = self.chat();
        self.db
            .execute(
                "UPDATE chats SET expires_at = $2 WHERE id = $1",
                &[
                    (&chat.as_str(), dsql::Type::TEXT),
                    (&self.now, dsql::Type::TIMESTAMPTZ),
                ],
            )
            .await
            .unwrap();
        while erasure::delete_expired_chats(self.db, &erasure::Pace::default(), self.now)
            .await
            .unwrap()
            .is_some()
        {}
    }

    /// One thing that happens; its name.
    async fn step(&mut self) -> &'static str {
        self.now += Duration::from_millis(10);
        let owner = self.any_owner();
        match self.random.u8(..32) {
            0..=11 => {
                self.open().await;
                "open"
            }
            12..=17 => {
                self.write().await;
                "write"
            }
            18..=21 => {
                self.close().await;
                "close"
            }
            22 => {
                self.abandon().await;
                "abandon"
            }
            23..=24 => {
                let chat = self.chat();
                chat_store::replies::stop(self.db, &owner, &chat, None, self.now)
                    .await
                    .unwrap();
                "stop"
            }
            25 => {
                let chat = self.chat();
                chat_store::chats::delete(self.db, &owner, &chat)
                    .await
                    .unwrap();
                "delete"
            }
            26 => {
                self.discard().await;
                "discard"
            }
            27 => {
                let (guest, first) = (self.owner(2), self.owner(0));
                chat_store::chats::claim(self.db, &guest, &first, self.now)
                    .await
                    .unwrap();
                "claim"
            }
            28 => {
                if let Some(n) = self.living() {
                    self.writers[n].is_alive = false;
                }
                "crash"
            }
            29 => {
                // All leases have passed: those who live are found dead too, and end all the same.
                let later = self.now + Duration::from_secs(60);
                chat_store::replies::reap(self.db, later, 100)
                    .await
                    .unwrap();
                "reap"
            }
            30 => {
                let (chat, later) = (self.chat(), self.now + Duration::from_secs(60));
                chat_store::replies::interrupt(self.db, &owner, &chat, later)
                    .await
                    .unwrap();
                "interrupt"
            }
            _ => {
                self.expire().await;
                "expire"
            }
        }
    }
}

#[tokio::test]
async fn what_is_counted_is_what_was_reserved_or_used_whatever_happens() {
    let stack = Stack::start().await;
    let db = stack.database("admin");
    let seed = std::env::var("SPENDING_SEED").map_or(20_261_129, |seed| seed.parse().unwrap());
    println!("SPENDING_SEED={seed}");
    let mut met = std::collections::BTreeSet::new();
    for run in 0..RUNS {
        let mut world = World {
            db: &db,
            run,
            random: Rng::with_seed(seed + run),
            now: "2026-11-25T12:00:00Z".parse().unwrap(),
            writers: Vec::new(),
        };
        for n in 0..STEPS {
            let name = world.step().await;
            met.insert(name);
            world.check(&format!("run {run}, step {n}, {name}")).await;
        }
        // The day is over: nothing of it stays.
        let tomorrow = "2026-11-26T00:00:00Z".parse().unwrap();
        for what in [Expiring::RateBuckets, Expiring::Reservations] {
            while upkeep::delete_expired(&db, what, tomorrow).await.unwrap() > 0 {}
        }
        for rows in [
            "SELECT count(*) FROM rate_buckets WHERE $1 = ''",
            "SELECT count(*) FROM reservations WHERE $1 = ''",
        ] {
            assert_eq!(world.number(rows, String::new()).await, 0, "{rows}");
        }
    }
    assert_eq!(met.len(), 12, "not everything happened: {met:?}");
}
