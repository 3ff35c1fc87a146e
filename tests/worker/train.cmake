# Tests of comm/, parallel/, optim/ and train/, most of them under mpirun.
add_library(kiban_mpi_main STATIC ${PROJECT_SOURCE_DIR}/tests/support/mpi_main.cpp)
target_link_libraries(kiban_mpi_main PUBLIC kiban::comm GTest::gtest)

kiban_test(worker_comm_test
  SOURCES comm_group_test.cpp
  LINK kiban_mpi_main RANKS 1 2 4)
