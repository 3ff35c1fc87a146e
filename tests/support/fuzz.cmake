# kiban_fuzz(NAME SOURCE LINK [EXECUTIONS]): NAME_fuzz replays its corpus and 20 000 mutations in the suite, five million as soak. With the
# sanitizers: cmake --preset asan && cmake --build build/asan --target NAME_fuzz
add_library(kiban_fuzz STATIC ${PROJECT_SOURCE_DIR}/tests/support/fuzz.cpp)
target_link_libraries(kiban_fuzz PUBLIC kiban::monitoring)

function(kiban_fuzz name source link)
  set(executions 20000)
  if(ARGC GREATER 3)
    set(executions ${ARGV3})
  endif()
  add_executable(${name}_fuzz ${source})
  target_link_libraries(${name}_fuzz PRIVATE ${link} kiban_fuzz)
  set_target_properties(${name}_fuzz PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  add_test(NAME fuzz_${name} COMMAND ${name}_fuzz ${executions})
  set(timeout 120)
  if(KIBAN_SANITIZE)  # much slower
    set(timeout 1800)
  endif()
  set_tests_properties(fuzz_${name} PROPERTIES LABELS "unit;fuzz" TIMEOUT ${timeout})
  add_test(NAME fuzz_${name}_soak COMMAND ${name}_fuzz 5000000 2)
  set_tests_properties(fuzz_${name}_soak PROPERTIES LABELS "soak;fuzz" TIMEOUT 7200)
endfunction()
