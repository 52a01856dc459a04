#include "nn/models/elmo.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/op.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/models/blocks.h"

namespace attune::nn {

namespace {

// Characters above those of bytes, 1 to 256.
constexpr std::int64_t sentence_begin = 257, sentence_end = 258, word_begin = 259, word_end = 260, filler = 261;

ElmoConfig checked(const detail::Check& check, const ElmoConfig& c) {
  check.at_least(filler + 1, c.characters, "characters");
  check.at_least(1, c.projection, "projection");
  check.at_least(0, c.vocabulary, "vocabulary");
  if (c.vocabulary == 0) return c;
  for (const auto& [id, name] : {std::pair{c.begin_token, "begin_token"}, {c.end_token, "end_token"}})
    if (id < 0 || id >= c.vocabulary)
      check.fail(name + (" = " + std::to_string(id)) + " is outside of the vocabulary of " +
                 std::to_string(c.vocabulary));
  return c;
}

/// The characters [W] of the word that marks a sentence's begin or end.
Tensor boundary(std::int64_t mark, std::int64_t width) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(width), filler);
  all[0] = word_begin, all[1] = mark, all[2] = word_end;
  return tensor(all);
}

/// The number of words in each row, [b, 1] int64.
Tensor word_counts(const char* type, const Tensor& characters, Here here) {
  if (characters.rank() != 3 || characters.size(2) < 3)
    throw ShapeError(std::string(type) + ": characters " + characters.shape().str() + " must be [b, t, W >= 3]", here);
  const NoGrad off;
  const Tensor present = gt(amax(characters, {2}), 0);
  Tensor counts = sum(to(present, DType::int64), {1}, true);
  if (any(ne(present, lt(unsqueeze(arange(characters.size(1)), 0), counts))))
    throw ValueError(std::string(type) + ": a row has a word of zeros before another word; words come first", here);
  return counts;
}

}  // namespace

Tensor elmo_characters(const std::vector<std::vector<std::string>>& sentences, std::int64_t width, Here here) {
  if (width < 3)
    throw ValueError("elmo_characters: word_length = " + std::to_string(width) + " must be at least 3", here);
  if (sentences.empty()) throw ValueError("elmo_characters: there are no sentences", here);
  std::size_t longest = 0;
  for (const auto& s : sentences) longest = std::max(longest, s.size());
  const auto w = static_cast<std::size_t>(width);
  std::vector<std::int64_t> all(sentences.size() * longest * w, 0);
  for (std::size_t i = 0; i < sentences.size(); ++i)
    for (std::size_t j = 0; j < sentences[i].size(); ++j) {
      const std::string word = sentences[i][j].substr(0, w - 2);
      std::int64_t* at = all.data() + (i * longest + j) * w;
      std::fill(at, at + width, filler);
      *at++ = word_begin;
      for (const char c : word) *at++ = static_cast<unsigned char>(c) + 1;
      *at = word_end;
    }
  return tensor(all, {std::ssize(sentences), static_cast<std::int64_t>(longest), width});
}

ElmoCharacterEncoder::ElmoCharacterEncoder(const ElmoConfig& c, Here here)
    : Module(here),
      words_(child<CharacterEncoder>("words", c.characters,
                                     CharacterEncoderOptions{.char_dim = c.char_dim,
                                                             .filters = c.filters,
                                                             .activation = c.activation,
                                                             .highway = {.layers = c.highway},
                                                             .projection = c.projection})) {}

ElmoWords ElmoCharacterEncoder::operator()(const Tensor& input, Here here) const {
  const Scope scope(*this, "ElmoCharacterEncoder", here);
  const Tensor& characters = scope.in(input);
  const Tensor counts = word_counts("ElmoCharacterEncoder", characters, here);
  const std::int64_t b = characters.size(0), t = characters.size(1), width = characters.size(2);
  const Tensor begin = expand(boundary(sentence_begin, width), {b, 1, width});
  const Tensor all = cat({begin, characters, zeros({b, 1, width}, DType::int64)}, 1);
  const Tensor place = unsqueeze(arange(t + 2), 0), last = counts + 1;
  const Tensor ids = where(unsqueeze(eq(place, last), 2), boundary(sentence_end, width), all);
  ElmoWords r{words_(ids), logical_not(gt(amax(ids, {2}), 0))};
  scope.out_parts(r.vectors, r.key_padding_mask);
  return r;
}

// ---- the model

Elmo::Elmo(const ElmoConfig& c, Here here)
    : Module(here),
      config(checked({"Elmo", *this}, c)),
      token_embedder(child<ElmoCharacterEncoder>("token_embedder", config)),
      lstm(child<ElmoLstm>("elmo_lstm", config.projection, config.projection, config.cells, config.layers,
                           config.cell_clip, config.projection_clip)),
      dropout(child<Dropout>("dropout", config.dropout)) {
  if (config.vocabulary == 0) return;
  softmax = &child<Linear>("softmax", config.projection, config.vocabulary);
  init::normal_(softmax->weight, 0, 1 / std::sqrt(static_cast<double>(config.projection)));
  init::zeros_(softmax->bias());
}

RecurrentResult Elmo::read(const ElmoWords& words, ElmoState* state) const {
  const Tensor lengths = sum(attune::to(logical_not(words.key_padding_mask), DType::int64), {1});
  const LstmState before = state ? state->rows(words.vectors.size(0)) : LstmState{};
  RecurrentResult r = lstm(dropout(words.vectors), before, lengths);
  if (state) state->keep(r);
  return r;
}

ElmoResult Elmo::operator()(const Tensor& input, ElmoState* state, Here here) const {
  const Scope scope(*this, "Elmo", here);
  const Tensor& characters = scope.in(input);
  const std::int64_t t = characters.rank() == 3 ? characters.size(1) : 0;
  const ElmoWords words = token_embedder(characters);
  const RecurrentResult r = read(words, state);
  const Tensor twice = unsqueeze(cat({words.vectors, words.vectors}, 2), 0);
  const Tensor hidden = ge(unsqueeze(arange(t), 0), word_counts("Elmo", characters, here));
  const Tensor inside = slice(cat({twice, r.output}), 2, 1, t + 1);  // without the sentences' begins
  ElmoResult result{masked_fill(inside, unsqueeze(hidden, 2), 0), hidden};
  scope.out_parts(result.layers, result.key_padding_mask);
  return result;
}

namespace {

/// What stands before each word and at the end of a row's words, and behind: [2, b, t + 1]; -100 where nothing counts.
Tensor both_targets(const Tensor& characters, const Tensor& words, const ElmoConfig& c, Here here) {
  const Tensor counts = word_counts("Elmo", characters, here);
  const std::int64_t b = characters.size(0), t = characters.size(1);
  if (words.shape() != Shape{b, t})
    throw ShapeError("Elmo: words " + words.shape().str() + " do not fit characters " + characters.shape().str(), here);
  const Tensor place = unsqueeze(arange(t + 1), 0), beyond = gt(place, counts);
  const Tensor forward = cat({words, full({b, 1}, -100, DType::int64)}, 1);
  const Tensor backward = cat({full({b, 1}, c.begin_token, DType::int64), words}, 1);
  return masked_fill(stack({where(eq(place, counts), c.end_token, forward), backward}), beyond, -100);
}

}  // namespace

Tensor Elmo::loss(const Tensor& characters, const Tensor& words, Reduction reduction, ElmoState* state,
                  Here here) const {
  const Scope scope(*this, "Elmo", here, Scope::no_call);
  if (!softmax) throw ValueError("Elmo: a model without a vocabulary predicts no words", here);
  const Tensor targets = both_targets(characters, words, config, here);
  const Tensor top = dropout(select(read(token_embedder(characters), state).output, 0, config.layers - 1));
  const Tensors ways = chunk(top, 2, 2);
  const std::int64_t n = targets.size(2);
  // Forward the begin and each word predict what follows, backward each word and the end predict what is before.
  const Tensor x = stack({slice(ways[0], 1, 0, n), slice(ways[1], 1, 1, n + 1)});
  return cross_entropy((*softmax)(x), targets, {.reduction = reduction}, here);
}

std::int64_t Elmo::target_count(const Tensor& characters, const Tensor& words, Here here) const {
  const Scope scope(*this, "Elmo", here, Scope::no_call);
  return nn::target_count(both_targets(characters, words, config, here));
}

}  // namespace attune::nn
