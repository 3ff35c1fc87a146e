# kiban_comm: MPI and nothing else. kiban_trainer: what turns a model into a training job. kiban-worker: the executable.
find_package(MPI REQUIRED COMPONENTS CXX)

kiban_room(comm
  SOURCES comm/comm_thread.cpp comm/flat_exchange.cpp comm/group.cpp comm/handle.cpp comm/mpi_environment.cpp
          comm/node_exchange.cpp comm/nodes.cpp
          comm/point_to_point.cpp comm/shared_counter.cpp comm/shared_exchange.cpp comm/shared_window.cpp comm/staged_verbs.cpp
          comm/trace.cpp comm/traffic.cpp comm/tree_sum.cpp comm/verbs.cpp
  LINK kiban::monitoring MPI::MPI_CXX)

kiban_room(trainer
  SOURCES optim/muon_update.cpp optim/optimizer_state.cpp optim/sharded_optimizer.cpp optim/update_watch.cpp
          parallel/bucket_pool.cpp parallel/gradient_tree.cpp parallel/mesh.cpp parallel/parallelize.cpp
          parallel/pipeline_schedule.cpp parallel/tensor_linear.cpp parallel/zero_sharding.cpp
          preflight/preflight.cpp preflight/training_bits.cpp
          train/compute_device.cpp train/control.cpp train/evaluation.cpp train/generation.cpp train/health.cpp train/initial_state.cpp train/job_corpus.cpp train/jobs.cpp
          train/launched_as.cpp train/loading.cpp train/memory_limit.cpp train/passes.cpp train/rows.cpp train/runtime.cpp
          train/saving.cpp train/stacks.cpp train/step_traffic.cpp train/trainer.cpp train/trainer_refusals.cpp
  LINK kiban::comm kiban::model kiban::checkpoint kiban::data kiban::job kiban::config kiban::protocol)

add_executable(kiban-worker main.cpp)
target_link_libraries(kiban-worker PRIVATE kiban::trainer)
set_target_properties(kiban-worker PROPERTIES ENABLE_EXPORTS TRUE)  # stacks show names (train/stacks.h)
