kiban_test(coordinator_protocol_test
  SOURCES protocol_channel_test.cpp protocol_messages_test.cpp protocol_silence_test.cpp protocol_whereabouts_test.cpp
  LINK kiban::protocol)
kiban_test(coordinator_run_test
  SOURCES launch_environment_test.cpp launch_facts_test.cpp launch_launcher_test.cpp run_board_test.cpp run_curve_events_test.cpp run_disk_test.cpp run_files_test.cpp run_history_test.cpp run_interval_test.cpp run_lease_test.cpp launch_hosts_test.cpp
          run_hosts_in_use_test.cpp run_membership_test.cpp
          run_policy_disk_test.cpp run_policy_test.cpp run_progress_watch_test.cpp run_replay_test.cpp run_rollback_test.cpp run_requests_test.cpp run_save_test.cpp run_step_trace_test.cpp run_time_limit_test.cpp run_upkeep_test.cpp ${PROJECT_SOURCE_DIR}/tests/support/crash_states.cpp
          ${PROJECT_SOURCE_DIR}/tests/support/model_file_system.cpp
  LINK kiban::coordinator checkpoint_small_model
  TIMEOUT 600)
kiban_test(coordinator_interchange_test
  SOURCES run_interchange_test.cpp run_tokenizer_test.cpp
  LINK kiban::coordinator
  TIMEOUT 300)
