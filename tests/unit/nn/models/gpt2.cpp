// GPT-2 apart from its published case (reference_models).

#include <doctest/doctest.h>

#include "autograd/io/safetensors.h"
#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

nn::Gpt2Config small() {
  return {.vocabulary = 11,
          .positions = 8,
          .d_model = 12,
          .heads = 3,
          .layers = 2,
          .dropout = 0,
          .embedding_dropout = 0,
          .attention_dropout = 0};
}

TEST_CASE("GPT-2 sees no later token and no padding") {
  const nn::Gpt2 model(small());
  const Tensor tokens = index_tensor({1, 2, 3, 4, 5, 6}, {1, 6}), changed = index_tensor({1, 2, 3, 9, 5, 6}, {1, 6});
  const Tensor y = model(tokens), z = model(changed);
  CHECK(y.shape() == Shape{1, 6, 11});
  CHECK(difference(slice(y, 1, 0, 3), slice(z, 1, 0, 3)) == 0);
  CHECK(difference(slice(y, 1, 3, 6), slice(z, 1, 3, 6)) > 0);
  const Tensor padding = to(index_tensor({0, 0, 0, 1, 0, 0}, {1, 6}), boolean);
  CHECK(difference(slice(model(tokens, padding), 1, 4, 6), slice(model(changed, padding), 1, 4, 6)) < 1e-6);
}

TEST_CASE("GPT-2's head is its token embedding, and all of it learns") {
  nn::Gpt2 model(small());
  const Tensor tokens = index_tensor({1, 2, 3, 1, 2, 3, 1, 2}, {1, 8});
  for (const auto& entry : model.named_parameters()) CHECK(entry.first.starts_with("transformer."));
  optim::AdamW opt(model.parameters(), {.lr = 1e-2});
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    const Tensor loss = model.loss(model(tokens), tokens);
    last = loss.item();
    if (step == 0) first = last;
    loss.backward();
    if (step == 0)
      for (const auto& entry : model.named_parameters())
        CHECK_MESSAGE(amax(abs(entry.second.grad())).item() > 0, entry.first);
    opt.step();
  }
  CHECK(first > 2);
  CHECK(last < 0.1);
}

TEST_CASE("GPT-2 loads published files: names without a prefix, masks and the tied head beside the weights") {
  const Folder folder;
  nn::Gpt2 saved(small()), loaded(small());
  std::map<std::string, Tensor> state;
  for (const auto& [name, value] : saved.state_dict()) state[name.substr(std::string("transformer.").size())] = value;
  state["h.0.attn.bias"] = ones({1, 1, 8, 8});
  state["h.0.attn.masked_bias"] = scalar(-1e4);
  state["lm_head.weight"] = zeros({11, 12});
  save_safetensors(folder / "model.safetensors", state);
  loaded.load_published(folder / "model.safetensors");
  const Tensor tokens = index_tensor({1, 2, 3}, {1, 3});
  CHECK(difference(saved(tokens), loaded(tokens)) == 0);
}

TEST_CASE("GPT-2 refuses what does not fit") {
  nn::Gpt2Config c = small();
  c.heads = 5;
  CHECK(thrown([&] { nn::Gpt2{c}; }) == "ValueError: Gpt2: heads = 5 does not divide d_model = 12");
  c.layers = 0;
  CHECK(thrown([&] { nn::Gpt2{c}; }) == "ValueError: Gpt2: layers = 0 must be at least 1");
  nn::Gpt2 model(small());
  CHECK(thrown([&] { model(zeros({3}, int64)); }) == "ShapeError: Gpt2: tokens must be [batch, length], got [3]");
  CHECK(thrown([&] {
          model(zeros({1, 9}, int64));
        }) == "ShapeError: Gpt2: a sequence of 9 is longer than the 8 positions");
  CHECK(thrown([&] {
          model(zeros({1, 4}, int64), zeros({1, 3}, boolean));
        }) == "ShapeError: Gpt2: key_padding_mask [1, 3] must be [1, 4]");
  CHECK(thrown([&] {
          model.loss(zeros({1, 4, 11}), zeros({1, 3}, int64));
        }) == "ShapeError: Gpt2: labels [1, 3] do not fit logits [1, 4, 11]");
  CHECK(thrown([&] { nn::gpt2_config_from_file("/nowhere/config.json"); }) ==
        "FileError: /nowhere/config.json: cannot be opened");
}

TEST_CASE("published configurations: what is missing or of another type is refused by file and key") {
  const Folder folder;
  const std::string path = folder / "config.json";
  const std::map<std::string, std::string> good{{"vocab_size", "11"},
                                                {"n_positions", "8"},
                                                {"n_embd", "12"},
                                                {"n_head", "3"},
                                                {"n_layer", "2"},
                                                {"attn_pdrop", "0"},
                                                {"resid_pdrop", "0.5"},
                                                {"embd_pdrop", "0.1"},
                                                {"n_inner", "null"},
                                                {"n_ctx", "\"unread\""},
                                                {"layer_norm_epsilon", "1e-5"},
                                                {"initializer_range", "0.02"},
                                                {"activation_function", "\"gelu_new\""}};
  const auto read = [&](std::map<std::string, std::string> entries, const std::string& key, const std::string& value) {
    entries[key] = value;
    std::string text;
    for (const auto& [name, each] : entries)
      if (!each.empty()) text += (text.empty() ? "{\"" : ", \"") + name + "\": " + each;
    put(path, text + "}");
    return nn::gpt2_config_from_file(path);
  };
  const nn::Gpt2Config c = read(good, "scale_attn_weights", "false");
  CHECK(c.vocabulary == 11);
  CHECK(c.d_ff == 0);
  CHECK(c.dropout == 0.5);
  CHECK(c.activation == Activation::gelu_tanh);
  CHECK(!c.scale_by_head_dim);
  CHECK(!c.scale_by_inverse_layer);
  CHECK(read(good, "n_inner", "20").d_ff == 20);
  CHECK(read(good, "n_inner", "20.0").d_ff == 20);
  const auto refused = [&](const std::string& key, const std::string& value) {
    const std::string what = refusal<FileError>([&] { read(good, key, value); });
    CHECK(what.starts_with(path + ": "));
    return what.substr(std::min(what.size(), path.size() + 2));
  };
  CHECK(refused("n_embd", "") == "\"n_embd\" is missing");
  CHECK(refused("n_embd", "1e300") == "\"n_embd\" is 1e+300, not a whole number of 64 bits");
  CHECK(refused("n_embd", "12.5") == "\"n_embd\" is 12.5, not a whole number of 64 bits");
  CHECK(refused("n_embd", "18446744073709551615") ==
        "\"n_embd\" is 18446744073709551615, not a whole number of 64 bits");
  CHECK(refused("n_embd", "true") == "\"n_embd\" is true, not a whole number of 64 bits");
  CHECK(refused("n_inner", "\"4\"") == "\"n_inner\" is \"4\", not a whole number of 64 bits");
  CHECK(refused("attn_pdrop", "null") == "\"attn_pdrop\" is null, not a number");
  CHECK(refused("scale_attn_weights", "1") == "\"scale_attn_weights\" is 1, not true or false");
  CHECK(refused("activation_function", "\"mish\"") ==
        "\"activation_function\" is \"mish\", not an activation that is known");
  CHECK(refused("activation_function", "[]") == "\"activation_function\" is [], not an activation that is known");
  for (const char* text : {"", "{", "[1]", "3"}) {
    put(path, text);
    CHECK(refusal<FileError>([&] { nn::gpt2_config_from_file(path); }) == path + ": is not a JSON object");
  }
}

}  // namespace
}  // namespace attune::tests
