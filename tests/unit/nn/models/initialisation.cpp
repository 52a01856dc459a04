// Models begin as published: the law of each parameter, by its name.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// Checks each parameter: one value for all, or normal around 0 with the standard deviation that `std_of` gives for its
/// name (within five standard errors), 0 for zeros and 1 for ones of norms.
void check_law(const nn::Module& model, const std::function<double(const std::string& name)>& std_of) {
  for (const auto& [name, p] : model.named_parameters()) {
    const std::string which = name;  // clang 14 captures no binding
    CAPTURE(which);
    const Values v = values(p);
    const auto all_are = [&](double x) { return std::all_of(v.begin(), v.end(), [&](double y) { return x == y; }); };
    if (name.ends_with("bias")) {
      CHECK(all_are(0));
      continue;
    }
    if (p.rank() == 1) {  // a norm's
      CHECK(all_are(1));
      continue;
    }
    const double std = std_of(name), n = static_cast<double>(v.size());
    double mean = 0, square = 0, fourth = 0;
    for (const double x : v) mean += x / n, square += x * x / n, fourth += x * x * x * x / n;
    CHECK(std::abs(mean) < 5 * std / std::sqrt(n));
    CHECK(std::abs(std::sqrt(square) / std - 1) < 5 / std::sqrt(2 * n));
    CHECK(std::abs(fourth / (square * square) - 3) < 5 * std::sqrt(24 / n));  // no uniform law: 1.8
  }
}

}  // namespace

TEST_CASE("initialisation: GPT-2") {
  manual_seed(1);
  for (const bool tied : {true, false}) {
    const nn::Gpt2 model(
        {.vocabulary = 300, .positions = 60, .d_model = 64, .heads = 4, .layers = 8, .std = 0.03, .tied = tied});
    check_law(model,
              [](const std::string& name) { return name.find("c_proj") != std::string::npos ? 0.03 / 4 : 0.03; });
  }
}

TEST_CASE("initialisation: BERT") {
  manual_seed(2);
  for (const nn::BertHeads heads : {nn::BertHeads::pretraining, nn::BertHeads::sequence_labels}) {
    nn::BertConfig c{.vocabulary = 300, .positions = 60, .token_types = 9, .d_model = 64, .d_ff = 128, .heads = 4};
    c.layers = 2;
    c.std = 0.05;
    c.padding_token = -1;
    c.tied = false;
    c.position_kind = nn::BertPositions::relative_key;
    c.heads_on_top = heads;
    check_law(nn::Bert(c), [](const std::string&) { return 0.05; });
  }
  nn::BertConfig padded{.vocabulary = 40, .positions = 8, .d_model = 8, .d_ff = 8, .heads = 2, .layers = 1};
  padded.padding_token = 3;
  const nn::Bert model(padded);
  const Tensor words = model.bert.embeddings.words.weight;
  CHECK(values(select(words, 0, 3)) == Values(8, 0.0));
  CHECK(values(select(words, 0, 2)) != Values(8, 0.0));
}

TEST_CASE("initialisation: a Reformer of a published configuration") {
  manual_seed(3);
  nn::ReformerConfig c{.vocabulary = 300, .d_model = 64, .d_ff = 128, .heads = 2};
  c.layers = {nn::ReformerAttention::lsh, nn::ReformerAttention::local};
  c.axial_row_dim = 32;
  c.axial_std = 0.7;
  c.embedding_std = c.std = 0.04;
  check_law(nn::Reformer(c),
            [](const std::string& name) { return name.find("position_embeddings") != std::string::npos ? 0.7 : 0.04; });
}

}  // namespace attune::tests
