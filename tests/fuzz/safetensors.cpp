// A safetensors file.
#include "autograd/io/safetensors.h"

#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  tried([&] { load_safetensors(io::Input("file", bytes)); });
}
