#!/bin/sh
# `test_debugger.sh SOURCE_ROOT BUILD_ROOT`: gdb shows tensors, nodes, tapes and modules, in an optimised program, by
# printers that it reads by itself; `call x.print()` works without them.
set -eu
source_root=$1 build_root=$2
if ! command -v gdb >/dev/null; then
  echo "left out: there is no gdb"
  exit 77
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cat > "$place/program.cpp" <<'CPP'
#include <csignal>

#include "nn/nn.h"
#include "autograd/tape/tape.h"
using namespace attune;

struct Mlp : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 2, 3);
  nn::Linear& down = child<nn::Linear>("down", 3, 1);
};

struct Look {
  const Tensor &x, &y, &none;
  const Gradient& g;
  const Node& node;
  const Ref<Node>& leaf;
  const Tape& tape;
  const Mlp& mlp;
  const Shape& shape;
};
__attribute__((noinline)) void look(const Look& at) { asm volatile("" : : "r"(&at) : "memory"); }

int main(int argc, char**) {
  Mlp mlp;
  Tensor x = tensor({{1, 2}, {3, 4}}).requires_grad_();
  Tensor y = exp(x);
  Tensor none, plain = tensor({1});
  Tape tape = Tape::of(sum(y * 2));
  look({x, y, none, plain.grad(), *y.node(), y.node()->edges()[0].node, tape, mlp, x.shape()});
  if (argc > 1) std::raise(SIGABRT);
}
CPP
g++ -std=c++20 -O2 -g -I "$source_root" "$place/program.cpp" -L "$build_root" -Wl,-rpath,"$build_root" -lattune \
  -o "$place/program"

# gdb OPTIONS...: its output in $place/out.
run_gdb() {
  gdb -q -batch -nx -iex 'set debuginfod enabled off' "$@" > "$place/out" 2>&1 </dev/null || true
  case $(cat "$place/out") in
    *"not permitted"* | *"Could not trace"*)
      echo "left out: gdb may not trace here"
      exit 77
      ;;
    *"extended state"*)
      echo "left out: gdb cannot call a program's functions on this processor"
      exit 77
      ;;
  esac
}
expect() {
  grep -qF -- "$1" "$place/out" || {
    cat "$place/out"
    echo "missing: $1"
    exit 1
  }
}

run_gdb -ex 'break look' -ex run -ex 'call at.x.print()' -ex 'call at.g.print()' "$place/program"
expect 'tensor([[1, 2],'
expect 'undefined: the tensor requires no gradient'

# The build's own library is none that gdb trusts by itself.
run_gdb -iex "add-auto-load-safe-path $build_root" -ex 'break look' -ex run \
  -ex 'print at.x' -ex 'print at.y' -ex 'print at.none' -ex 'print at.g' -ex 'print at.node' -ex 'print at.leaf' \
  -ex 'print at.tape' -ex 'print at.mlp' -ex 'print at.mlp.up' -ex 'print at.mlp.up.weight' -ex 'print at.shape' \
  -ex 'up' -ex 'print x' -ex 'print *(attune::Tensor *)"garbage garbage garbage"' "$place/program"
expect 'tensor([[1, 2],'
expect 'requires_grad'
expect 'from exp'
expect 'tensor(undefined)'
expect ': exp [2, 2]'
expect 'rule    dx = y dy'
expect "line    program.cpp:$(grep -n 'Tensor y = exp' "$place/program.cpp" | cut -d: -f1)"
expect 'inputs  leaf [2, 2] (node '
expect '4 nodes'
expect 'sum(x = %2)'
expect 'Mlp, 13 parameters'
expect 'up: Linear(weight [3, 2], bias [3]), 9 parameters'
expect 'up.weight = tensor([['
expect '[2, 2]'
expect '(not made yet, or gone'
grep -q 'Python Exception\|Error' "$place/out" && {
  cat "$place/out"
  exit 1
}

# A core dump has nothing to call.
run_gdb -iex "add-auto-load-safe-path $build_root" -ex run -ex "generate-core-file $place/core" \
  --args "$place/program" die
if [ -s "$place/core" ]; then
  run_gdb -iex "add-auto-load-safe-path $build_root" -ex 'frame function main' -ex 'print y' \
    "$place/program" "$place/core"
  expect 'not in a core dump'
fi

# Where it is installed for everybody it needs no leave: here that folder, in a namespace of its own. Printers beside
# the library would come first.
mkdir "$place/lib"
cp -P "$build_root"/libattune.so.*[0-9] "$place/lib/"
map=--map-root-user
[ "$(id -u)" != 0 ] || map=
# shellcheck disable=SC2016  # for the inner shell
unshare -m $map sh -c 'mount --make-rprivate / && mount -t tmpfs none /usr/share/gdb/auto-load &&
  mkdir -p "/usr/share/gdb/auto-load$1" && cp "$2"/libattune.so.*-gdb.py "/usr/share/gdb/auto-load$1/" &&
  LD_LIBRARY_PATH=$1 exec gdb -q -batch -nx -iex "set debuginfod enabled off" -ex "break look" -ex run \
    -ex "print at.y" "$3"' sh "$place/lib" "$build_root" "$place/program" > "$place/out" 2>&1 </dev/null || {
  echo "left out: the folder that gdb trusts, which needs a mount namespace"
  exit 0
}
expect 'from exp'
