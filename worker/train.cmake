# kiban_comm: MPI and nothing else. kiban_trainer: what turns a model into a training job. kiban-worker: the executable.
find_package(MPI REQUIRED COMPONENTS CXX)

kiban_room(comm
  SOURCES comm/flat_exchange.cpp comm/group.cpp comm/mpi_environment.cpp
  LINK kiban::monitoring MPI::MPI_CXX)
kiban_room(trainer
  SOURCES optim/sharded_optimizer.cpp parallel/mesh.cpp parallel/parallelize.cpp parallel/sharding.cpp
  LINK kiban::comm kiban::model kiban::checkpoint kiban::data kiban::job kiban::config kiban::protocol)
