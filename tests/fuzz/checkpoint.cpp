// State files of a module and of its optimiser.
#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/fuzz/target.h"

namespace {

struct Model : attune::nn::Module {
  attune::nn::Linear& up = child<attune::nn::Linear>("up", 2, 3);
  attune::nn::LayerNorm& norm = child<attune::nn::LayerNorm>("norm", 3);
};

}  // namespace

void attune::fuzz::run(Bytes bytes) {
  static Model model;
  static optim::Adam adam(model.parameters(), {});
  const MemoryFile file(bytes);
  tried([&] { model.load(file.path()); });
  tried([&] { adam.load(file.path()); });
}
