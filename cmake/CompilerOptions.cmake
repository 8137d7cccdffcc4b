# Build type, warnings, sanitizers and ccache, for every target of this tree.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g")  # asserts stay on: this is the type that tests run

add_compile_options(-Wall -Wextra)
if(EV_WERROR)
  add_compile_options(-Werror)
endif()

if(EV_SANITIZE)
  add_compile_options(-fsanitize=${EV_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1)
  add_link_options(-fsanitize=${EV_SANITIZE})
endif()

# What one clone has compiled serves the others: paths count from the root of the tree.
find_program(EV_CCACHE ccache)
if(EV_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER
    "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${EV_CCACHE}")
endif()
