//! What every engine must do, as cases that an engine's tests run: see [`conformance_suite`].
//!
//! [`conformance_suite`]: crate::conformance_suite
#![expect(missing_docs, reason = "the name of a case is the sentence that it proves")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

pub mod attachment;
pub mod attribute;
pub mod freeze;
pub mod identity;
pub mod image;
pub mod launch;
pub mod launch_volumes;
pub mod network;
pub mod node;
pub mod observe;
pub mod paused;
pub mod power;
pub mod quarantine;
pub mod random;
pub mod read_only;
pub mod retention;
pub mod schedule;
pub mod scheduled_freeze;
pub mod scratch;
mod site;
pub mod snapshot;
pub mod snapshot_image;
pub mod snapshot_root;
pub mod snapshot_test;
pub mod tag;
pub mod volume;
pub mod volume_end;
pub mod volume_move;
pub mod volume_root;
pub mod world;

/// Expands to one test a case. The argument is an async function without arguments that returns a
/// new, empty `Arc<dyn Db>` and whatever must outlive it, for example its directory.
#[macro_export]
macro_rules! conformance_suite {
    ($open:path) => {
        $crate::conformance_suite! { @cases $open;
            identity: a_new_database_is_in_epoch_one, a_project_comes_with_its_network,
                names_of_projects_and_users_are_unique, a_project_in_use_is_not_deleted,
                access_keys_need_their_parents_and_stay_in_their_project,
                audit_is_newest_first_and_limited, no_audit_records_push_others_out;
            image: images_are_seen_by_their_project_or_by_all_if_public,
                a_withdrawn_image_frees_its_name_but_not_a_running_guests_digest,
                imports_complete_with_their_image_and_fail_at_a_restart,
                a_token_begins_one_import, parallel_repeats_begin_one_import;
            tag: tags_are_set_replaced_removed_and_limited, only_what_the_project_has_is_tagged,
                every_kind_of_resource_is_tagged_until_it_is_gone, tags_of_an_instance_grow_its_node,
                key_pairs_have_unique_names_and_stay_in_their_project,
                a_rehearsed_change_answers_and_leaves_nothing;
            network: rules_change_all_or_nothing, rules_are_limited_in_each_direction,
                parallel_changes_never_exceed_the_limit_of_rules, groups_in_use_stay,
                a_foreign_group_is_not_found, vpc_parts_name_ports_nodes_and_groups;
            node: enrolment_is_bound_to_the_first_machine, a_certificate_counts_once_it_is_used,
                a_new_underlay_address_is_news_to_the_vpcs, an_expunged_node_is_final,
                reports_change_only_what_differs, every_acknowledged_change_of_a_node_is_told;
            launch: a_launch_is_read_back_whole, what_is_told_of_many_is_what_is_read,
                a_launch_finds_what_it_names_in_its_own_project, a_token_makes_one_reservation,
                a_refused_launch_leaves_nothing, quotas_count_stopped_instances,
                a_full_drained_or_lost_node_is_refused, overcommit_multiplies_capacity,
                spread_groups_share_no_node, addresses_are_lowest_free_and_return,
                a_full_subnet_and_pool_say_so, missing_parents_are_named,
                the_lowest_public_address_is_taken_again_whatever_the_pool_is,
                parallel_launches_never_exceed_capacity, parallel_repeats_make_one_reservation,
                filters_select_within_the_project, a_listing_shows_every_acknowledged_change;
            power: stop_start_and_terminate_follow_the_states, reboot_is_for_running_instances,
                protection_refuses_all_of_the_call, starting_takes_capacity_again,
                foreign_instances_are_not_found;
            attribute: sizes_and_user_data_need_a_stopped_instance, groups_must_be_in_the_vpc,
                all_changes_of_a_call_are_made_or_none, only_what_a_node_sees_grows_generations;
            observe: a_transition_needs_its_state, an_adoption_needs_its_state, gone_releases_everything,
                only_changes_of_a_part_grow_it, a_vpc_that_returns_has_a_newer_generation,
                an_expunge_ends_what_was_there, an_expunge_gives_every_address_back,
                a_node_part_has_all_that_its_placements_name;
            retention: terminated_instances_are_purged_after_a_while, audit_is_purged_by_age_in_batches,
                ended_imports_are_purged_and_active_ones_stay, ended_join_tokens_are_purged_used_or_not;
            launch_volumes: a_launch_brings_its_volumes, a_launch_whose_volumes_cannot_be_leaves_nothing,
                a_launch_takes_local_pools_of_its_own_node_only;
            volume_root: what_boots_from_a_volume_has_no_place_while_it_is_stopped,
                a_place_is_taken_whole_or_not_at_all, volumes_come_and_go_while_it_is_in_no_place,
                what_it_shares_moves_with_it_alone, it_ends_from_no_place_too, a_given_up_host_stops_what_boots_from_another_one,
                what_boots_from_a_given_up_host_can_only_end, what_is_all_on_a_given_up_host_ends_with_it,
                an_image_is_kept_until_its_volumes_are_made, what_was_on_its_way_out_is_not_held_by_a_given_up_host,
                one_that_waits_for_a_lost_root_ends_or_stops, its_owners_word_counts_on_a_given_up_host_too,
                an_adoption_parks_it;
            scratch: scratch_disks_take_of_their_node_until_the_placement_is_gone,
                scratch_disks_of_what_boots_from_a_volume_are_where_it_is,
                no_volume_comes_to_the_place_of_a_scratch_disk;
            snapshot: snapshots_are_taken_together_and_volumes_made_of_them,
                a_copy_of_a_snapshot_has_a_life_of_its_own, a_copy_goes_to_an_open_pool_of_any_host,
                what_is_shared_is_used_by_others_and_changed_by_its_owner_alone,
                a_snapshot_is_not_held_by_what_others_make_of_it;
            snapshot_image: a_snapshot_of_an_image_holds_its_digest_until_it_is_there,
                a_snapshot_is_made_of_an_image_that_its_project_may_launch;
            snapshot_root: a_local_root_goes_to_the_pool_of_its_row_and_is_asked_of_its_node,
                a_local_root_has_snapshots_as_long_as_its_instance_is_to_stay;
            freeze: snapshots_are_told_once_their_guest_holds_still_and_completed_once_it_held,
                a_freeze_that_fails_fails_its_snapshots_and_no_others, a_freeze_is_of_one_running_guest,
                a_freeze_that_nobody_ends_is_ended, a_copy_of_what_held_still_is_what_held_still;
            paused: several_volumes_of_an_instance_wait_until_it_is_paused,
                what_no_other_volume_has_to_wait_for_is_taken_at_once,
                a_guest_is_paused_for_one_at_once_and_for_whole_calls_alone;
            schedule: a_schedule_serves_each_time_once, a_schedule_keeps_its_newest_and_touches_no_others,
                schedules_are_their_projects_and_limited;
            scheduled_freeze: a_schedule_has_each_guest_hold_still_once_for_all_its_volumes,
                a_schedule_takes_its_snapshots_whatever_becomes_of_the_freeze,
                a_schedule_takes_its_snapshots_of_an_instance_that_stops_or_ends;
            snapshot_test: a_test_is_ordered_once_and_its_word_counts_once, what_a_first_test_found_every_later_one_must_find,
                a_schedule_tests_its_newest_at_each_time_once, a_schedule_whose_tests_do_not_end_is_overdue,
                a_time_with_nothing_to_test_is_served, what_its_host_took_with_it_waits_for_no_test;
            quarantine: what_is_removed_is_kept_until_its_host_has_unlinked_it,
                what_the_books_refer_to_is_never_ordered_to_be_unlinked;
            volume_end: an_end_is_warned_of_and_carried_out_as_it_was_read, one_that_many_read_ends_once, an_end_is_set_anew_and_taken_away;
            volume_move: a_volume_moves_whole_and_is_the_same, whoever_uses_a_volume_ends_its_move,
                a_move_is_refused_where_it_cannot_be, what_a_move_copies_is_nobodys,
                a_given_up_host_takes_no_volume_with_it_that_is_whole_elsewhere,
                a_volume_turns_back_from_a_host_that_is_given_up,
                a_volume_goes_back_that_had_all_but_arrived_on_a_host_that_is_given_up,
                it_leaves_only_while_both_hosts_are_heard_and_after_its_snapshots_are_taken,
                a_volume_whose_copy_is_whole_goes_there_when_its_host_is_given_up,
                a_copy_that_fails_leaves_the_volume_as_it_was, a_drained_pool_tells_what_it_holds_until_it_is_opened;
            attachment: an_attachment_is_free_again_only_once_its_export_is_fenced, by_force_a_volume_is_fenced_without_its_guest, what_was_never_open_is_detached_without_its_guest, a_detachment_names_what_is_attached, a_refused_attachment_leaves_nothing, of_parallel_attachments_one_wins, a_local_volume_is_for_instances_on_its_node, volumes_of_an_instance_that_ends_are_fenced_and_go_if_they_should, only_its_owners_word_ends_a_volume, a_detached_volume_outlives_its_instance;
            read_only: readers_share_a_volume_and_leave_it_one_by_one, a_volume_has_readers_or_one_writer,
                of_parallel_readers_as_many_win_as_may, a_switch_races_with_attachments_and_one_access_wins,
                a_reader_that_ends_leaves_the_others_and_the_last_takes_the_volume,
                a_given_up_host_is_shut_out_alone, a_volume_of_a_given_up_host_leaves_all_that_read_it,
                every_reader_is_held_to_its_limits_and_none_sees_it_grow;
            volume: pools_have_their_own_name_and_folder, a_volume_is_there_once_its_host_says_so_and_gone_once_it_says_that, a_volume_that_can_never_be_made_says_why_and_can_be_deleted, a_token_creates_one_volume, a_refused_volume_leaves_nothing, a_volume_grows_and_never_shrinks, a_volume_in_use_has_grown_once_its_guest_sees_it, limits_are_changed_once_the_guest_is_held_to_them, a_nodes_exports_are_those_of_its_guests, a_storage_part_has_all_that_is_in_its_pools, what_failed_is_told_and_changes_nothing_else, a_project_with_volumes_is_not_deleted, what_a_given_up_host_had_is_lost_and_can_be_deleted;
        }

        #[test]
        fn random_verbs_keep_the_invariants() {
            let runtime = ::tokio::runtime::Runtime::new().unwrap();
            $crate::conformance::random::random_verbs_keep_the_invariants(|verbs| {
                runtime.block_on(async {
                    let (db, _alive) = $open().await;
                    $crate::conformance::random::run(db, verbs).await
                })
            });
        }
    };
    (@cases $open:path; $($module:ident: $($case:ident),+;)+) => {$($(
        #[tokio::test(flavor = "multi_thread")]
        async fn $case() {
            let (db, _alive) = $open().await;
            $crate::conformance::$module::$case(db).await;
        }
    )+)+};
}
