// Words of a text as BLEU counts them. Internal to nn/metrics.
#pragma once

#include <string>
#include <vector>

#include "nn/metrics/bleu.h"

namespace attune::nn::detail {

/// The words, in lower case (as Python's str.lower() has it) if asked for. Throws ValueError for text that is not
/// UTF-8.
std::vector<std::string> bleu_words(const std::string& text, BleuTokens tokens, bool lowercase, Here here);

}  // namespace attune::nn::detail
