#!/bin/sh
# Run by `meson install`: copies the public headers under their own paths to $1, lets the linker know the library $3 in
# the folder $2, and gives gdb the library's printers.
set -eu
destination="${DESTDIR:-}$1"
cd "$MESON_SOURCE_ROOT"
# Kernels, and what stands in a folder internal/, are the library's own.
find autograd nn optim -name '*.h' ! -path '*/internal/*' ! -path 'autograd/kernels/*' | while read -r header; do
  install -D -m 644 "$header" "$destination/$header"
done
PATH=$PATH:/usr/sbin:/sbin # which a root shell may lack
if [ -z "${DESTDIR:-}" ] && [ "$(id -u)" = 0 ] && command -v ldconfig >/dev/null; then ldconfig; fi
# gdb reads its printers without being told to from a folder of its own, under the library's path there; those beside a
# library, which it would look at first, it reads once its user allows it.
own=/usr/share/gdb/auto-load$2
case $2 in
  /usr/*) [ -n "${DESTDIR:-}" ] || [ -w /usr/share/gdb/auto-load ] || [ -w /usr/share ] || own=$2 ;;
  *) own=$2 ;;
esac
install -D -m 644 autograd/trace/gdb/printers.py "${DESTDIR:-}$own/$3-gdb.py"
