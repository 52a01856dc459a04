// Configuration files of published models.
#include "nn/models/bert.h"
#include "nn/models/gpt2.h"
#include "nn/models/reformer.h"
#include "nn/models/t5.h"
#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  const MemoryFile file(bytes);
  tried([&] { nn::bert_config_from_file(file.path()); });
  tried([&] { nn::gpt2_config_from_file(file.path()); });
  tried([&] { nn::reformer_config_from_file(file.path()); });
  tried([&] { nn::t5_config_from_file(file.path()); });
}
