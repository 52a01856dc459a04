#include "nn/decode/generate.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/op.h"
#include "nn/decode/internal/search.h"
#include "nn/internal/evaluating.h"

namespace attune::nn {

namespace {

/// `what` = n must be at least `least`.
void at_least(const Op& op, std::int64_t least, std::int64_t n, const char* what) {
  if (n < least) op.fail_value(what + (" = " + std::to_string(n)) + " must be at least " + std::to_string(least));
}

void check_numbers(const Op& op, const GenerateOptions& o) {
  at_least(op, 0, o.max_length, "max_length");
  at_least(op, 0, o.max_new_tokens, "max_new_tokens");
  at_least(op, 0, o.min_length, "min_length");
  at_least(op, -1, o.eos, "eos");
  at_least(op, -1, o.pad, "pad");
  at_least(op, 1, o.beams, "beams");
  at_least(op, 1, o.returned, "returned");
  at_least(op, 0, o.top_k, "top_k");
  at_least(op, 0, o.no_repeat_ngram, "no_repeat_ngram");
  for (const auto& [value, what] :
       {std::pair{o.temperature, "temperature"}, {o.repetition_penalty, "repetition_penalty"}})
    if (!(value > 0 && std::isfinite(value)))
      op.fail_value(what + (" = " + std::to_string(value)) + " must be finite and above 0");
  if (!(o.top_p >= 0 && o.top_p <= 1)) op.fail_value("top_p = " + std::to_string(o.top_p) + " is not in [0, 1]");
  if (!(o.typical_p > 0 && o.typical_p <= 1))
    op.fail_value("typical_p = " + std::to_string(o.typical_p) + " is not in (0, 1]");
  if (!std::isfinite(o.length_penalty)) op.fail_value("length_penalty must be finite");
}

void check_together(const Op& op, const GenerateOptions& o) {
  if ((o.max_length == 0) == (o.max_new_tokens == 0)) op.fail_value("give either max_length or max_new_tokens");
  const bool warps = o.temperature != 1 || o.top_k != 0 || o.top_p != 1 || o.typical_p != 1;
  if (warps && !o.sample) op.fail_value("temperature, top_k, top_p and typical_p are for sample = true");
  if (o.generator != nullptr && !o.sample) op.fail_value("a generator is for sample = true");
  if (o.beams > 1) {
    if (o.sample) op.fail_value("beams and sample exclude each other");
    if (o.on_tokens) op.fail_value("on_tokens and beams exclude each other: beams decide at the end");
    if (o.returned > o.beams)
      op.fail_value("returned = " + std::to_string(o.returned) + " is more than beams = " + std::to_string(o.beams));
  } else {
    if (o.early_stopping || o.length_penalty != 1 || o.wu_penalty)
      op.fail_value("early_stopping, length_penalty and wu_penalty are for beams above 1");
    if (o.returned > 1 && !o.sample)
      op.fail_value("returned = " + std::to_string(o.returned) + " sequences need as many beams, or sample = true");
  }
}

/// The options with max_length and pad filled in.
GenerateOptions checked(const Op& op, GenerateOptions o, const Tensor& prompt) {
  check_numbers(op, o);
  check_together(op, o);
  op.check_defined(prompt);
  if (!is_integer(prompt.dtype()))
    op.fail_dtype(std::string("the prompt must be of int64, got ") + name_of(prompt.dtype()) +
                  ": tensor({{1, 2, 3}}, int64) makes one");
  if (prompt.rank() != 2) op.fail_shape("the prompt " + prompt.shape().str() + " must be [b, n]");
  if (prompt.numel() == 0) op.fail_value("the prompt " + prompt.shape().str() + " is empty");
  const std::int64_t n = prompt.size(1);
  if (o.max_length == 0) o.max_length = n + o.max_new_tokens;
  if (o.max_length <= n)
    op.fail_value("max_length = " + std::to_string(o.max_length) + " leaves no room behind a prompt of " +
                  std::to_string(n));
  if (o.min_length > o.max_length)
    op.fail_value("min_length = " + std::to_string(o.min_length) +
                  " is above max_length = " + std::to_string(o.max_length));
  if (o.pad < 0) o.pad = o.eos;
  return o;
}

void check_mask(const Op& op, const Tensor& mask, const Tensor& prompt) {
  if (!mask.defined()) return;
  op.check_dtype(mask, DType::boolean);
  if (mask.shape() != prompt.shape())
    op.fail_shape("key_padding_mask " + mask.shape().str() + " must be " + prompt.shape().str());
  const std::vector<bool> hidden = mask.to_vector<bool>();
  const auto n = static_cast<std::size_t>(mask.size(1));
  for (std::size_t last = n - 1; last < hidden.size(); last += n)
    if (hidden[last])
      op.fail_value("row " + std::to_string(last / n) + " of the prompt ends in padding: pad on the left");
}

}  // namespace

namespace detail {

Tensor as_tensor(const Sequences& sequences) { return padded(sequences, 0); }

Tensor padded(const Sequences& sequences, std::int64_t pad) {
  std::size_t longest = 0;
  for (const Sequence& s : sequences) longest = std::max(longest, s.size());
  Sequence all;
  all.reserve(sequences.size() * longest);
  for (const Sequence& s : sequences) {
    all.insert(all.end(), s.begin(), s.end());
    all.resize(all.size() + longest - s.size(), pad);
  }
  return tensor(all, {static_cast<std::int64_t>(sequences.size()), static_cast<std::int64_t>(longest)});
}

Tensor lengths_of(const Sequences& sequences) {
  Sequence lengths;
  for (const Sequence& s : sequences) lengths.push_back(static_cast<std::int64_t>(s.size()));
  return tensor(lengths);
}

Tensor Search::step(bool first) {
  const Op op{"generate", here};
  if (first) {
    constexpr std::int64_t most_in_advance = 4096;  // an end may come long before
    decoder.reserve(std::min(options.max_length, static_cast<std::int64_t>(sequences[0].size()) + most_in_advance));
    Tensor logits = decoder.step(as_tensor(sequences));
    op.check_floating(logits);
    if (logits.rank() != 2 || logits.size(0) != static_cast<std::int64_t>(sequences.size()))
      op.fail_shape("the decoder's logits " + logits.shape().str() + " must be [" + std::to_string(sequences.size()) +
                    ", V]");
    const std::int64_t vocabulary = logits.size(1);
    for (const auto& [token, what] : {std::pair{options.eos, "eos"}, {options.pad, "pad"}})
      if (token >= vocabulary)
        op.fail_index(what + (" = " + std::to_string(token)) + " is not in a vocabulary of " +
                      std::to_string(vocabulary));
    for (const Sequence& s : sequences)
      for (const std::int64_t token : s)
        if (token < 0 || token >= vocabulary)
          op.fail_index("token " + std::to_string(token) + " of the prompt is not in a vocabulary of " +
                        std::to_string(vocabulary));
    return logits;
  }
  Sequence last;
  last.reserve(sequences.size());
  for (const Sequence& s : sequences) last.push_back(s.back());
  return decoder.step(tensor(last, {static_cast<std::int64_t>(last.size()), 1}));
}

Tensor Search::processed(const Tensor& scores) const {
  Tensor result = clone(scores);
  for_rows(result, [&](auto row, std::size_t i) {
    using T = typename decltype(row)::value_type;
    const Row tokens(sequences[i]);
    if (options.repetition_penalty != 1) penalise_repetition(row, tokens, options.repetition_penalty);
    if (options.no_repeat_ngram > 0) forbid_repeated_ngrams(row, tokens, options.no_repeat_ngram);
    if (options.eos >= 0 && static_cast<std::int64_t>(tokens.size()) < options.min_length)
      row[static_cast<std::size_t>(options.eos)] = -std::numeric_limits<T>::infinity();
  });
  if (options.processors.empty()) return result;
  const Tensor so_far = as_tensor(sequences);
  for (const auto& processor : options.processors) {
    const Tensor next = processor(so_far, result);
    if (!next.defined() || next.shape() != scores.shape() || next.dtype() != scores.dtype())
      throw ShapeError("generate: a processor must give back scores " + scores.shape().str() + " of " +
                           name_of(scores.dtype()) + ", not " +
                           (next.defined() ? next.shape().str() + " of " + name_of(next.dtype()) : "nothing"),
                       here);
    result = next;
  }
  return clone(result.detach());
}

void Search::warp(Tensor& scores) const {
  for_rows(scores, [&](auto row, std::size_t) {
    if (options.temperature != 1) scale_by_temperature(row, options.temperature);
    if (options.top_k > 0) keep_top_k(row, options.top_k, 1);
    if (options.top_p < 1) keep_top_p(row, options.top_p, 1);
    if (options.typical_p < 1) keep_typical(row, options.typical_p, 1);
  });
}

void Search::spread(std::int64_t times) {
  if (times == 1) return;
  Sequences all;
  Sequence rows;
  for (std::size_t i = 0; i < sequences.size(); ++i)
    for (std::int64_t j = 0; j < times; ++j) {
      all.push_back(sequences[i]);
      rows.push_back(static_cast<std::int64_t>(i));
    }
  sequences = std::move(all);
  decoder.reorder(tensor(rows));
}

GenerateResult search_one_by_one(Search& search) {
  const GenerateOptions& o = search.options;
  GenerateResult result;
  std::vector<std::size_t> ends;  // length of each row, once it has ended
  for (bool first = true;; first = false) {
    Tensor scores = search.step(first);
    if (first) {
      scores = repeat_interleave(scores, o.returned, 0);
      search.spread(o.returned);
      ends.assign(search.sequences.size(), 0);
    }
    scores = search.processed(scores);
    if (o.sample) search.warp(scores);
    const RandomKey key = o.sample ? (o.generator ? *o.generator : default_generator()).next() : RandomKey();
    Sequence tokens;
    for_rows(scores, [&]<class T>(std::span<T> row, std::size_t i) {
      std::int64_t token = o.pad;
      if (ends[i] == 0)
        token = o.sample ? draw_token(std::span<const T>(row), uniform(key, i)) : best_token(std::span<const T>(row));
      if (ends[i] == 0 && token < 0)
        throw ValueError("generate: row " + std::to_string(i) + " has no token left that could come", search.here);
      search.sequences[i].push_back(token);
      tokens.push_back(token);
      if (ends[i] == 0 && token == o.eos) ends[i] = search.sequences[i].size();
    });
    if (o.keep_scores) result.step_scores.push_back(scores);
    const bool stopped = o.on_tokens && !o.on_tokens(tensor(tokens));
    if (stopped || search.full() || std::find(ends.begin(), ends.end(), std::size_t{0}) == ends.end()) break;
  }
  result.sequences = as_tensor(search.sequences);
  for (std::size_t i = 0; i < ends.size(); ++i)
    if (ends[i] > 0) search.sequences[i].resize(ends[i]);
  result.lengths = lengths_of(search.sequences);
  return result;
}

namespace {

Sequences rows_of(const Tensor& prompt) {
  const std::vector<std::int64_t> tokens = prompt.to_vector<std::int64_t>();
  Sequences rows(static_cast<std::size_t>(prompt.size(0)));
  const auto n = static_cast<std::ptrdiff_t>(prompt.size(1));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(i) * n;
    rows[i].assign(first, first + n);
  }
  return rows;
}

/// Several threads may decode with a model that is in evaluation mode: it is then left alone.
bool trains(Module& model) {
  const auto all = model.named_modules();
  return std::any_of(all.begin(), all.end(), [](const auto& m) { return m.second->training(); });
}

GenerateResult run(const Op& op, Decoder& decoder, const Tensor& prompt, const GenerateOptions& o, Here here) {
  if (o.max_length > decoder.most_tokens())
    op.fail_value("max_length = " + std::to_string(o.max_length) + " is beyond the " +
                  std::to_string(decoder.most_tokens()) + " positions that the model has");
  const NoGrad off;
  Search search{decoder, o, here, rows_of(prompt)};
  return o.beams > 1 ? search_beams(search) : search_one_by_one(search);
}

}  // namespace

GenerateResult generate_with(Module* model, const MakeDecoder& make, const Tensor& prompt,
                             const Tensor& key_padding_mask, const GenerateOptions& options, Here here) {
  const Op op{"generate", here};
  const GenerateOptions o = checked(op, options, prompt);
  check_mask(op, key_padding_mask, prompt);
  const NoGrad off;
  std::optional<Evaluating> evaluating;
  if (model != nullptr && trains(*model)) evaluating.emplace(*model);
  const std::unique_ptr<Decoder> decoder = make();
  return run(op, *decoder, prompt, o, here);
}

Tensor start_tokens(const Tensor& source, std::int64_t token, Here here) {
  const Op op{"generate", here};
  op.check_defined(source);
  if (source.rank() != 2) op.fail_shape("the source " + source.shape().str() + " must be [b, n]");
  if (source.numel() == 0) op.fail_value("the source " + source.shape().str() + " is empty");
  return full({source.size(0), 1}, token, DType::int64);
}

}  // namespace detail

GenerateResult generate(Decoder& decoder, const Tensor& prompt, const GenerateOptions& options, Here here) {
  const Op op{"generate", here};
  return detail::run(op, decoder, prompt, checked(op, options, prompt), here);
}

}  // namespace attune::nn
