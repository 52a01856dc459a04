#!/bin/sh
# Run by `meson install`: copies the headers under their own paths to $1, and lets the linker know the library.
set -eu
destination="${DESTDIR:-}$1"
cd "$MESON_SOURCE_ROOT"
# Headers named *-inl.h are parts of the kernels' sources and ask for Highway.
find autograd nn optim -name '*.h' ! -name '*-inl.h' | while read -r header; do
  install -D -m 644 "$header" "$destination/$header"
done
if [ -z "${DESTDIR:-}" ] && [ "$(id -u)" = 0 ] && command -v ldconfig >/dev/null; then ldconfig; fi
