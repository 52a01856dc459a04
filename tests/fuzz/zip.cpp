// A zip archive of any kind: all its members, then as tensors.
#include "autograd/io/internal/zip.h"
#include "autograd/io/npy.h"
#include "autograd/io/pytorch.h"
#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  const io::Input file("file", bytes);
  tried([&] {
    const io::ZipReader zip(file);
    for (const io::ZipEntry& e : zip.entries()) tried([&] { zip.read_all(e, 1 << 22); });
  });
  tried([&] { load_npz(file); });
  tried([&] { load_pytorch(file); });
}
