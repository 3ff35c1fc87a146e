# Tests of comm/, parallel/, optim/ and train/, most of them under mpirun.
add_library(kiban_mpi_main STATIC ${PROJECT_SOURCE_DIR}/tests/support/mpi_main.cpp)
target_link_libraries(kiban_mpi_main PUBLIC kiban::comm GTest::gtest)

kiban_test(worker_comm_test
  SOURCES comm_exchange_test.cpp comm_group_test.cpp comm_late_rounds_test.cpp comm_thread_test.cpp comm_traffic_test.cpp
  LINK kiban_mpi_main RANKS 1 2 4 HOSTS 2,1,1 TIMEOUT 300)

kiban_test(worker_comm_nodes_test
  SOURCES comm_nodes_test.cpp
  LINK kiban_mpi_main RANKS 4 8 TIMEOUT 300)

kiban_test(worker_comm_pieces_test
  SOURCES comm_shared_counter_test.cpp comm_tree_sum_test.cpp
  LINK kiban::comm)

kiban_test(worker_parallel_test
  SOURCES parallel_test.cpp
  LINK kiban::trainer)

kiban_test(worker_axes_test
  SOURCES parallel_axes_test.cpp parallel_bf16_test.cpp parallel_expectations.cpp parallel_training.cpp
  LINK kiban_mpi_main kiban::trainer RANKS 1 2 4 8 TIMEOUT 300)
# Eight ranks share two cores: three axes at once are for each change, the rest for changes of axes.
set_tests_properties(worker_axes_test.np8 PROPERTIES LABELS "unit;mpi;soak")
add_test(NAME worker_axes_test.three_axes.np8
         COMMAND ${PROJECT_SOURCE_DIR}/tests/support/mpirun.sh 8 $<TARGET_FILE:worker_axes_test>
                 --gtest_filter=*EveryCombinationTrainsTheUncutModel/*)
set_tests_properties(worker_axes_test.three_axes.np8 PROPERTIES TIMEOUT 300 LABELS "unit;mpi" PROCESSORS 2
                     ENVIRONMENT "KIBAN_EXPECTED_RANKS=8")

kiban_test(worker_axes_over
  SOURCES parallel_hosts_test.cpp parallel_expectations.cpp parallel_training.cpp
  LINK kiban_mpi_main kiban::trainer HOSTS 2,1,1 TIMEOUT 400)

kiban_test(worker_device_training_test
  SOURCES device_training_test.cpp guarded_device.cpp optim_checkpoints.cpp parallel_expectations.cpp parallel_training.cpp
  LINK kiban_mpi_main kiban::trainer RANKS 1 2 4 TIMEOUT 300)

# The same on two nodes of two ranks.
add_test(NAME worker_device_training_test.by_node.np4
         COMMAND ${PROJECT_SOURCE_DIR}/tests/support/mpirun.sh 4 $<TARGET_FILE:worker_device_training_test>
                 --gtest_filter=*ADeviceThatTheHostCannotTouch*)
set_tests_properties(worker_device_training_test.by_node.np4 PROPERTIES TIMEOUT 300 LABELS "unit;mpi" PROCESSORS 2
                     ENVIRONMENT "KIBAN_EXPECTED_RANKS=4;KIBAN_RANKS_PER_NODE=2")
# Two ranks are for each change, along the axes with one layout; the others for changes of devices: ctest -R worker_device_training
set_tests_properties(worker_device_training_test.np2 PROPERTIES
                     ENVIRONMENT "KIBAN_EXPECTED_RANKS=2;GTEST_FILTER=-*ADeviceThatTheHostCannotTouch*/gpt2")
add_test(NAME worker_device_training_test.gpt2.np2
         COMMAND ${PROJECT_SOURCE_DIR}/tests/support/mpirun.sh 2 $<TARGET_FILE:worker_device_training_test>
                 --gtest_filter=*ADeviceThatTheHostCannotTouch*/gpt2)
set_tests_properties(worker_device_training_test.gpt2.np2 PROPERTIES PROCESSORS 2 ENVIRONMENT "KIBAN_EXPECTED_RANKS=2")
set_tests_properties(worker_device_training_test.np1 worker_device_training_test.gpt2.np2 worker_device_training_test.np4
                     worker_device_training_test.by_node.np4
                     PROPERTIES LABELS "unit;mpi;soak" TIMEOUT 900)

kiban_test(worker_bytes_test
  SOURCES parallel_bytes_test.cpp parallel_training.cpp
  LINK kiban_mpi_main kiban::trainer RANKS 2 4)

kiban_test(worker_optim_test
  SOURCES optim_checkpoints.cpp optim_load_test.cpp optim_muon_test.cpp optim_sharded_test.cpp parallel_training.cpp
  LINK kiban_mpi_main kiban::trainer RANKS 1 2 4 TIMEOUT 300)

kiban_test(worker_health_test
  SOURCES health_test.cpp parallel_training.cpp
  LINK kiban_mpi_main kiban::trainer RANKS 1 2 4)

kiban_test(worker_train_test
  SOURCES train_conductor.cpp train_jobs_test.cpp train_pieces_test.cpp train_refused_test.cpp
          train_saving_test.cpp train_small_run.cpp
  LINK kiban_mpi_main kiban::trainer RANKS 1 2 TIMEOUT 300)

# Whole jobs, resumes to the bit among them, with the kernels of GPUs.
add_test(NAME worker_train_test.aten.np2
         COMMAND ${PROJECT_SOURCE_DIR}/tests/support/mpirun.sh 2 $<TARGET_FILE:worker_train_test> --gtest_filter=Jobs.*)
set_tests_properties(worker_train_test.aten.np2 PROPERTIES TIMEOUT 300 LABELS "unit;mpi" PROCESSORS 2
                     ENVIRONMENT "KIBAN_EXPECTED_RANKS=2;KIBAN_TEST_KERNELS=aten")

kiban_test(worker_stacks_test
  SOURCES train_stacks_test.cpp ${PROJECT_SOURCE_DIR}/worker/train/stacks.cpp
  LINK kiban::monitoring)

kiban_test(worker_process_test
  SOURCES train_process_test.cpp train_small_run.cpp
  LINK kiban::config kiban::protocol TIMEOUT 300)
add_dependencies(worker_process_test kiban-worker)
