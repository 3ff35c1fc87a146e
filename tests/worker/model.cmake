# The model and its kernels. The Python tests need Debian's python3-torch, so they name its interpreter.
# Passive waiting: spinning threads starve each other when tests share the cores.
set(KIBAN_COMPUTE_ENVIRONMENT "OMP_NUM_THREADS=2" "OMP_WAIT_POLICY=passive" "MALLOC_MMAP_MAX_=0"
    "MALLOC_TRIM_THRESHOLD_=100000000000" "MALLOC_TOP_PAD_=268435456")

add_executable(reference_run reference_run.cpp device_environment.cpp)
set_target_properties(reference_run PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
target_link_libraries(reference_run PRIVATE kiban::model nlohmann_json::nlohmann_json)
foreach(case gpt2 llama zloss-gpt2 documents-gpt2 documents-llama train-gpt2 train-llama adamw muon bf16-gpt2 bf16-llama
        bf16-train-gpt2 bf16-train-llama)
  add_test(NAME model_reference.${case}
           COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/reference_check.py $<TARGET_FILE:reference_run> ${case})
  set_tests_properties(model_reference.${case} PROPERTIES
    TIMEOUT 300 LABELS unit PROCESSORS 2 ENVIRONMENT "${KIBAN_COMPUTE_ENVIRONMENT}")
endforeach()
# Those of fp32 once more over LibTorch's operations, which is what runs on a GPU.
foreach(case gpt2 llama zloss-gpt2 documents-gpt2 documents-llama train-gpt2 train-llama adamw muon)
  add_test(NAME model_reference.${case}.aten
           COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/reference_check.py $<TARGET_FILE:reference_run> ${case})
  set_tests_properties(model_reference.${case}.aten PROPERTIES
    TIMEOUT 300 LABELS unit PROCESSORS 2 ENVIRONMENT "${KIBAN_COMPUTE_ENVIRONMENT};KIBAN_TEST_KERNELS=aten")
endforeach()

kiban_test(worker_model_test
  SOURCES kernels_adamw_test.cpp kernels_attention_test.cpp kernels_bf16_test.cpp kernels_elementwise_test.cpp kernels_gemm_test.cpp
          kernels_loss_test.cpp kernels_muon_test.cpp kernels_reduce_test.cpp kernels_statistics_test.cpp model_initial_values_test.cpp
          model_observer_test.cpp model_parameters_test.cpp model_transformer_test.cpp model_bf16_test.cpp device_environment.cpp
  LINK kiban::model)
set_tests_properties(worker_model_test PROPERTIES PROCESSORS 2 ENVIRONMENT "${KIBAN_COMPUTE_ENVIRONMENT}")
# As on a CPU that does not multiply bf16: oneDNN may use no more than AVX2.
add_test(NAME worker_model_test.bf16_widened COMMAND worker_model_test --gtest_filter=*Bf16*)
set_tests_properties(worker_model_test.bf16_widened PROPERTIES TIMEOUT 120 LABELS unit PROCESSORS 2
                     ENVIRONMENT "${KIBAN_COMPUTE_ENVIRONMENT};DNNL_MAX_CPU_ISA=AVX2")
# LibTorch's products have other bits for other numbers of threads, and are of fp32 alone.
add_test(NAME worker_model_test.aten
         COMMAND worker_model_test --gtest_filter=-Attention.GivesTheSameBitsForAnyNumberOfThreads:*Bf16*)
set_tests_properties(worker_model_test.aten PROPERTIES TIMEOUT 120 LABELS unit PROCESSORS 2
  ENVIRONMENT "${KIBAN_COMPUTE_ENVIRONMENT};KIBAN_TEST_KERNELS=aten")

kiban_test(worker_device_test
  SOURCES device_test.cpp guarded_device.cpp kernels_aten_test.cpp
  LINK kiban::model)

add_subdirectory(${PROJECT_SOURCE_DIR}/tests/bench ${PROJECT_BINARY_DIR}/tests/bench)
