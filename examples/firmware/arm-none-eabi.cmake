# Toolchain file: arm-none-eabi-gcc for a Cortex-M4 with a single-precision FPU.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR cortex-m4)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_C_FLAGS_INIT "-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard")
set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug, MinSizeRel")
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY) # a program needs this board's linker script
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
