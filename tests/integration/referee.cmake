# The PyTorch referee of a trained checkpoint.
add_executable(checkpoint_logits checkpoint_logits.cpp)
set_target_properties(checkpoint_logits PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
target_link_libraries(checkpoint_logits PRIVATE kiban::trainer)
foreach(layout gpt2 llama)
  add_test(NAME integration.checkpoint_logits_${layout}
           COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/checkpoint_logits.sh ${layout} $<TARGET_FILE:checkpoint_logits>)
  set_tests_properties(integration.checkpoint_logits_${layout} PROPERTIES TIMEOUT 300 LABELS integration RUN_SERIAL ON
                       ENVIRONMENT "KIBAN=$<TARGET_FILE:kiban>")
endforeach()

# Out to safetensors and back, with an independent reader and model.
foreach(way trained foreign tokens)
  foreach(layout gpt2 llama)
    if(way STREQUAL tokens AND layout STREQUAL gpt2)
      continue()  # the tokenizer is the same for both
    endif()
    add_test(NAME integration.interchange_${way}_${layout}
             COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/interchange.sh ${way} ${layout} $<TARGET_FILE:checkpoint_logits>)
    set_tests_properties(integration.interchange_${way}_${layout} PROPERTIES TIMEOUT 300 LABELS integration RUN_SERIAL ON
                         ENVIRONMENT "KIBAN=$<TARGET_FILE:kiban>")
  endforeach()
endforeach()
