//! One connection's statements, run by run.

use super::*;

const POLICY: Policy = Policy {
    enabled: true,
    in_transactions: false,
    behind_pooler: false,
};

struct Peer {
    statements: Statements,
    texts: Texts,
}

impl Peer {
    fn new(policy: Policy) -> Peer {
        let mut texts = Texts::default();
        for id in 0..1000 {
            texts.insert(id, &format!("SELECT $1 + {id}"));
        }
        let statements = Statements::new(policy);
        Peer { statements, texts }
    }

    fn run(&mut self, id: TextId) -> Plan {
        self.run_with(id, 1, Place::Own)
    }

    fn run_with(&mut self, id: TextId, params: usize, place: Place) -> Plan {
        let run = self.statements.plan(id, params, place, &self.texts);
        if self.statements.asks(&run) {
            self.statements.answered(true, true, b"ISO, MDY");
        }
        self.statements.finished(&run, false);
        run.plan
    }

    fn unwanted(&mut self) -> Vec<u32> {
        let unwanted = self.statements.unwanted().to_vec();
        self.statements.closed_unwanted();
        unwanted
    }

    fn named(&mut self, id: TextId) -> u32 {
        for _ in 0..5 {
            if let Plan::Bound(number) = self.run(id) {
                return number;
            }
        }
        panic!("text {id} was not named");
    }
}

#[test]
fn a_text_that_succeeded_twice_is_named_after_the_server_was_asked() {
    let mut peer = Peer::new(POLICY);
    let plans: Vec<_> = (0..5).map(|_| peer.run(7)).collect();
    use Plan::*;
    assert_eq!(plans, [Unnamed, Unnamed, Unnamed, Prepare(1), Bound(1)]);
    // Once the connection is known, the third run is named.
    let plans: Vec<_> = (0..4).map(|_| peer.run(8)).collect();
    assert_eq!(plans, [Unnamed, Unnamed, Prepare(2), Bound(2)]);
}

#[test]
fn behind_a_pooler_nothing_is_named_unless_allowed() {
    let mut peer = Peer::new(POLICY);
    for _ in 0..10 {
        let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
        if peer.statements.asks(&run) {
            peer.statements.answered(false, true, b"ISO, MDY");
        }
        peer.statements.finished(&run, false);
        assert_eq!(run.plan, Plan::Unnamed);
    }
    let behind_pooler = true;
    let mut peer = Peer::new(Policy {
        behind_pooler,
        ..POLICY
    });
    assert_eq!(peer.named(1), 1);
}

#[test]
fn inside_a_transaction_nothing_is_named_unless_allowed() {
    let mut peer = Peer::new(POLICY);
    peer.named(1);
    assert_eq!(peer.run_with(1, 1, Place::Explicit), Plan::Unnamed);
    let in_transactions = true;
    let mut peer = Peer::new(Policy {
        in_transactions,
        ..POLICY
    });
    peer.named(1);
    assert_eq!(peer.run_with(1, 1, Place::Explicit), Plan::Bound(1));
}

#[test]
fn behind_what_may_do_anything_nothing_is_named_or_learnt() {
    let mut peer = Peer::new(Policy {
        in_transactions: true,
        ..POLICY
    });
    peer.named(1);
    for _ in 0..5 {
        assert_eq!(peer.run_with(1, 1, Place::Unknown), Plan::Unnamed);
        assert_eq!(peer.run_with(2, 1, Place::Unknown), Plan::Unnamed);
    }
    assert_eq!(peer.run(1), Plan::Bound(1));
    assert_eq!(peer.statements.entries.len(), 1);
}

#[test]
fn another_number_of_parameters_stays_unnamed() {
    let mut peer = Peer::new(POLICY);
    peer.named(1);
    assert_eq!(peer.run_with(1, 2, Place::Own), Plan::Unnamed);
    assert_eq!(peer.run(1), Plan::Bound(1));
}

#[test]
fn the_one_used_least_recently_makes_room_and_is_closed() {
    let mut peer = Peer::new(POLICY);
    for id in 0..MOST as u32 {
        peer.named(id);
    }
    peer.run(0);
    assert!(peer.unwanted().is_empty());
    peer.run(500);
    assert_eq!(peer.unwanted(), [2]);
    assert_eq!(peer.run(1), Plan::Unnamed);
    assert_eq!(peer.statements.entries.len(), MOST);
}

#[test]
fn names_are_given_up_in_the_same_order_each_time() {
    for _ in 0..20 {
        let mut peer = Peer::new(POLICY);
        peer.statements = Statements::of_at_most(POLICY, 8);
        let runs: Vec<_> = (0..8)
            .map(|id| peer.statements.plan(id, 1, Place::Own, &peer.texts))
            .collect();
        runs.iter().for_each(|run| peer.statements.finished(run, false));
        // All were used at the same time: the one of the smallest number makes room.
        peer.run(100);
        let mut left: Vec<_> = peer.statements.entries.keys().copied().collect();
        left.sort_unstable();
        assert_eq!(left, [1, 2, 3, 4, 5, 6, 7, 100]);
        for id in 1..8 {
            peer.named(id);
        }
        peer.statements.parameter_changed("TimeZone", "UTC");
        assert_eq!(peer.unwanted(), [1, 2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn a_named_statement_that_fails_before_it_ran_is_repeated() {
    for (code, closes) in [("0A000", true), ("26000", false), ("42883", true), ("22P02", true)] {
        let mut peer = Peer::new(POLICY);
        peer.named(1);
        let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
        assert!(peer.statements.failed(&run, false, code, "ERROR"), "{code}");
        assert_eq!(peer.unwanted().len(), usize::from(closes), "{code}");
        assert_eq!(peer.run(1), Plan::Unnamed);
    }
}

#[test]
fn what_ran_or_was_stopped_from_outside_is_not_repeated() {
    let mut peer = Peer::new(POLICY);
    peer.named(1);
    let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
    assert!(!peer.statements.failed(&run, true, "0A000", "ERROR"));
    for code in ["57014", "55P03", "40P01", "25P02", "53200"] {
        assert!(!peer.statements.failed(&run, false, code, "ERROR"), "{code}");
    }
    assert!(!peer.statements.failed(&run, false, "26000", "FATAL"));
    assert_eq!(peer.run(1), Plan::Bound(1));
}

#[test]
fn a_statement_that_was_not_parsed_has_no_name() {
    let mut peer = Peer::new(POLICY);
    peer.named(2);
    peer.run(1);
    peer.run(1);
    let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
    assert_eq!(run.plan, Plan::Prepare(2));
    assert!(!peer.statements.failed(&run, false, "42P01", "ERROR"));
    assert_eq!(peer.run(1), Plan::Unnamed);
}

/// A text whose Parse is in flight.
fn preparing(peer: &mut Peer) -> Run {
    peer.named(100);
    peer.run(1);
    peer.run(1);
    let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
    assert_eq!(run.plan, Plan::Prepare(2));
    run
}

#[test]
fn behind_its_parse_a_name_is_not_bound_since_it_may_be_anothers() {
    let mut peer = Peer::new(POLICY);
    let run = preparing(&mut peer);
    assert_eq!(peer.run(1), Plan::Unnamed);
    assert!(peer.statements.failed(&run, false, "42P05", "ERROR"));
    peer.statements.finished(&run, true);
    assert_eq!(peer.run(1), Plan::Unnamed);
    assert!(peer.unwanted().is_empty());
}

#[test]
fn a_name_given_up_while_its_parse_is_in_flight_is_closed_after_that_if_it_is_ours() {
    for (error, bound, closes) in [
        (None, true, true),
        (Some("22012"), true, true),
        (Some("57014"), false, true),
        (Some("42P05"), false, false),
    ] {
        for give_up in [
            (|peer| peer.statements.parameter_changed("TimeZone", "UTC")) as fn(&mut Peer),
            |peer| peer.statements.completed(b"DISCARD ALL"),
        ] {
            let mut peer = Peer::new(POLICY);
            let run = preparing(&mut peer);
            give_up(&mut peer);
            assert!(!peer.unwanted().contains(&2), "{error:?}");
            if let Some(code) = error {
                peer.statements.failed(&run, bound, code, "ERROR");
            }
            peer.statements.finished(&run, error.is_some());
            assert_eq!(peer.unwanted() == [2], closes, "{error:?}");
            assert!(peer.statements.leaving.is_empty());
        }
    }
}

#[test]
fn an_older_name_that_fails_does_not_take_a_newer_one_of_its_text_away() {
    let mut peer = Peer::new(POLICY);
    peer.named(1);
    let older = peer.statements.plan(1, 1, Place::Own, &peer.texts);
    peer.statements.parameter_changed("TimeZone", "UTC");
    assert_eq!(peer.named(1), 2);
    assert_eq!(peer.unwanted(), [1]);
    assert!(peer.statements.failed(&older, false, "26000", "ERROR"));
    assert_eq!(peer.run(1), Plan::Bound(2));
}

#[test]
fn discard_and_deallocate_are_noticed() {
    for (tag, closes) in [
        ("DISCARD ALL", false),
        ("DEALLOCATE ALL", false),
        ("DEALLOCATE", true),
        ("CREATE TABLE", true),
        ("ALTER TABLE", true),
    ] {
        let mut peer = Peer::new(POLICY);
        peer.named(1);
        peer.statements.completed(tag.as_bytes());
        assert_eq!(peer.unwanted().len(), usize::from(closes), "{tag}");
        assert_eq!(peer.run(1), Plan::Unnamed, "{tag}");
    }
    let mut peer = Peer::new(POLICY);
    peer.named(1);
    peer.statements.completed(b"UPDATE 3");
    assert_eq!(peer.run(1), Plan::Bound(1));
}

#[test]
fn settings_that_change_constants_end_all_names() {
    let mut peer = Peer::new(POLICY);
    peer.named(1);
    peer.statements.parameter_changed("application_name", "x");
    assert_eq!(peer.run(1), Plan::Bound(1));
    peer.statements.parameter_changed("TimeZone", "UTC");
    assert_eq!(peer.run(1), Plan::Unnamed);
    assert_eq!(peer.unwanted(), [1]);
}

const BOTH: Numbers = Numbers {
    float8: true,
    timestamptz: true,
};

/// A peer on which text 1 is named, with a column of each kind.
fn with_columns() -> Peer {
    let mut peer = Peer::new(POLICY);
    for _ in 0..4 {
        let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
        if peer.statements.asks(&run) {
            peer.statements.answered(true, true, b"ISO, DMY");
        }
        let columns = vec![Column::Text, Column::Float8, Column::Timestamptz];
        peer.statements.described(&run, columns);
        peer.statements.finished(&run, false);
    }
    peer
}

fn formats(peer: &mut Peer, taken: Numbers) -> Vec<i16> {
    let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
    let mut formats = vec![7];
    peer.statements.formats(&run, taken, &mut formats);
    formats
}

#[test]
fn a_bound_statement_gives_numbers_to_who_takes_them() {
    let mut peer = with_columns();
    assert_eq!(formats(&mut peer, BOTH), [0, 1, 1]);
    let (float8, timestamptz) = (true, false);
    assert_eq!(formats(&mut peer, Numbers { float8, timestamptz }), [0, 1, 0]);
    assert_eq!(formats(&mut peer, Numbers::default()), [0; 0]);
}

#[test]
fn numbers_that_would_not_be_what_their_texts_say_come_as_text() {
    let mut peer = with_columns();
    peer.statements.float_digits_mentioned();
    assert_eq!(formats(&mut peer, BOTH), [0, 0, 1]);
    peer.statements.completed(b"RESET");
    assert_eq!(formats(&mut peer, BOTH), [0, 0, 1], "not asked again yet");
    peer.statements.date_style(b"German, DMY");
    assert_eq!(formats(&mut peer, BOTH), [0; 0]);
    peer.statements.answered(true, true, b"ISO, MDY");
    assert_eq!(formats(&mut peer, BOTH), [0, 0, 1], "mentioned since it was asked");
    peer.statements.asked();
    peer.statements.answered(true, true, b"ISO, MDY");
    assert_eq!(formats(&mut peer, BOTH), [0, 1, 1]);
    peer.statements.answered(true, false, b"ISO, MDY");
    assert_eq!(formats(&mut peer, BOTH), [0, 0, 1]);
}

#[test]
fn after_a_reset_the_settings_are_asked_for_along_with_the_next_name() {
    let mut peer = with_columns();
    peer.statements.completed(b"RESET");
    let asks: Vec<_> = (0..4)
        .map(|_| {
            let run = peer.statements.plan(2, 1, Place::Own, &peer.texts);
            let asks = peer.statements.asks(&run);
            if asks {
                peer.statements.asked();
                peer.statements.answered(true, true, b"ISO, MDY");
            }
            peer.statements.finished(&run, false);
            (asks, run.plan)
        })
        .collect();
    use Plan::*;
    let wanted = [
        (false, Unnamed),
        (false, Unnamed),
        (true, Prepare(2)),
        (false, Bound(2)),
    ];
    assert_eq!(asks, wanted);
    assert_eq!(formats(&mut peer, BOTH), [0, 1, 1]);
}

#[test]
fn after_somebody_else_has_spoken_everything_is_asked_again() {
    let mut peer = with_columns();
    peer.statements.spoken_past();
    assert_eq!(peer.unwanted(), [1]);
    let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
    assert!(!peer.statements.asks(&run));
    peer.statements.finished(&run, false);
    let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
    peer.statements.finished(&run, false);
    let run = peer.statements.plan(1, 1, Place::Own, &peer.texts);
    assert_eq!((run.plan, peer.statements.asks(&run)), (Plan::Unnamed, true));
}
