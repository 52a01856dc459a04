// Published models' files both ways: what is saved is loaded again, bit by bit, and has the published names.

#include <doctest/doctest.h>

#include "autograd/io/safetensors.h"
#include "nn/nn.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

std::string data(const std::string& model, const std::string& file) {
  return std::string(ATTUNE_TEST_DATA) + "/models/" + model + "/" + file;
}

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const FileError& e) {
    return e.what();
  }
  return "";
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text + "\n").find("\n" + line + "\n") != std::string::npos;
}

/// A published model read, saved, and read again.
template <class Model, class ReadConfig>
void check_both_ways(const std::string& name, ReadConfig&& read_config, const std::vector<std::string>& constants) {
  CAPTURE(name);
  const Folder folder;
  const auto config = read_config(data(name, "config.json"));
  Model first(config);
  first.load_published(data(name, "model.safetensors"));
  first.save_published(folder / "model.safetensors");
  const SafetensorsFile reference = load_safetensors(data(name, "model.safetensors")),
                        saved = load_safetensors(folder / "model.safetensors");
  CHECK(get(folder / "model.safetensors").find("\"format\":\"pt\"") != std::string::npos);
  for (const auto& [key, value] : saved.tensors) {
    const std::string which = key;  // clang 14 captures no binding
    REQUIRE_MESSAGE(reference.tensors.contains(key), which);
    CHECK_MESSAGE(same_bits(value, reference.tensors.at(key)), which);
  }
  for (const auto& [key, value] : reference.tensors) {
    bool constant = false;
    for (const std::string& ending : constants) constant |= key.ends_with(ending);
    const std::string which = key;  // clang 14 captures no binding
    CHECK_MESSAGE(constant != saved.tensors.contains(key), which);
  }
  nn::save_config(folder / "config.json", first.config);
  Model second(read_config(folder / "config.json"));
  second.load_published(folder / "model.safetensors");
  for (const auto& [key, value] : second.state_dict()) CHECK(same_bits(value, first.state_dict().at(key)));
  // A second writing gives the same bytes: nothing was lost on the way.
  nn::save_config(folder / "again.json", second.config);
  CHECK(get(folder / "again.json") == get(folder / "config.json"));
  CHECK(folder.files() == 3);
}

const std::vector<std::string> gpt2_constants{".attn.bias", ".attn.masked_bias"},
    bert_constants{".position_ids", "cls.predictions.decoder.bias"},
    reformer_constants{"_value_float16", "_value_float32", "lm_head.decoder.bias"};

}  // namespace

TEST_CASE("published: models are saved as they were read") {
  const auto bert = [](const std::string& path) { return nn::bert_config_from_file(path); };
  const auto gpt2 = [](const std::string& path) { return nn::gpt2_config_from_file(path); };
  const auto reformer = [](const std::string& path) { return nn::reformer_config_from_file(path); };
  for (const char* name : {"bert_tiny", "bert_causal", "bert_labels", "bert_tokens"})
    check_both_ways<nn::Bert>(name, bert, bert_constants);
  for (const char* name : {"gpt2_tiny", "gpt2_unscaled"}) check_both_ways<nn::Gpt2>(name, gpt2, gpt2_constants);
  for (const char* name : {"reformer_lsh_tiny", "reformer_mixed_tiny", "reformer_learned_positions", "reformer_masked"})
    check_both_ways<nn::Reformer>(name, reformer, reformer_constants);
  const auto longformer = [](const std::string& path) { return nn::longformer_config_from_file(path); };
  const auto bigbird = [](const std::string& path) { return nn::bigbird_config_from_file(path); };
  for (const char* name : {"longformer_tiny", "longformer_model_tiny"})
    check_both_ways<nn::Longformer>(name, longformer, bert_constants);
  for (const char* name : {"bigbird_full_tiny", "bigbird_sparse_tiny"})
    check_both_ways<nn::BigBird>(name, bigbird, bert_constants);
}

TEST_CASE("published: a saved configuration has every member of its table") {
  const Folder folder;
  const std::string path = folder / "config.json";
  nn::save_config(path, nn::Gpt2Config{.vocabulary = 300,
                                       .positions = 77,
                                       .d_model = 36,
                                       .d_ff = 50,
                                       .heads = 6,
                                       .layers = 5,
                                       .activation = Activation::silu,
                                       .dropout = 0.25,
                                       .embedding_dropout = 0.125,
                                       .attention_dropout = 0.0625,
                                       .eps = 1e-7,
                                       .std = 0.03,
                                       .scale_by_head_dim = false,
                                       .scale_by_inverse_layer = true,
                                       .tied = false});
  const nn::Gpt2Config c = nn::gpt2_config_from_file(path);
  CHECK(c.vocabulary == 300);
  CHECK(c.positions == 77);
  CHECK(c.d_model == 36);
  CHECK(c.d_ff == 50);
  CHECK(c.heads == 6);
  CHECK(c.layers == 5);
  CHECK(c.activation == Activation::silu);
  CHECK(c.dropout == 0.25);
  CHECK(c.embedding_dropout == 0.125);
  CHECK(c.attention_dropout == 0.0625);
  CHECK(c.eps == 1e-7);
  CHECK(c.std == 0.03);
  CHECK(!c.scale_by_head_dim);
  CHECK(c.scale_by_inverse_layer);
  CHECK(!c.tied);
  const std::string text = get(path);
  for (const char* line : {"\"model_type\": \"gpt2\"", "\"layer_norm_epsilon\": 1e-07", "\"GPT2LMHeadModel\"",
                           "\"activation_function\": \"silu\""})
    CHECK_MESSAGE(text.find(line) != std::string::npos, text);
  nn::save_config(path, nn::Gpt2Config{});
  CHECK(nn::gpt2_config_from_file(path).d_ff == 0);
}

TEST_CASE("published: a configuration that no file can hold is refused, and the file stays") {
  const Folder folder;
  const std::string path = folder / "config.json";
  put(path, "before");
  const auto refused = [&](const auto& config) {
    const std::string what = refusal<ValueError>([&] { nn::save_config(path, config); });
    CHECK(get(path) == "before");
    return what;
  };
  CHECK(refused(nn::Gpt2Config{.vocabulary = 0}) ==
        "save_config: \"vocab_size\" would be 0, not a whole number from 1 to 2147483647");
  CHECK(
      refused(nn::Gpt2Config{.dropout = not_a_number}).starts_with("save_config: \"resid_pdrop\" would be null, not"));
  nn::ReformerConfig r;
  CHECK(refused(r) ==
        "save_config: config.json has no key for lsh.bucket_count, in which these options differ from "
        "LshOptions::hugging_face()");
  r.lsh = LshOptions::hugging_face();
  CHECK(refused(r).starts_with("save_config: lsh.max_length is 0"));
  r.axial = false;
  r.lsh.max_length = 512;
  CHECK(refused(r) == "save_config: \"max_position_embeddings\" would be both 4096 and 512");
  r.lsh.max_length = 4096;
  nn::save_config(path, r);
  CHECK(nn::reformer_config_from_file(path).lsh.max_length == 4096);
  CHECK(refusal<FileError>([&] { nn::save_config("/nowhere/config.json", r); }).starts_with("/nowhere/config.json: "));
}

TEST_CASE("published: another model's file is named for what it is") {
  nn::Gpt2 gpt2(nn::gpt2_config_from_file(data("gpt2_tiny", "config.json")));
  nn::Reformer reformer(nn::reformer_config_from_file(data("reformer_lsh_tiny", "config.json")));
  nn::Bert bert(nn::bert_config_from_file(data("bert_tiny", "config.json")));
  const std::string g = data("gpt2_tiny", "model.safetensors"), r = data("reformer_lsh_tiny", "model.safetensors"),
                    b = data("bert_tiny", "model.safetensors");
  CHECK(refusal<FileError>([&] { bert.load_published(g); }) == g + ": is a gpt2 file by its names, not a bert file");
  CHECK(refusal<FileError>([&] { bert.load_encoder(r); }) == r + ": is a reformer file by its names, not a bert file");
  CHECK(refusal<FileError>([&] { gpt2.load_published(b); }) == b + ": is a bert file by its names, not a gpt2 file");
  CHECK(refusal<FileError>([&] { gpt2.load_published(r); }) ==
        r + ": is a reformer file by its names, not a gpt2 file");
  CHECK(refusal<FileError>([&] { reformer.load_published(g); }) ==
        g + ": is a gpt2 file by its names, not a reformer file");
}

TEST_CASE("published: all that does not fit is listed at once, and nothing is loaded") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  nn::Gpt2 model(nn::gpt2_config_from_file(data("gpt2_tiny", "config.json")));
  const nn::StateDict before = model.state_dict();
  auto tensors = load_safetensors(data("gpt2_tiny", "model.safetensors")).tensors;
  tensors.erase("transformer.h.0.ln_1.bias");
  tensors.erase("transformer.h.2.mlp.c_fc.weight");
  tensors["transformer.wte.weight"] = zeros({98, 48});
  tensors["transformer.wpe.weight"] = zeros({32, 48}, int64);
  tensors["transformer.h.0.attn.bias"] = zeros({1, 1, 32, 32});
  tensors["transformer.h.1.attn.masked_bias"] = scalar(3);
  tensors["transformer.h.9.ln_1.bias"] = zeros({48});
  tensors["lm_head.weight"] = zeros({98, 47});
  save_safetensors(path, tensors);
  const std::string what = message([&] { model.load_published(path); });
  CAPTURE(what);
  CHECK(has_line(what, path + ": does not fit the model"));
  CHECK(has_line(what, "  its vocabulary has 98 tokens, the model's 97"));
  CHECK(has_line(what, "  \"transformer.h.0.attn.bias\" is not a causal mask, which is all that this model has"));
  CHECK(has_line(what,
                 "  \"transformer.h.1.attn.masked_bias\" is not a score that hides, which is all that this model "
                 "has"));
  CHECK(what.find("\"lm_head.weight\" differs from") != std::string::npos);
  CHECK(has_line(what, "  missing: transformer.h.0.ln_1.bias, transformer.h.2.mlp.c_fc.weight"));
  CHECK(has_line(what, "  unexpected: transformer.h.9.ln_1.bias"));
  CHECK(has_line(what,
                 "  misshaped: transformer.wpe.weight (expected [32, 48] float32, found [32, 48] int64), "
                 "transformer.wte.weight (expected [97, 48] float32, found [98, 48] float32)"));
  for (const auto& [name, value] : model.state_dict()) CHECK(same_bits(value, before.at(name)));
}

TEST_CASE("published: an unreadable tensor is refused with its dtype") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  // An empty file but for one tensor of 8-bit floats.
  put(path, with_header(R"({"transformer.wte.weight":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})", "ab"));
  nn::Gpt2 model(nn::gpt2_config_from_file(data("gpt2_tiny", "config.json")));
  const std::string what = message([&] { model.load_published(path); });
  CHECK_MESSAGE(has_line(what, "  \"transformer.wte.weight\" is of F8_E4M3, which cannot be read"), what);
}

TEST_CASE("published: saving is whole or not at all") {
  const Folder folder;
  nn::Gpt2 model(nn::gpt2_config_from_file(data("gpt2_tiny", "config.json")));
  CHECK(refusal<FileError>([&] { model.save_published("/nowhere/model.safetensors"); }) != "");
  const std::string path = folder / "model.safetensors";
  model.save_published(path);
  model.save_published(path);  // over itself
  CHECK(folder.files() == 1);
}

}  // namespace attune::tests
