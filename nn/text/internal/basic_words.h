// Words as BERT's tokenizer finds them before it looks into them. Internal to nn/text/.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace attune::nn::detail {

/// Calls `visit` for each word, sign of punctuation and Chinese character of valid UTF-8, without what is no text
/// (control characters, U+FFFD). If `uncased`, in lower case and without accents.
void for_basic_words(std::string_view text, bool uncased, const std::function<void(std::string_view word)>& visit);

}  // namespace attune::nn::detail
