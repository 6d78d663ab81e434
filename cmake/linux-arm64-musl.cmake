# ARM64 Linux with musl, everything linked in, by zig (SEGWAL_ZIG is the path of its program), its tests run by
# qemu-aarch64-static.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CROSSCOMPILING TRUE)
set(CMAKE_CXX_COMPILER "$ENV{SEGWAL_ZIG}" c++)
set(CMAKE_C_COMPILER "$ENV{SEGWAL_ZIG}" cc)
set(CMAKE_CXX_FLAGS_INIT "-target aarch64-linux-musl -fno-sanitize=undefined")
set(CMAKE_C_FLAGS_INIT "-target aarch64-linux-musl -fno-sanitize=undefined")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
