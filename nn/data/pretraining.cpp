#include "nn/data/pretraining.h"

#include <algorithm>

#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"

namespace attune::nn {

std::vector<std::vector<Sequence>> documents_of_lines(std::string_view text, const Tokenizer& tokenizer,
                                                      std::int64_t lines, Here here) {
  if (lines < 1) throw ValueError("documents_of_lines: lines = " + std::to_string(lines) + " must be at least 1", here);
  std::vector<std::vector<Sequence>> documents;
  for (std::size_t at = 0, end = 0; at < text.size(); at = end + 1) {
    end = std::min(text.find('\n', at), text.size());
    Sequence line = tokenizer.encode(text.substr(at, end - at));
    if (line.empty()) continue;
    if (documents.empty() || static_cast<std::int64_t>(documents.back().size()) == lines) documents.emplace_back();
    documents.back().push_back(std::move(line));
  }
  return documents;
}

Batches<PretrainingBatch> pretraining_batches(std::vector<SentencePair> pairs, const Tokenizer& tokenizer,
                                              const BatchOptions& options, MaskingOptions masking, Here here) {
  const SpecialTokens special = tokenizer.special();
  if (special.cls < 0 || special.sep < 0 || special.mask < 0 || special.pad < 0)
    throw ValueError("pretraining_batches: the tokenizer must have [CLS], [SEP], [MASK] and [PAD]", here);
  masking.mask_token = special.mask;
  masking.vocabulary = tokenizer.size();
  masking.special.clear();
  for (const auto& each : tokenizer.special_tokens()) masking.special.push_back(each.second);
  std::vector<std::int64_t> lengths;
  lengths.reserve(pairs.size());
  for (const SentencePair& pair : pairs)
    lengths.push_back(static_cast<std::int64_t>(pair.first.size() + pair.second.size()) + 3);
  const auto collate = [special, masking, pairs = std::move(pairs)](const std::vector<std::int64_t>& rows,
                                                                    Generator& random) {
    std::vector<Sequence> tokens, types;
    std::vector<std::int64_t> other;
    for (const std::int64_t row : rows) {
      const SentencePair& pair = pairs[static_cast<std::size_t>(row)];
      Sequence& t = tokens.emplace_back(1, special.cls);
      t.insert(t.end(), pair.first.begin(), pair.first.end());
      t.push_back(special.sep);
      types.emplace_back(t.size(), 0).resize(t.size() + pair.second.size() + 1, 1);
      t.insert(t.end(), pair.second.begin(), pair.second.end());
      t.push_back(special.sep);
      other.push_back(pair.follows ? 0 : 1);
    }
    const Padded padded = pad(tokens, special.pad);
    const MaskedTokens masked = mask_tokens(padded.tokens, masking, random);
    return PretrainingBatch{masked.tokens, pad(types).tokens, padded.key_padding_mask, masked.labels,
                            tensor(other, {static_cast<std::int64_t>(rows.size())}, DType::int64)};
  };
  return make_batches<PretrainingBatch>(std::move(lengths), options, collate, here);
}

}  // namespace attune::nn
