//! Where a turn belongs that does not follow the last message: the table of cases, and nothing
//! else. None of them deletes a message: what a turn does not go on from is set aside, as a branch.

use chat_store::{MessageId, Place, Stored};

use crate::input::{Post, Trigger};

/// What follows from what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Open the turn at this place.
    Open(Place),
    /// The client shows a branch that is off the chat's path: lead it through this message, and
    /// place the turn again.
    Switch(MessageId),
    /// Send the stored reply again, without a model.
    Replay,
    /// It is not clear what the client shows.
    Stale,
    /// The message's id belongs to another content, and the client did not ask for an edit.
    IdTaken,
    /// The message is not the visitor's.
    NotTheirs,
}

/// Below the place of every message.
const BEFORE_ALL: i64 = -1;

/// Where a turn is tried first.
pub(crate) fn first_place(post: &Post) -> Place {
    let is_other = post
        .message_id
        .as_ref()
        .is_some_and(|id| *id != post.message.id);
    if post.trigger == Trigger::Regenerate && is_other {
        Place::Look {
            target: post.message_id.clone(),
        }
    } else if post.is_first {
        Place::First
    } else {
        Place::End
    }
}

pub(crate) fn decide(post: &Post, stored: &Stored) -> Decision {
    let Some(message) = &stored.message else {
        return match (&stored.target, &stored.tip) {
            // A regeneration of a reply that is stored, for a message that is not.
            (Some(_), _) => Decision::Stale,
            // An edit of the first message under a new id: a branch of its own.
            (None, None) if post.is_first => Decision::Open(Place::After {
                cut: BEFORE_ALL,
                expected: stored.next_seq,
            }),
            (None, None) => Decision::Open(Place::End),
            (None, Some(tip)) if tip.is_aside => Decision::Switch(tip.id.clone()),
            // A shorter history before a new message is an edit, or an outdated view: a branch in
            // both cases.
            (None, Some(tip)) => Decision::Open(Place::After {
                cut: tip.seq,
                expected: stored.next_seq,
            }),
        };
    };
    if message.role != "user" {
        return Decision::NotTheirs;
    }
    if stored.target.as_ref().is_some_and(|target| target.is_aside)
        && let Some(target) = &post.message_id
    {
        return Decision::Switch(target.clone());
    }
    if message.is_aside {
        return Decision::Switch(post.message.id.clone());
    }
    let behind = |cut| {
        Decision::Open(Place::Behind {
            cut,
            expected: stored.next_seq,
        })
    };
    match post.trigger {
        Trigger::Regenerate => {
            let id = post.message.id.as_str();
            match &stored.target {
                Some(target) if target.role == "assistant" => {
                    if target.asked_by.as_deref() == Some(id) {
                        behind(target.seq - 1)
                    } else {
                        Decision::Stale
                    }
                }
                Some(_) => Decision::Stale, // another message of the visitor's than the last one posted
                // The client named the message itself: what follows is to go.
                None if post.message_id.as_ref().is_some_and(|m| m.as_str() == id) => {
                    behind(message.seq)
                }
                None if stored.is_followed => Decision::Stale,
                None => behind(message.seq),
            }
        }
        Trigger::Submit => {
            let is_edit = post.message_id.is_some();
            if !message.is_same {
                // After a cut there is nothing to lose: the message is the last one, and gets its
                // new content.
                return if is_edit || stored.next.is_none() {
                    behind(message.seq)
                } else {
                    Decision::IdTaken
                };
            }
            match &stored.next {
                // An edit without a change still cuts what followed, as the client has done.
                _ if is_edit && stored.is_followed => behind(message.seq),
                Some(next) if next.status == "complete" && next.message.role == "assistant" => {
                    Decision::Replay
                }
                _ if stored.is_followed => Decision::Stale,
                _ => behind(message.seq),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_store::{
        ChatId, Message, NewMessage, Parts, Role, StoredMessage, StoredParts, StoredReply, Target,
        Tip,
    };

    fn post(trigger: Trigger, message_id: Option<&str>) -> Post {
        Post {
            chat: ChatId::parse("c").unwrap(),
            message: NewMessage {
                id: MessageId::parse("u").unwrap(),
                role: Role::User,
                parts: Parts::parse(r#"[{"type": "text", "text": "hi"}]"#).unwrap(),
                metadata: None,
            },
            shown: Vec::new(),
            is_first: false,
            trigger,
            message_id: message_id.map(|id| MessageId::parse(id).unwrap()),
            model: "m".to_owned(),
        }
    }

    fn reply(status: &str) -> StoredReply {
        StoredReply {
            message: Message {
                id: "a".to_owned(),
                role: "assistant".to_owned(),
                parts: StoredParts::parse(r#"[{"type": "step-start"}]"#),
                metadata: None,
            },
            status: status.to_owned(),
            finish_reason: None,
        }
    }

    fn stored(is_same: bool, next: Option<StoredReply>, is_followed: bool) -> Stored {
        Stored {
            next_seq: 9,
            message: Some(StoredMessage {
                seq: 4,
                role: "user".to_owned(),
                is_same,
                is_aside: false,
            }),
            next,
            is_followed,
            target: None,
            tip: None,
        }
    }

    fn behind(cut: i64) -> Decision {
        Decision::Open(Place::Behind { cut, expected: 9 })
    }

    #[test]
    fn a_message_sent_again_is_answered_once() {
        let again = post(Trigger::Submit, None);
        for (reply, followed, decision) in [
            (Some(reply("complete")), false, Decision::Replay),
            (Some(reply("complete")), true, Decision::Replay),
            (Some(reply("error")), false, behind(4)),
            (Some(reply("interrupted")), false, behind(4)),
            (Some(reply("stopped")), false, behind(4)),
            (Some(reply("streaming")), false, behind(4)), // its lease has passed, or it would be busy
            (Some(reply("error")), true, Decision::Stale),
            (None, false, behind(4)),
        ] {
            let found = stored(true, reply, followed);
            assert_eq!(decide(&again, &found), decision, "{found:?}");
        }
    }

    #[test]
    fn other_content_needs_the_wish_to_edit() {
        let found = stored(false, Some(reply("complete")), true);
        assert_eq!(
            decide(&post(Trigger::Submit, None), &found),
            Decision::IdTaken
        );
        assert_eq!(decide(&post(Trigger::Submit, Some("u")), &found), behind(4));
        let last = stored(false, None, false);
        assert_eq!(decide(&post(Trigger::Submit, None), &last), behind(4));
        let same = stored(true, Some(reply("complete")), true);
        assert_eq!(decide(&post(Trigger::Submit, Some("u")), &same), behind(4));
        let last = stored(true, Some(reply("complete")), false);
        assert_eq!(
            decide(&post(Trigger::Submit, Some("u")), &last),
            Decision::Replay
        );
    }

    #[test]
    fn a_view_of_another_branch_is_gone_to_before_anything_else() {
        let id = |id: &str| MessageId::parse(id).unwrap();
        let found = |message: Option<bool>, target: Option<bool>, tip: Option<bool>| Stored {
            message: message.map(|is_aside| StoredMessage {
                seq: 4,
                role: "user".to_owned(),
                is_same: true,
                is_aside,
            }),
            target: target.map(|is_aside| Target {
                seq: 5,
                role: "assistant".to_owned(),
                asked_by: Some("u".to_owned()),
                is_aside,
            }),
            tip: tip.map(|is_aside| Tip {
                id: id("t"),
                seq: 3,
                is_aside,
            }),
            ..stored(true, None, false)
        };
        let (again, anew) = (
            post(Trigger::Submit, None),
            post(Trigger::Regenerate, Some("a")),
        );
        let after = Decision::Open(Place::After {
            cut: 3,
            expected: 9,
        });
        for (post, found, decision) in [
            (&again, found(None, None, Some(false)), after),
            (
                &again,
                found(None, None, Some(true)),
                Decision::Switch(id("t")),
            ),
            (
                &again,
                found(Some(true), None, Some(true)),
                Decision::Switch(id("u")),
            ),
            (&again, found(Some(false), None, Some(true)), behind(4)),
            (
                &anew,
                found(Some(false), Some(true), None),
                Decision::Switch(id("a")),
            ),
            (
                &anew,
                found(Some(true), Some(true), None),
                Decision::Switch(id("a")),
            ),
            (&anew, found(Some(false), Some(false), None), behind(4)),
            (&anew, found(None, Some(true), None), Decision::Stale),
        ] {
            assert_eq!(decide(post, &found), decision, "{found:?}");
        }
    }

    #[test]
    fn a_regeneration_deletes_nothing_unseen() {
        let plain = post(Trigger::Regenerate, None);
        assert_eq!(
            decide(&plain, &stored(true, Some(reply("complete")), false)),
            behind(4)
        );
        assert_eq!(decide(&plain, &stored(true, None, false)), behind(4));
        assert_eq!(
            decide(&plain, &stored(true, Some(reply("complete")), true)),
            Decision::Stale
        );
        let named = post(Trigger::Regenerate, Some("u"));
        assert_eq!(
            decide(&named, &stored(true, Some(reply("complete")), true)),
            behind(4)
        );
    }

    #[test]
    fn a_regeneration_of_a_reply_cuts_there_if_it_answers_the_message() {
        let named = post(Trigger::Regenerate, Some("a"));
        assert!(matches!(first_place(&named), Place::Look { .. }));
        let with = |role: &str, asked_by: &str| {
            let mut found = stored(true, Some(reply("complete")), true);
            found.target = Some(Target {
                seq: 6,
                role: role.to_owned(),
                asked_by: Some(asked_by.to_owned()),
                is_aside: false,
            });
            decide(&named, &found)
        };
        assert_eq!(with("assistant", "u"), behind(5));
        assert_eq!(with("assistant", "other"), Decision::Stale);
        assert_eq!(with("user", "u"), Decision::Stale);
        let nothing = Stored {
            message: None,
            ..stored(true, None, false)
        };
        assert_eq!(decide(&named, &nothing), Decision::Open(Place::End));
    }

    #[test]
    fn a_reply_is_not_a_visitors_message() {
        let mut found = stored(true, None, false);
        found.message.as_mut().unwrap().role = "assistant".to_owned();
        assert_eq!(
            decide(&post(Trigger::Submit, None), &found),
            Decision::NotTheirs
        );
    }
}
