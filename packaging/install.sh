#!/bin/sh
# Run by `meson install`: copies the public headers under their own paths to $1, and lets the linker know the library.
set -eu
destination="${DESTDIR:-}$1"
cd "$MESON_SOURCE_ROOT"
# Kernels, and what stands in a folder internal/, are the library's own.
find autograd nn optim -name '*.h' ! -path '*/internal/*' ! -path 'autograd/kernels/*' | while read -r header; do
  install -D -m 644 "$header" "$destination/$header"
done
PATH=$PATH:/usr/sbin:/sbin # which a root shell may lack
if [ -z "${DESTDIR:-}" ] && [ "$(id -u)" = 0 ] && command -v ldconfig >/dev/null; then ldconfig; fi
