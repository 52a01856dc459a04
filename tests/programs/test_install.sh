#!/bin/sh
# `test_install.sh SOURCE_ROOT BUILD_ROOT`: installs the library into an empty folder and builds examples/minimal.cpp
# against it, by pkg-config and, if there is one, by CMake; compiles what was installed.
set -eu
source_root=$1 build_root=$2
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
step() { printf '%s\n' "$*"; }

step "install"
DESTDIR=$place meson install -C "$build_root" --no-rebuild --quiet
pc=$(find "$place" -name attune.pc)
prefix=$(dirname "$(dirname "$(find "$place" -path '*/include/attune')")")
libdir=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR=$place
LD_LIBRARY_PATH=$libdir
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR LD_LIBRARY_PATH
mkdir "$place/outside"
cp "$source_root/examples/minimal.cpp" "$place/outside/train.cpp"
cd "$place/outside"

step "the line of the README: one g++ call"
# shellcheck disable=SC2046  # pkg-config's answer is several arguments
g++ -std=c++20 train.cpp $(pkg-config --cflags --libs attune) -o train
./train

if command -v cmake >/dev/null; then
  step "CMake"
  cat > CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.20)
project(train CXX)
find_package(Attune 0.1 REQUIRED)
add_executable(train train.cpp)
target_link_libraries(train Attune::attune)
CMAKE
  cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" > cmake.log || { cat cmake.log; exit 1; }
  cmake --build build > cmake.log || { cat cmake.log; exit 1; }
  ./build/train
fi

step "the public headers, and no others, without what is the library's own"
cd "$(dirname "$(find "$place" -path '*/include/attune/autograd')")"
find . -path '*/internal/*' -o -path ./autograd/kernels | grep . && exit 1
{
  echo '#include "autograd/autograd.h"'
  find . -name '*.h' | sort | sed 's|^./\(.*\)$|#include "\1"|'
} > "$place/outside/all.cpp"
# shellcheck disable=SC2046
g++ -std=c++20 -Wall -Wextra -Werror -fsyntax-only "$place/outside/all.cpp" $(pkg-config --cflags attune)
for header in autograd/autograd.h nn/nn.h optim/optim.h; do
  printf '#include "%s"\n' "$header" > "$place/outside/header.cpp"
  # shellcheck disable=SC2046
  g++ -std=c++20 -Wall -Wextra -Werror -fsyntax-only "$place/outside/header.cpp" $(pkg-config --cflags attune)
done
