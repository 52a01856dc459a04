#!/bin/bash
# `test_install.sh SOURCE_ROOT BUILD_ROOT`: installs the library and uses it as the README says, by the README's own
# lines and no others, where nothing was installed before: in a mount namespace with an empty /usr/local and an /etc of
# its own. Then installs it in another folder, and compiles what was installed.
#
# Without the right to make a mount namespace the first part is left out, which the output says.
set -euo pipefail
source_root=$1 build_root=$2 inside=${3:-}
step() { printf '%s\n' "$*"; }
# Nothing of the caller's may help.
unset PKG_CONFIG_PATH PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR LD_LIBRARY_PATH LIBRARY_PATH CPATH CPLUS_INCLUDE_PATH \
  CMAKE_PREFIX_PATH Attune_DIR DESTDIR
export ATTUNE_BUILD=$build_root

if [ -z "$inside" ]; then
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
  mkdir "$place/etc" "$place/outside"
  # shellcheck disable=SC2016  # for the inner shell
  enter='mount --make-rprivate / && mount -t tmpfs none /usr/local &&
         { [ ! -d /usr/share/gdb ] || mount -t tmpfs none /usr/share/gdb/auto-load; } &&
         { cp -a /etc/. "$1/etc/" 2>/dev/null || true; } &&
         mount --bind "$1/etc" /etc'
  map=--map-root-user
  [ "$(id -u)" != 0 ] || map=
  if unshare -m $map sh -c "$enter" sh "$place" 2>/dev/null; then
    # shellcheck disable=SC2016
    unshare -m $map bash -c "$enter"'; shift; exec bash "$@"' bash "$place" "$0" "$1" "$2" "$place"
  else
    step "left out: the README's way, which needs a mount namespace"
  fi
else
  place=$inside
fi
cp "$source_root/examples/minimal.cpp" "$place/outside/train.cpp"
cd "$place/outside"

# The line of the README that begins with $1, which must be there.
readme_line() { grep -m 1 -o -- " $1.*" "$source_root/README.md" || { step "the README has no line $1" && exit 1; }; }

# The README's CMake words, with what CMake is given besides.
use_cmake() {
  command -v cmake >/dev/null || return 0
  step "CMake"
  cat > CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.20)
project(train CXX)
find_package(Attune 0.1 REQUIRED)
add_executable(train train.cpp)
target_link_libraries(train Attune::attune)
CMAKE
  rm -rf build
  { cmake -S . -B build "$@" && cmake --build build; } > cmake.log || { cat cmake.log; exit 1; }
  ./build/train
}

if [ -n "$inside" ]; then
  step "the README: ./dev install, and one g++ call"
  (cd "$source_root" && sh -c "$(readme_line './dev install')")
  sh -c "$(readme_line 'g++ -std=c++20 train.cpp')"
  ./train
  ldd ./train > ldd.log
  grep -q '/usr/local/lib/libattune' ldd.log || { cat ldd.log; exit 1; }
  if command -v gdb >/dev/null; then
    step "gdb reads its printers by itself"
    gdb -q -batch -nx -iex 'set debuginfod enabled off' -ex 'break main' -ex run -ex 'info pretty-printer' ./train \
      > gdb.log 2>&1 </dev/null || true
    grep -q 'not permitted\|Could not trace' gdb.log || grep -q attune gdb.log || { cat gdb.log; exit 1; }
  fi
  use_cmake

  step "meson install finds the same folder on a machine without dpkg-architecture"
  if [ -e /usr/bin/dpkg-architecture ]; then mount --bind /dev/null /usr/bin/dpkg-architecture; fi
  meson setup -Dprograms=false fresh "$source_root" > meson.log || { cat meson.log; exit 1; }
  # shellcheck disable=SC2016  # pkg-config's variable
  grep -q '^libdir=/usr/local/lib$\|^libdir=${prefix}/lib$' fresh/meson-private/attune.pc || {
    cat fresh/meson-private/attune.pc
    exit 1
  }
  exit
fi

step "another folder, with the line that ./dev install prints"
(cd "$source_root" && ./dev install "$place/a folder") > lines 2> log || { cat log; exit 1; }
# A path with a space is quoted by nobody's $(pkg-config): the plain one is for use, the other shows that copying works.
test -f "$place/a folder/lib/pkgconfig/attune.pc"
(cd "$source_root" && ./dev install "$place/other") > lines 2> log || { cat log; exit 1; }
sh -c "$(cat lines)"
./train
use_cmake -DCMAKE_PREFIX_PATH="$place/other"

step "the public headers, and no others, without what is the library's own"
cd "$place/other/include/attune"
if find . -path '*/internal/*' -o -path ./autograd/kernels | grep .; then exit 1; fi
PKG_CONFIG_PATH=$place/other/lib/pkgconfig
export PKG_CONFIG_PATH
{
  echo '#include "autograd/autograd.h"'
  find . -name '*.h' | sort | sed 's|^./\(.*\)$|#include "\1"|'
} > "$place/outside/all.cpp"
# shellcheck disable=SC2046  # pkg-config's answer is several arguments
g++ -std=c++20 -Wall -Wextra -Werror -fsyntax-only "$place/outside/all.cpp" $(pkg-config --cflags attune)
for header in autograd/autograd.h nn/nn.h optim/optim.h; do
  printf '#include "%s"\n' "$header" > "$place/outside/header.cpp"
  # shellcheck disable=SC2046
  g++ -std=c++20 -Wall -Wextra -Werror -fsyntax-only "$place/outside/header.cpp" $(pkg-config --cflags attune)
done
