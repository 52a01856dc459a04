#!/bin/sh
# `test_debugger.sh SOURCE_ROOT BUILD_ROOT`: `call x.print()` works in gdb, in an optimised program without it.
set -eu
source_root=$1 build_root=$2
if ! command -v gdb >/dev/null; then
  echo "left out: there is no gdb"
  exit 77
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cat > "$place/program.cpp" <<'CPP'
#include "autograd/autograd.h"
using namespace attune;
__attribute__((noinline)) void look(const Tensor& x, const Gradient& g) { asm volatile("" : : "r"(&x), "r"(&g)); }
int main() {
  Tensor x = tensor({{1, 2}, {3, 4}});
  look(x, x.grad());
}
CPP
g++ -std=c++20 -O2 -g -I "$source_root" "$place/program.cpp" -L "$build_root" -Wl,-rpath,"$build_root" -lattune \
  -o "$place/program"
gdb -q -batch -nx -iex 'set debuginfod enabled off' -ex 'break look' -ex run -ex 'call x.print()' -ex 'call g.print()' \
  "$place/program" > "$place/out" 2>&1 </dev/null || true
case $(cat "$place/out") in
  *"not permitted"* | *"Could not trace"*)
    echo "left out: gdb may not trace here"
    exit 77
    ;;
esac
for expected in 'tensor(\[\[1, 2\],' 'undefined: the tensor requires no gradient'; do
  grep -q "$expected" "$place/out" || {
    cat "$place/out"
    exit 1
  }
done
