// T5's configuration and weight files.

#include "autograd/runtime/error.h"
#include "nn/models/internal/config_json.h"
#include "nn/models/internal/published.h"
#include "nn/models/t5.h"

namespace attune::nn {

namespace {

std::vector<detail::ConfigEntry> table(T5Config& c) {
  using namespace detail;
  return {
      {"model_type", Only{"\"t5\""}},
      {"is_encoder_decoder", Only{"true"}},
      {"vocab_size", Whole{&c.vocabulary}},
      {"d_model", Whole{&c.d_model}},
      {"hidden_size", Same{&c.d_model, "d_model"}},
      {"d_kv", Whole{&c.d_kv}},
      {"d_ff", Whole{&c.d_ff}},
      {"num_heads", Whole{&c.heads}},
      {"num_attention_heads", Same{&c.heads, "num_heads"}},
      {"num_layers", Whole{&c.layers, 1, most_layers}},
      {"num_hidden_layers", Same{&c.layers, "num_layers"}},
      {"num_decoder_layers", Whole{&c.decoder_layers, 1, most_layers}, Key::optional},
      {"relative_attention_num_buckets", Whole{&c.buckets, 4}},
      {"relative_attention_max_distance", Whole{&c.max_distance}, Key::optional},
      {"feed_forward_proj", Gated{&c.activation, &c.gated}, Key::optional},
      {"dense_act_fn", Same{&c.activation, "feed_forward_proj"}},
      {"is_gated_act", Same{&c.gated, "feed_forward_proj"}},
      {"dropout_rate", Number{&c.dropout}},
      {"layer_norm_epsilon", Number{&c.eps}},
      {"initializer_factor", Number{&c.factor, 0, most_std}, Key::optional},
      {"tie_word_embeddings", &c.tied, Key::optional},
      {"pad_token_id", Whole{&c.padding_token, 0}, Key::optional},
      {"eos_token_id", Whole{&c.end_token, 0}, Key::optional},
      {"decoder_start_token_id", Whole{&c.start_token, 0}, Key::optional},
      // Of the whole model, whose decoder is one in any case. Positions are relative, so any number of them will do.
      {"is_decoder", Only{"false"}},
      {"n_positions", NoEffect{}},
      {"chunk_size_feed_forward", NoEffect{}},
      {"architectures", NoEffect{"[\"T5ForConditionalGeneration\"]"}}};
}

}  // namespace

T5Config t5_config_from_file(const std::string& path, Here here) {
  T5Config c;
  detail::read_config(path, table(c), here);
  const auto refuse = [&](const char* key, std::int64_t value, const std::string& what) {
    throw FileError(path + ": \"" + key + "\" is " + std::to_string(value) + ", " + what, here);
  };
  if (c.max_distance <= c.buckets / 2)
    refuse("relative_attention_max_distance", c.max_distance,
           "not more than half of the " + std::to_string(c.buckets) + " \"relative_attention_num_buckets\"");
  for (const auto& [key, id] : {std::pair{"pad_token_id", c.padding_token},
                                {"eos_token_id", c.end_token},
                                {"decoder_start_token_id", c.start_token}})
    if (id >= c.vocabulary) refuse(key, id, "outside of the " + std::to_string(c.vocabulary) + " of \"vocab_size\"");
  return c;
}

void save_config(const std::string& path, const T5Config& config, Here here) {
  T5Config c = config;
  detail::write_config(path, table(c), here);
}

void T5::load_published(const std::string& path, Here here) {
  detail::Published file(path, "t5", here);
  file.drop("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", "without use",
            [](const Tensor&) { return true; });
  for (const char* copy : {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"})
    file.drop_copy(copy, "shared.weight");
  if (config.tied) file.drop_copy("lm_head.weight", "shared.weight");
  file.load_into(*this, "shared.weight");
}

void T5::save_published(const std::string& path, Here here) const { detail::save_published(*this, path, here); }

}  // namespace attune::nn
