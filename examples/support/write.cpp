#include "examples/support/write.h"

#include <filesystem>

#include "nn/text/bpe.h"
#include "nn/text/simple.h"

namespace examples {

namespace nn = attune::nn;

std::unique_ptr<nn::Tokenizer> load_tokenizer(const std::string& folder) {
  const std::string list = folder + "/characters.json";
  if (std::filesystem::exists(list)) return std::make_unique<nn::CharTokenizer>(nn::CharTokenizer::load(list));
  return std::make_unique<nn::BpeTokenizer>(nn::BpeTokenizer::load(folder + "/vocab.json", folder + "/merges.txt"));
}

}  // namespace examples
