# find_package(tinycc_nn) gives the command tinycc_nn_add_model. `tinycc-nn cmake-dir` prints the
# folder of this file, for tinycc_nn_DIR or CMAKE_PREFIX_PATH.
cmake_policy(VERSION 3.20)

# <prefix>/lib/pythonX.Y/site-packages/tinycc_nn/cmake: the command of the same installation first.
find_program(
  TINYCC_NN_EXECUTABLE tinycc-nn
  HINTS "${CMAKE_CURRENT_LIST_DIR}/../../../../../bin"
        "${CMAKE_CURRENT_LIST_DIR}/../../../../Scripts"
  DOC "The tinycc-nn compiler"
  NO_CMAKE_FIND_ROOT_PATH
)
if(NOT TINYCC_NN_EXECUTABLE)
  set(tinycc_nn_FOUND FALSE)
  set(tinycc_nn_NOT_FOUND_MESSAGE
      "the command tinycc-nn is not on the PATH: activate the Python environment that has it, or set TINYCC_NN_EXECUTABLE"
  )
  return()
endif()

# tinycc_nn_add_model(TARGET target MODEL file.onnx NAME name
#                     (CPU cortex-m4 | TARGET_BOARD nucleo-l4r5zi)
#                     [OPT -O2] [CALIB samples.npz[:array]] [DTYPE int8|float32] [ARGS ...])
#
# Compiles a network to C in the binary folder, again only when its inputs or the compiler change,
# and adds the C and its include folder to `target`. Relative files are those of the source folder.
# ARGS go to `tinycc-nn compile` as they are.
function(tinycc_nn_add_model)
  cmake_parse_arguments(
    PARSE_ARGV 0 arg "" "TARGET;MODEL;NAME;CPU;TARGET_BOARD;OPT;CALIB;DTYPE" "ARGS"
  )
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tinycc_nn_add_model: unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  foreach(key TARGET MODEL NAME)
    if(NOT arg_${key})
      message(FATAL_ERROR "tinycc_nn_add_model: ${key} is missing")
    endif()
  endforeach()
  if(NOT TARGET ${arg_TARGET})
    message(FATAL_ERROR "tinycc_nn_add_model: there is no target '${arg_TARGET}'")
  endif()
  if((arg_CPU AND arg_TARGET_BOARD) OR NOT (arg_CPU OR arg_TARGET_BOARD))
    message(FATAL_ERROR "tinycc_nn_add_model: give CPU or TARGET_BOARD, and not both")
  endif()

  get_filename_component(model "${arg_MODEL}" ABSOLUTE)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/tinycc_nn/${arg_NAME}")
  set(inputs "${model}")
  set(options --name "${arg_NAME}")
  if(arg_CPU)
    list(APPEND options "-mcpu=${arg_CPU}")
  else()
    list(APPEND options --target "${arg_TARGET_BOARD}")
  endif()
  if(arg_OPT)
    list(APPEND options "${arg_OPT}")
  endif()
  if(arg_DTYPE)
    list(APPEND options --dtype "${arg_DTYPE}")
  endif()
  if(arg_CALIB)
    get_filename_component(calib "${arg_CALIB}" ABSOLUTE)
    list(APPEND options --calib "${calib}")
    string(REGEX REPLACE "\\.npz:.*$" ".npz" calib_file "${calib}")
    list(APPEND inputs "${calib_file}")
  endif()

  set(sources "${folder}/${arg_NAME}.c" "${folder}/${arg_NAME}_data.c")
  add_custom_command(
    OUTPUT ${sources} "${folder}/${arg_NAME}.h"
    COMMAND "${TINYCC_NN_EXECUTABLE}" compile "${model}" -o "${folder}" ${options} -MD -MF
            "${folder}/${arg_NAME}.d" ${arg_ARGS}
    DEPENDS ${inputs} "${TINYCC_NN_EXECUTABLE}"
    DEPFILE "${folder}/${arg_NAME}.d"
    COMMENT "Compiling the network ${arg_NAME}"
    VERBATIM
  )
  target_sources(${arg_TARGET} PRIVATE ${sources} "${folder}/${arg_NAME}.h")
  target_include_directories(${arg_TARGET} PRIVATE "${folder}")
endfunction()
