// T5's files, configurations and weights: read, written, refused.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

std::string data(const std::string& model, const std::string& file) {
  return std::string(ATTUNE_TEST_DATA) + "/models/" + model + "/" + file;
}

nn::T5Config small() {
  return {.vocabulary = 13,
          .d_model = 8,
          .d_kv = 3,
          .d_ff = 10,
          .heads = 2,
          .layers = 1,
          .buckets = 8,
          .max_distance = 20,
          .dropout = 0};
}

/// A configuration's keys; `more` goes before the usual ones.
std::string config_text(const std::string& more) {
  return "{" + more +
         R"( "model_type": "t5", "is_encoder_decoder": true, "vocab_size": 32128, "d_model": 512, "d_kv": 64,
             "d_ff": 1024, "num_heads": 6, "num_layers": 8, "relative_attention_num_buckets": 32,
             "dropout_rate": 0.1, "layer_norm_epsilon": 1e-06, "initializer_factor": 1.0})";
}

TEST_CASE("T5: what is saved is loaded again, configurations and weights, with the published names") {
  for (const std::string model : {"t5_tiny", "t5_gated", "t5_buckets"}) {
    CAPTURE(model);
    const Folder folder;
    nn::T5 first(nn::t5_config_from_file(data(model, "config.json")));
    first.load_published(data(model, "model.safetensors"));
    first.save_published(folder / "model.safetensors");
    nn::save_config(folder / "config.json", first.config);
    const auto reference = load_safetensors(data(model, "model.safetensors")).tensors,
               saved = load_safetensors(folder / "model.safetensors").tensors;
    REQUIRE(reference.size() == saved.size());
    for (const auto& [name, value] : reference) {
      const std::string which = name;  // clang 14 captures no binding
      CHECK_MESSAGE(same_bits(value, saved.at(name)), which);
    }
    nn::T5 second(nn::t5_config_from_file(folder / "config.json"));
    second.load_published(folder / "model.safetensors");
    const Tensor x = randint(4, 20, {2, 9});
    CHECK(difference(first(x, x), second(x, x)) == 0);
    nn::save_config(folder / "again.json", second.config);
    CHECK(get(folder / "again.json") == get(folder / "config.json"));
  }
}

TEST_CASE("T5: configurations of the published sizes, with the keys that came and went") {
  const Folder folder;
  const std::string path = folder / "config.json";
  // v1.0's first files have fewer keys.
  put(path, config_text(R"("architectures": ["T5ForConditionalGeneration"], "decoder_start_token_id": 0,
                           "n_positions": 512, "output_past": true, "pad_token_id": 0, "eos_token_id": 1,
                           "task_specific_params": {"summarization": {"num_beams": 4}},)"));
  nn::T5Config c = nn::t5_config_from_file(path);
  CHECK(c.vocabulary == 32128);
  CHECK(c.heads == 6);
  CHECK(c.decoder_layers == 0);
  CHECK(nn::T5({.vocabulary = 4, .d_model = 4, .d_ff = 4, .heads = 1, .layers = 2}).config.decoder_layers == 2);
  CHECK(c.max_distance == 128);
  CHECK(!c.gated);
  CHECK(c.activation == Activation::relu);
  CHECK(c.tied);
  CHECK(c.dropout == 0.1);
  // v1.1's; "gated-gelu" has always been the tanh form.
  put(path, config_text(R"("feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new", "is_gated_act": true,
                           "tie_word_embeddings": false, "num_decoder_layers": 3, "classifier_dropout": 0.0,
                           "relative_attention_max_distance": 99, "decoder_start_token_id": 5, "pad_token_id": 6,
                           "eos_token_id": 7,)"));
  c = nn::t5_config_from_file(path);
  CHECK(c.gated);
  CHECK(c.activation == Activation::gelu_tanh);
  CHECK(!c.tied);
  CHECK(c.decoder_layers == 3);
  CHECK(c.max_distance == 99);
  CHECK(c.start_token == 5);
  CHECK(c.padding_token == 6);
  CHECK(c.end_token == 7);
  for (const Activation f :
       {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu, Activation::none})
    for (const bool gated : {false, true}) {
      nn::T5Config other = small();
      other.activation = f;
      other.gated = gated;
      nn::save_config(path, other);
      const nn::T5Config read = nn::t5_config_from_file(path);
      CHECK(read.activation == f);
      CHECK(read.gated == gated);
    }
}

TEST_CASE("T5: configurations that do not fit are refused by the key") {
  const Folder folder;
  const std::string path = folder / "config.json";
  const auto refused = [&](const std::string& more) {
    put(path, config_text(more));
    return refusal<FileError>([&] { nn::t5_config_from_file(path); }).substr(path.size() + 2);
  };
  CHECK(
      refused(R"("feed_forward_proj": "gated-mish",)") ==
      "\"feed_forward_proj\" is \"gated-mish\", not an activation that is known, with or without \"gated-\" before it");
  CHECK(refused(R"("feed_forward_proj": 3,)").starts_with("\"feed_forward_proj\" is 3, not an activation"));
  CHECK(refused(R"("feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu",)") ==
        "\"dense_act_fn\" is \"gelu\", not \"gelu_new\" as \"feed_forward_proj\" says");
  CHECK(refused(R"("is_gated_act": true,)") == "\"is_gated_act\" is true, not false as \"feed_forward_proj\" says");
  CHECK(refused(R"("hidden_size": 511,)") == "\"hidden_size\" is 511, not 512 as \"d_model\" says");
  CHECK(refused(R"("num_decoder_layers": 0,)") == "\"num_decoder_layers\" is 0, not a whole number from 1 to 10000");
  CHECK(refused(R"("relative_attention_max_distance": 16,)") ==
        "\"relative_attention_max_distance\" is 16, not more than half of the 32 \"relative_attention_num_buckets\"");
  CHECK(refused(R"("decoder_start_token_id": 32128,)") ==
        "\"decoder_start_token_id\" is 32128, outside of the 32128 of \"vocab_size\"");
  CHECK(refused(R"("is_decoder": true,)").starts_with("\"is_decoder\" is true, not false"));
  CHECK(refused(R"("scale_embeddings": true,)").starts_with("\"scale_embeddings\" is no key that is known here"));
  CHECK(refusal<FileError>([&] {
          nn::t5_config_from_file(data("gpt2_tiny", "config.json"));
        }).find("\"model_type\" is \"gpt2\", not \"t5\"") != std::string::npos);
  nn::T5Config c = small();
  c.d_kv = 0;
  CHECK(thrown([&] { nn::save_config(path, c); }).starts_with("ValueError: save_config: \"d_kv\" would be 0"));
}

TEST_CASE("T5 loads files with second copies of the embedding and the table without use") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  nn::T5 saved(small()), loaded(small());
  const Tensor x = randint(0, 13, {1, 5});
  nn::StateDict state = saved.state_dict();
  for (const char* copy : {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"})
    state[copy] = clone(state.at("shared.weight"));
  state["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = randn({8, 2});
  save_safetensors(path, state);
  loaded.load_published(path);
  CHECK(difference(saved(x, x), loaded(x, x)) == 0);
  state.erase("shared.weight");  // a copy alone will do
  save_safetensors(path, state);
  nn::T5 again(small());
  again.load_published(path);
  CHECK(difference(saved(x, x), again(x, x)) == 0);

  const auto refused = [&](const std::string& name, const Tensor& value) {
    nn::StateDict other = saved.state_dict();
    other[name] = value;
    save_safetensors(path, other);
    const std::string what = refusal<FileError>([&] { loaded.load_published(path); });
    CHECK(difference(saved(x, x), loaded(x, x)) == 0);
    return what.substr(path.size() + 2);
  };
  CHECK(refused("lm_head.weight", randn({13, 8})) ==
        "\"lm_head.weight\" differs from \"shared.weight\", and the model has one weight for both");
  CHECK(refused("encoder.embed_tokens.weight", randn({13, 8})).starts_with("\"encoder.embed_tokens.weight\" differs"));
  CHECK(refused("encoder.block.1.layer.0.SelfAttention.q.weight", randn({6, 8})) == "does not fit the model");
  CHECK(refused("encoder.block.0.layer.0.SelfAttention.q.weight", randn({8, 8})) == "does not fit the model");
  CHECK(refusal<FileError>([&] {
          loaded.load_published(data("gpt2_tiny", "model.safetensors"));
        }).find("is a gpt2 file by its names, not a t5 file") != std::string::npos);
  nn::T5Config own_head = small();
  own_head.tied = false;
  nn::T5 untied(own_head);
  saved.save_published(path);
  CHECK(refusal<FileError>([&] { untied.load_published(path); }) == path + ": does not fit the model");
}

}  // namespace
}  // namespace attune::tests
