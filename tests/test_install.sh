#!/bin/sh
# Installs into a fresh prefix and builds examples/minimal.cpp outside of the tree: with the README's one line, and with CMake where there is one.
# usage: test_install.sh BUILD_DIRECTORY SOURCE_DIRECTORY
set -eu
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

DESTDIR=$work/root meson install -C "$build" --no-rebuild --quiet
prefix=$work/root/usr/local
pc=$(dirname "$(find "$prefix" -name attune.pc)")
export PKG_CONFIG_PATH="$pc" PKG_CONFIG_SYSROOT_DIR="$work/root"
lib=$(dirname "$(find "$prefix" -name libattune.so)")
export LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

cp "$source/examples/minimal.cpp" "$work/train.cpp"
cd "$work"
[ "$(wc -l <train.cpp)" -le 30 ] || { echo "the minimal script has more than 30 lines"; exit 1; }
# The README shows exactly this line.
line='g++ train.cpp $(pkg-config --cflags --libs attune) -o train'
grep -qF "$line" "$source/README.md" || { echo "the README does not show: $line"; exit 1; }
sh -c "$line"
./train | tail -n 1 | grep -q accuracy

command -v cmake >/dev/null || { echo "pkg-config ok; no cmake here"; exit 0; }
mkdir cmake
cat >cmake/CMakeLists.txt <<'TEXT'
cmake_minimum_required(VERSION 3.20)
project(train CXX)
find_package(Attune REQUIRED)
add_executable(train ../train.cpp)
target_link_libraries(train PRIVATE Attune::attune)
TEXT
cmake -S cmake -B cmake/build -DAttune_DIR="$(dirname "$(find "$prefix" -name AttuneConfig.cmake)")" >/dev/null
cmake --build cmake/build >/dev/null
cmake/build/train | tail -n 1 | grep -q accuracy
echo "pkg-config ok, cmake ok"
