//! One decision at a time: what is so, what is asked, what is done next.

use super::*;

fn now(evidence: &Evidence) -> Decision {
    decide(evidence, &limits())
}

fn held(decision: &Decision) -> &Held {
    match &decision.state {
        DataState::Held(held) => held,
        other => panic!("not held but {other:?}"),
    }
}

fn yes(evidence: &mut Evidence) -> Decision {
    let question = now(evidence).question.expect("nothing is asked");
    evidence.session.yes.push(question);
    now(evidence)
}

fn asked_text(decision: &Decision) -> String {
    status(decision, 0, 1).question.expect("nothing is asked").text
}

fn check(volume: &str) -> Action {
    Action::Check { volume: VolumeId::new(volume), repair: false }
}

#[test]
fn first_start_with_a_card_alone_founds_a_box_on_it() {
    for fresh in [Holds::Nothing, Holds::EmptyFileSystem] {
        let mut evidence = seen(vec![card(fresh)]);
        assert!(matches!(now(&evidence).action, Some(Action::PrepareBoot { .. })));
        evidence.session.boot_prepared = true;
        let place = VolumeId::new("card-04");
        assert_eq!(now(&evidence).action, Some(Action::Found { volume: place }));
    }
}

#[test]
fn a_box_on_its_card_checks_and_mounts_it() {
    let mut evidence = seen(vec![card(whole(1, "card-04"))]);
    let place = VolumeId::new("card-04");
    assert_eq!(now(&evidence).action, Some(check("card-04")));
    evidence.session.checked.insert(place.clone(), CheckResult::Mended);
    assert_eq!(now(&evidence).action, Some(Action::Mount { volume: place }));
    let evidence = running(evidence.disks, "card-04");
    assert!(matches!(now(&evidence), Decision { state: DataState::Live { .. }, action: None, .. }));
}

#[test]
fn a_disk_without_room_for_the_data_is_not_offered_and_the_page_says_how_large_it_must_be() {
    let mut evidence = running(vec![card(whole(1, "card-04")), blank_ssd()], "card-04");
    let mut used = |bytes: u64| {
        evidence.live.as_mut().unwrap().used_bytes = Some(bytes);
        now(&evidence)
    };
    // 500 GB, of which a sixteenth is ext4's own and 1 GB must be left.
    let decision = used(467_000_000_000);
    assert!(decision.question.is_some() && decision.notes.is_empty(), "{decision:?}");
    let decision = used(468_000_000_000);
    assert_eq!((&decision.question, &decision.action), (&None, &None));
    let needs_bytes = 500_266_666_667;
    assert_eq!(decision.notes, [Note::TooSmall { disk: "T7, 500 GB".to_owned(), needs_bytes }]);
    let said = status(&decision, 0, 0).notes;
    assert_eq!(said, ["T7, 500 GB is too small for the data: it takes 501 GB. The data stays where it is."]);
}

#[test]
fn data_that_outgrew_a_disk_after_the_yes_is_not_moved_to_it() {
    let mut evidence = running(vec![card(whole(1, "card-04")), blank_ssd()], "card-04");
    assert!(matches!(yes(&mut evidence).action, Some(Action::Provision { .. })));
    evidence.live.as_mut().unwrap().used_bytes = Some(480_000_000_000);
    assert_eq!(now(&evidence).action, None);
}

#[test]
fn a_blank_ssd_is_offered_by_model_and_size_and_one_yes_is_enough() {
    let mut evidence = running(vec![card(whole(1, "card-04")), blank_ssd()], "card-04");
    let decision = now(&evidence);
    assert!(matches!(decision.state, DataState::Live { .. }), "posting goes on while it asks");
    assert_eq!(decision.action, None, "nothing is done without an answer");
    let text = asked_text(&decision);
    assert!(text.contains("T7, 500 GB") && text.contains("empty"), "{text}");
    match yes(&mut evidence).action {
        Some(Action::Provision { disk, generation, from, .. }) => {
            assert_eq!((disk, generation), (blank_ssd(), 2));
            assert_eq!(from.volume, VolumeId::new("card-04"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_disk_with_somebody_s_data_is_erased_after_two_answers_that_name_the_contents() {
    let full = ssd(Holds::Foreign("NTFS \"Photos\"".to_owned()));
    let mut evidence = running(vec![card(whole(1, "card-04")), full], "card-04");
    let first = asked_text(&now(&evidence));
    assert!(first.contains("T7, 500 GB") && first.contains("NTFS \"Photos\""), "{first}");
    let decision = yes(&mut evidence);
    assert_eq!(decision.action, None);
    let second = asked_text(&decision);
    assert!(second.contains("T7, 500 GB: NTFS \"Photos\"") && second.contains("ALL"), "{second}");
    assert!(matches!(yes(&mut evidence).action, Some(Action::Provision { .. })));
}

#[test]
fn a_consent_counts_for_no_other_disk_and_no_other_content() {
    let mut consented = running(vec![card(whole(1, "card-04")), blank_ssd()], "card-04");
    yes(&mut consented);
    let smaller = DiskFacts { size_bytes: 8_000_000_000, ..blank_ssd().facts };
    let others = [
        disk("sda", "Other", DiskKind::UsbSsd, Vec::new()),
        SeenDisk { serial: "another of the same model".to_owned(), ..blank_ssd() },
        SeenDisk { attached: Some(2), ..blank_ssd() },
        SeenDisk { facts: smaller, ..blank_ssd() },
        ssd(Holds::Foreign("NTFS".to_owned())),
        ssd(Holds::Nothing),
    ];
    for other in others {
        let mut evidence = consented.clone();
        evidence.disks[1] = other.clone();
        let decision = now(&evidence);
        assert_eq!(decision.action, None, "{other:?}");
        assert!(decision.question.is_some(), "it is asked anew: {other:?}");
    }
}

#[test]
fn sticks_cards_and_small_disks_are_not_offered_and_a_declined_one_neither() {
    for kind in [DiskKind::UsbStick, DiskKind::Sd, DiskKind::Other] {
        let disks = vec![card(whole(1, "card-04")), disk("sdb", "X", kind, Vec::new())];
        assert_eq!(now(&running(disks, "card-04")).question, None, "{kind:?}");
    }
    let small = DiskFacts { size_bytes: 2_000_000_000, ..blank_ssd().facts };
    let small = SeenDisk { facts: small, ..blank_ssd() };
    assert_eq!(now(&running(vec![card(whole(1, "card-04")), small], "card-04")).question, None);
    let mut evidence = running(vec![card(whole(1, "card-04")), blank_ssd()], "card-04");
    let question = now(&evidence).question.unwrap();
    evidence.session.no.push(question);
    assert_eq!(now(&evidence).question, None);
}

#[test]
fn nvme_is_offered_before_a_usb_ssd_and_to_a_box_that_runs_from_one() {
    let nvme = disk("nvme0n1", "SN770", DiskKind::Nvme, Vec::new());
    let asked = |evidence: &Evidence| match now(evidence).question {
        Some(Question::UseDisk { disk, .. }) => disk.facts.model,
        other => panic!("{other:?}"),
    };
    let evidence = running(vec![card(whole(1, "card-04")), blank_ssd(), nvme.clone()], "card-04");
    assert_eq!(asked(&evidence), "SN770");
    let evidence = running(vec![card_superseded(), ssd(whole(2, "ssd")), nvme], "ssd");
    assert_eq!(asked(&evidence), "SN770");
    let evidence = running(vec![card_superseded(), ssd(whole(2, "ssd"))], "ssd");
    assert_eq!(now(&evidence).question, None, "the card is no better place");
}

#[test]
fn a_missing_ssd_is_held_by_name_and_never_replaced_by_the_old_copy_or_an_empty_store() {
    let evidence = seen(vec![card_superseded()]);
    let decision = now(&evidence);
    assert_eq!(held(&decision), &Held::Missing { disk: "T7, 500 GB".to_owned() });
    assert_eq!(decision.action, None);
    let said = format!("{:?}", status(&decision, 0, 1));
    assert!(said.contains("Plug this disk back in: T7, 500 GB"), "{said}");
    let evidence = seen(vec![card_superseded(), blank_ssd()]);
    assert_eq!(now(&evidence).action, None, "a blank disk in its place changes nothing");
}

#[test]
fn the_ssd_of_a_superseded_card_is_taken_by_its_id_whatever_it_is_called_now() {
    let mut moved = ssd(whole(2, "ssd"));
    moved.facts.name = "sdq".to_owned();
    let blank = disk("sda", "Other", DiskKind::UsbSsd, Vec::new());
    let evidence = seen(vec![blank, card_superseded(), moved]);
    assert_eq!(now(&evidence).action, Some(check("ssd")));
}

#[test]
fn giving_the_ssd_up_takes_two_answers_leaves_word_for_a_jump_and_makes_a_higher_generation() {
    let mut evidence = seen(vec![card_superseded()]);
    assert_eq!(yes(&mut evidence).action, None, "one answer is not enough");
    let place = VolumeId::new("card-04");
    assert_eq!(yes(&mut evidence).action, Some(Action::NoteJump { volume: place.clone() }));
    evidence.session.jump_noted = Some(place.clone());
    let identity = identity(US, 3, "card-04", CopyState::Whole);
    assert_eq!(now(&evidence).action, Some(Action::Mark { volume: place, identity }));
}

#[test]
fn the_ssd_that_was_given_up_comes_back_and_is_not_used() {
    let evidence = running(vec![card(whole(3, "card-04")), ssd(whole(2, "ssd"))], "card-04");
    let decision = now(&evidence);
    assert!(matches!(decision.state, DataState::Live { .. }));
    assert_eq!(decision.action, None);
    assert_eq!(decision.notes, [Note::OldCopy { disk: "T7, 500 GB".to_owned() }]);
    let text = asked_text(&decision);
    assert!(text.contains("an older copy of this box"), "{text}");
    // At the next start it is the same.
    let evidence = seen(vec![ssd(whole(2, "ssd")), card(whole(3, "card-04"))]);
    assert_eq!(now(&evidence).action, Some(check("card-04")));
}

#[test]
fn a_higher_generation_wins_and_the_boot_disk_learns_it_before_anybody_writes() {
    let mut evidence = seen(vec![card(whole(1, "card-04")), ssd(whole(2, "ssd"))]);
    evidence.session.checked.insert(VolumeId::new("ssd"), CheckResult::Clean);
    match now(&evidence).action {
        Some(Action::Mark { volume, identity }) => {
            assert_eq!(volume, VolumeId::new("card-04"));
            assert_eq!(identity.state, CopyState::Superseded { by: place_of("ssd", 2, "T7, 500 GB") });
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_disks_with_the_same_copy_are_held_and_the_one_in_use_stays_in_use() {
    let twin = SeenDisk { attached: Some(9), ..ssd(whole(2, "ssd")) };
    let disks = vec![card_superseded(), ssd(whole(2, "ssd")), twin];
    let decision = now(&seen(disks.clone()));
    assert!(matches!(held(&decision), Held::Alike { .. }));
    assert_eq!((&decision.action, &decision.question), (&None, &None));
    let decision = now(&running(disks, "ssd"));
    assert!(matches!(decision.state, DataState::Live { .. }));
    assert!(matches!(decision.notes[..], [Note::Twin { .. }, ..]));
}

#[test]
fn two_freshly_flashed_media_found_the_box_on_the_one_that_was_started_from() {
    let flashed = card(Holds::EmptyFileSystem).volumes;
    let other = SeenDisk { attached: Some(2), ..disk("sda", "T7", DiskKind::UsbSsd, flashed) };
    let mut evidence = seen(vec![other, card(Holds::EmptyFileSystem)]);
    match now(&evidence).action {
        Some(Action::PrepareBoot { disk }) => assert!(disk.is_boot, "only its own disk gets new ids"),
        other => panic!("{other:?}"),
    }
    // From then on the other is a disk like any other, and asks first.
    evidence = running(vec![evidence.disks.remove(0), card(whole(1, "fresh-04"))], "fresh-04");
    evidence.disks[1].volumes[1].id = VolumeId::new("fresh-04");
    evidence.live.as_mut().unwrap().volume = VolumeId::new("fresh-04");
    let text = asked_text(&now(&evidence));
    assert!(text.contains("FAT \"PERCH\""), "{text}");
}

#[test]
fn two_disks_that_may_both_have_started_the_box_are_not_guessed_between() {
    let volumes = card(Holds::EmptyFileSystem).volumes;
    let other = SeenDisk { is_boot: true, ..disk("sda", "T7", DiskKind::UsbSsd, volumes) };
    let decision = now(&seen(vec![card(Holds::EmptyFileSystem), other]));
    let (one, other) = ("SD32G, 500 GB".to_owned(), "T7, 500 GB".to_owned());
    assert_eq!((held(&decision), &decision.action), (&Held::TwoBootDisks { one, other }, &None));
}

#[test]
fn a_new_card_finds_the_data_of_the_old_box_and_asks() {
    let mut evidence = seen(vec![card(Holds::Nothing), ssd(whole(2, "ssd"))]);
    let decision = now(&evidence);
    assert_eq!(held(&decision), &Held::FoundData { disk: "T7, 500 GB".to_owned() });
    assert_eq!(decision.action, None);
    assert!(matches!(yes(&mut evidence).action, Some(Action::PrepareBoot { .. })));
    evidence.session.boot_prepared = true;
    match now(&evidence).action {
        Some(Action::Mark { volume, identity }) => {
            assert_eq!((volume.as_str(), identity.generation), ("card-04", 0));
            assert_eq!(identity.state, CopyState::Superseded { by: place_of("ssd", 2, "T7, 500 GB") });
        }
        other => panic!("{other:?}"),
    }
    // Without that disk the new card never begins on its own, and has nothing to go on with.
    let mark = identity(US, 0, "card-04", CopyState::Superseded { by: place_of("ssd", 2, "T7") });
    let decision = now(&seen(vec![card(marked(&mark))]));
    assert_eq!((held(&decision), &decision.question), (&Held::Missing { disk: "T7".to_owned() }, &None));
}

#[test]
fn a_new_card_with_an_old_disk_whose_newer_one_is_missing_asks_before_it_begins_anew() {
    let by = place_of("nvme", 3, "SN770, 1000 GB");
    let old = ssd(marked(&identity(US, 2, "ssd", CopyState::Superseded { by })));
    let mut evidence = seen(vec![card(Holds::Nothing), old]);
    let decision = now(&evidence);
    assert_eq!(held(&decision), &Held::Missing { disk: "SN770, 1000 GB".to_owned() });
    assert_eq!(decision.action, None);
    assert!(matches!(yes(&mut evidence).action, Some(Action::PrepareBoot { .. })));
}

#[test]
fn a_new_card_between_two_boxes_chooses_neither() {
    let others = volume("b", 1, true, marked(&identity(OTHERS, 7, "b", CopyState::Whole)));
    let other = disk("sdb", "Other", DiskKind::UsbSsd, vec![others]);
    let decision = now(&seen(vec![card(Holds::Nothing), ssd(whole(2, "ssd")), other]));
    assert!(matches!(held(&decision), Held::TwoBoxes { .. }));
    assert_eq!((&decision.action, &decision.question), (&None, &None));
}

#[test]
fn the_data_of_another_box_is_not_touched_and_not_used() {
    let other = ssd(marked(&identity(OTHERS, 9, "ssd", CopyState::Whole)));
    let evidence = running(vec![card(whole(1, "card-04")), other], "card-04");
    let decision = now(&evidence);
    assert!(matches!(decision.state, DataState::Live { .. }));
    assert_eq!(decision.notes, [Note::OtherBox { disk: "T7, 500 GB".to_owned() }]);
    let text = asked_text(&decision);
    assert!(text.contains("the data of another Perch"), "{text}");
}

#[test]
fn pulled_while_running_it_is_held_until_the_same_disk_is_back() {
    let mut evidence = running(vec![card_superseded(), ssd(whole(2, "ssd"))], "ssd");
    let back = evidence.disks.pop().unwrap();
    let decision = now(&evidence);
    assert_eq!(held(&decision), &Held::Pulled { disk: "T7, 500 GB".to_owned() });
    assert_eq!(decision.action, Some(Action::Unmount { torn_off: true }));
    evidence.live = None;
    evidence.session.pulled = pulled("ssd", 2, "T7, 500 GB");
    evidence.session.checked.clear();
    let decision = now(&evidence);
    assert_eq!(held(&decision), &Held::Pulled { disk: "T7, 500 GB".to_owned() });
    assert_eq!(decision.action, None);
    evidence.disks.push(SeenDisk { attached: Some(2), ..back });
    assert_eq!(now(&evidence).action, Some(check("ssd")), "checked again before it is mounted again");
}

#[test]
fn pulled_and_back_between_two_looks_the_dead_mount_goes_first() {
    let mut evidence = running(vec![card_superseded(), ssd(whole(2, "ssd"))], "ssd");
    evidence.disks[1].attached = Some(2);
    assert_eq!(now(&evidence).action, Some(Action::Unmount { torn_off: true }));
}

#[test]
fn while_a_disk_is_pulled_an_old_copy_that_is_plugged_in_does_not_take_over() {
    // The card went on after the SSD was given up; now the card's reader fails and the old SSD is there.
    let mut evidence = seen(vec![ssd(whole(2, "ssd"))]);
    evidence.disks[0].is_boot = true;
    evidence.session.pulled = pulled("card-04", 3, "SD32G, 500 GB");
    let decision = now(&evidence);
    assert!(matches!(held(&decision), Held::Pulled { .. }));
    assert_eq!(decision.action, None);
}

#[test]
fn a_disk_pulled_for_good_may_be_given_up_like_a_missing_one() {
    let mut evidence = seen(vec![card_superseded()]);
    evidence.session.pulled = pulled("ssd", 2, "T7, 500 GB");
    assert!(matches!(now(&evidence).question, Some(Question::GiveUp { sure: false, .. })));
    assert!(matches!(yes(&mut evidence).question, Some(Question::GiveUp { sure: true, .. })));
    assert!(matches!(yes(&mut evidence).action, Some(Action::NoteJump { .. })));
    // The card is alive then; the disk that was pulled no longer counts.
    evidence.disks = vec![card(whole(3, "card-04"))];
    assert_eq!(now(&evidence).action, Some(check("card-04")));
}

#[test]
fn damage_stops_writing_and_repair_is_asked_for() {
    let mut evidence = seen(vec![card(whole(1, "card-04"))]);
    evidence.session.checked.insert(VolumeId::new("card-04"), CheckResult::Damaged);
    let decision = now(&evidence);
    assert!(matches!(held(&decision), Held::Damaged { .. }));
    assert_eq!(decision.action, None);
    let order = Action::Check { volume: VolumeId::new("card-04"), repair: true };
    assert_eq!(yes(&mut evidence).action, Some(order));
}

#[test]
fn a_place_that_cannot_be_read_is_checked_before_it_is_given_up_on() {
    let mut evidence = seen(vec![card(Holds::Unreadable("the file system does not mount".to_owned()))]);
    assert_eq!(now(&evidence).action, Some(check("card-04")));
    evidence.session.checked.insert(VolumeId::new("card-04"), CheckResult::Damaged);
    assert!(matches!(now(&evidence).question, Some(Question::Repair { .. })));
    evidence.session.checked.insert(VolumeId::new("card-04"), CheckResult::Mended);
    let decision = now(&evidence);
    assert!(matches!(held(&decision), Held::Unreadable { .. }));
    assert_eq!(decision.action, None);
}

#[test]
fn what_is_not_ours_on_the_place_for_data_is_not_touched() {
    let decision = now(&seen(vec![card(Holds::Foreign("ext4 \"music\"".to_owned()))]));
    assert!(matches!(held(&decision), Held::Foreign { .. }));
    assert_eq!((&decision.action, &decision.question), (&None, &None));
    // A later program's mark is not overruled, nor a copy made by hand.
    let decision = now(&seen(vec![card(Holds::Marked(b"{\"format\":2}".to_vec()))]));
    assert!(matches!(held(&decision), Held::Unreadable { why, .. } if why.contains("later version")));
    let decision = now(&seen(vec![card(whole(1, "elsewhere"))]));
    assert!(matches!(held(&decision), Held::Foreign { .. }));
    assert_eq!((&decision.action, &decision.question), (&None, &None));
}

#[test]
fn without_a_place_on_the_boot_disk_nothing_is_begun() {
    let bare = SeenDisk { volumes: Vec::new(), ..card(Holds::Nothing) };
    for disks in [vec![], vec![bare], vec![ssd(whole(2, "ssd"))]] {
        let decision = now(&seen(disks));
        assert_eq!((held(&decision), &decision.action), (&Held::NoPlace, &None));
    }
}

#[test]
fn a_move_goes_by_steps_and_the_source_is_alive_until_it_says_otherwise() {
    let from = place_of("card-04", 1, "SD32G, 500 GB");
    let target = |state| ssd(marked(&identity(US, 2, "ssd", state)));
    let receiving = target(CopyState::Receiving { from: from.clone() });
    let mut evidence = running(vec![card(whole(1, "card-04")), receiving], "card-04");
    assert_eq!(now(&evidence).action, Some(Action::StopWriters));
    evidence.session.writers_stopped = true;
    let (one, other) = (VolumeId::new("card-04"), VolumeId::new("ssd"));
    assert_eq!(now(&evidence).action, Some(Action::Copy { from: one.clone(), to: other.clone() }));
    evidence.session.copied = Some((one.clone(), other.clone()));
    let verified = identity(US, 2, "ssd", CopyState::Verified { from: from.clone() });
    let order = Action::Mark { volume: other.clone(), identity: verified };
    assert_eq!(now(&evidence).action, Some(order));
    evidence.disks[1] = target(CopyState::Verified { from: from.clone() });
    let superseded = CopyState::Superseded { by: place_of("ssd", 2, "T7, 500 GB") };
    let order = Action::Mark { volume: one.clone(), identity: identity(US, 1, "card-04", superseded) };
    assert_eq!(now(&evidence).action, Some(order));
    // Cut here, before that mark: the card is alive, and has been written since. The copy starts over.
    evidence.session.copied = None;
    assert_eq!(now(&evidence).action, Some(Action::Copy { from: one, to: other.clone() }));
    // Cut after that mark: the SSD is alive, and says so first.
    evidence.disks[0] = card_superseded();
    assert_eq!(now(&evidence).action, Some(Action::Unmount { torn_off: false }));
    evidence.live = None;
    let order = Action::Mark { volume: other, identity: identity(US, 2, "ssd", CopyState::Whole) };
    assert_eq!(now(&evidence).action, Some(order));
}

#[test]
fn a_half_moved_disk_is_no_data_without_its_source() {
    let from = place_of("card-04", 1, "SD32G, 32 GB");
    for state in [CopyState::Receiving { from: from.clone() }, CopyState::Verified { from: from.clone() }] {
        let boot = SeenDisk { is_boot: true, ..ssd(marked(&identity(US, 2, "ssd", state))) };
        let decision = now(&seen(vec![boot]));
        assert_eq!(held(&decision), &Held::Missing { disk: "SD32G, 32 GB".to_owned() });
        assert_eq!(decision.action, None);
    }
}

#[test]
fn a_copy_of_a_source_that_went_on_elsewhere_is_not_gone_on_with() {
    // The move was cut; then the SSD was away, the card was given a higher generation, and the SSD is back.
    let from = place_of("card-04", 1, "SD32G, 500 GB");
    let stale = ssd(marked(&identity(US, 2, "ssd", CopyState::Verified { from })));
    let evidence = running(vec![card(whole(3, "card-04")), stale], "card-04");
    let decision = now(&evidence);
    assert!(matches!(decision.state, DataState::Live { .. }));
    assert!(matches!(decision.question, Some(Question::UseDisk { contents: Some(_), .. })));
}

#[test]
fn a_move_that_fails_leaves_the_data_where_it_is_and_says_so() {
    let from = place_of("card-04", 1, "SD32G, 500 GB");
    let target = ssd(marked(&identity(US, 2, "ssd", CopyState::Receiving { from })));
    let mut evidence = running(vec![card(whole(1, "card-04")), target], "card-04");
    let (one, other) = (VolumeId::new("card-04"), VolumeId::new("ssd"));
    let superseded = CopyState::Superseded { by: place_of("ssd", 2, "T7, 500 GB") };
    let orders = [
        Action::Copy { from: one.clone(), to: other.clone() },
        Action::Check { volume: other, repair: false },
        Action::Mark { volume: one, identity: identity(US, 1, "card-04", superseded) },
        Action::StopWriters,
    ];
    for order in orders {
        evidence.session.failed = vec![(order.clone(), "no room".to_owned())];
        let decision = now(&evidence);
        assert!(matches!(decision.state, DataState::Live { .. }), "{order:?}");
        assert_eq!(decision.action, None);
        assert!(decision.notes.iter().any(|note| matches!(note, Note::MoveFailed { .. })), "{order:?}");
    }
}

#[test]
fn an_order_that_failed_is_held_with_its_reason_and_not_given_at_once_again() {
    let mut evidence = seen(vec![card(whole(1, "card-04"))]);
    let order = now(&evidence).action.unwrap();
    evidence.session.failed.push((order, "the card does not answer".to_owned()));
    let decision = now(&evidence);
    assert_eq!(held(&decision), &Held::Failed { why: "the card does not answer".to_owned() });
    assert_eq!(decision.action, None);
}

#[test]
fn every_title_fits_its_bar_and_every_text_its_five_lines() {
    let disk = || "T7, 500 GB".to_owned();
    let missing = place_of("ssd", 2, "T7, 500 GB");
    let use_disk = |contents: Option<&str>, sure| {
        let contents = contents.map(str::to_owned);
        Question::UseDisk { disk: blank_ssd(), contents, sure }
    };
    let keep = || VolumeId::new("card-04");
    let give_up = |sure| Question::GiveUp { missing: missing.clone(), keep: keep(), keep_disk: disk(), sure };
    let questions = [
        use_disk(None, false),
        use_disk(Some("NTFS"), false),
        use_disk(Some("NTFS"), true),
        Question::Adopt { disk: blank_ssd() },
        give_up(false),
        give_up(true),
        Question::BeginNew { missing: missing.clone() },
        Question::Repair { volume: keep(), disk: disk() },
    ];
    let helds = [
        Held::Missing { disk: disk() },
        Held::Pulled { disk: disk() },
        Held::FoundData { disk: disk() },
        Held::Alike { one: disk(), other: disk() },
        Held::TwoBoxes { one: disk(), other: disk() },
        Held::TwoBootDisks { one: disk(), other: disk() },
        Held::Damaged { disk: disk() },
        Held::Unreadable { disk: disk(), why: "it does not mount".to_owned() },
        Held::Foreign { disk: disk(), contents: "NTFS".to_owned() },
        Held::NoPlace,
        Held::Failed { why: "the card does not answer".to_owned() },
    ];
    let mut said = Vec::new();
    for held in helds {
        let decision =
            Decision { state: DataState::Held(held), question: None, notes: Vec::new(), action: None };
        let control::placement::Placement::Held { title, why } = status(&decision, 0, 1).data else {
            panic!("{decision:?}")
        };
        said.push((title, why));
    }
    for question in questions {
        let decision = Decision {
            state: DataState::Starting,
            question: Some(question),
            notes: Vec::new(),
            action: None,
        };
        let question = status(&decision, 0, 1).question.unwrap();
        said.push((question.title, question.text));
    }
    for (title, text) in said {
        assert!(title.len() <= crate::screen::TITLE_COLUMNS, "{title}");
        assert!(crate::screen::lines_of(&text) <= 5, "{text}");
    }
}
