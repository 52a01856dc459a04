// An .npy file.
#include "autograd/io/npy.h"
#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  tried([&] { load_npy(io::Input("file", bytes)); });
}
