// Configuration files of published models: each key is used, known to be without effect, or refused by name.

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "nn/nn.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

const std::string bert = "bert_tiny", gpt2 = "gpt2_tiny", reformer = "reformer_lsh_tiny";

/// A published configuration with `key` as `value` (JSON; "" leaves the key out), read.
class Changed {
 public:
  explicit Changed(const std::string& model)
      : model_(model), text_(get(std::string(ATTUNE_TEST_DATA) + "/models/" + model + "/config.json")) {}

  const std::string& with(const std::string& key, const std::string& value) {
    std::string text = text_;
    // The files have a key a line.
    const std::size_t at = text.find("\"" + key + "\":");
    if (at != std::string::npos) {
      std::size_t end = at;
      for (const auto& [opening, closing] : {std::pair{": [", ']'}, {": {", '}'}})
        if (text.find(opening, at) == text.find(":", at)) end = text.find(closing, at);
      end = text.find_first_of(",\n", end);
      if (text[end] == ',')
        text.erase(at, end - at + 1);
      else  // the last one
        text.erase(text.rfind(',', at), end - text.rfind(',', at));
    }
    if (!value.empty()) text.insert(text.find('{') + 1, "\"" + key + "\": " + value + ",");
    put(path_, text);
    return path_;
  }
  void read(const std::string& key, const std::string& value) { read_file(with(key, value)); }
  void read_file(const std::string& path) {
    if (model_ == bert)
      nn::bert_config_from_file(path);
    else if (model_ == gpt2)
      nn::gpt2_config_from_file(path);
    else
      nn::reformer_config_from_file(path);
  }
  std::string refused(const std::string& key, const std::string& value) {
    const std::string what = refusal<FileError>([&] { read(key, value); });
    CHECK(what.starts_with(path_ + ": "));
    return what.substr(std::min(what.size(), path_.size() + 2));
  }
  std::string refused_text(const std::string& text) {
    put(path_, text);
    return refusal<FileError>([&] { read_file(path_); }).substr(path_.size() + 2);
  }

 private:
  Folder folder_;
  std::string model_, text_, path_ = folder_ / "config.json";
};

}  // namespace

TEST_CASE("configurations: what is no file of text is refused, and a pipe not waited for") {
  const Folder folder;
  const std::string pipe = folder / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  for (const std::string& model : {bert, gpt2, reformer}) {
    Changed c(model);
    for (const std::string& path : {pipe, std::string(folder / "."), std::string("/dev/zero")})
      CHECK(refusal<FileError>([&] { c.read_file(path); }) == path + ": is not a regular file");
    CHECK(refusal<FileError>([&] { c.read_file("/nowhere/config.json"); }).starts_with("/nowhere/config.json: "));
    CHECK(c.refused_text(std::string(5 << 20, ' ')) == "has 5242880 bytes, too many for a configuration");
    CHECK(c.refused_text(std::string(1 << 20, '[')) == "nests deeper than 64 levels");
    for (const char* text : {"", "{", "[1]", "3", "{\"vocab_size\": 1e999}", "{} {}", "\"\xff\""})
      CHECK(c.refused_text(text) == "is not a JSON object");
  }
}

TEST_CASE("configurations: sizes are whole numbers in range") {
  for (const auto& [model, keys] :
       {std::pair{gpt2,
                  std::vector<std::string>{"n_embd", "n_head", "n_layer", "n_positions", "vocab_size", "n_inner"}},
        {bert,
         {"hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings",
          "type_vocab_size", "vocab_size", "num_labels"}},
        {reformer,
         {"hidden_size", "feed_forward_size", "num_attention_heads", "attention_head_size", "num_hashes",
          "lsh_attn_chunk_length", "local_num_chunks_before", "max_position_embeddings", "num_buckets",
          "axial_pos_shape", "num_hidden_layers", "vocab_size"}}}) {
    Changed c(model);
    for (const std::string& key : keys)
      for (const char* value : {"1e30", "-1e30", "32.7", "18446744073709551615", "9223372036854775807", "-4", "true",
                                "\"32\"", "{}", "[[4]]", "[1.5, 2]", "1e18"})
        CHECK_MESSAGE(c.refused(key, value).find("\"" + key + "\" is ") == 0, key << " as " << value);
    for (const std::string& key : keys)
      if (key != "local_num_chunks_before") CHECK(c.refused(key, "0").find("\"" + key + "\" is 0") == 0);
  }
  CHECK(Changed(reformer).refused("hidden_size", "1e30") ==
        "\"hidden_size\" is 1e+30, not a whole number from 1 to 2147483647");
}

TEST_CASE("configurations: probabilities, switches and names") {
  Changed g(gpt2), r(reformer);
  for (const char* key : {"attn_pdrop", "resid_pdrop", "embd_pdrop"})
    for (const char* value : {"2", "-0.1", "null", "\"0\"", "[0.1]"})
      CHECK(g.refused(key, value) ==
            std::string("\"") + key + "\" is " + (value[0] == '-' ? "-0.1" : value) + ", not a number from 0.0 to 1.0");
  CHECK(r.refused("hidden_dropout_prob", "1e9") ==
        "\"hidden_dropout_prob\" is 1000000000.0, not a number from 0.0 to 1.0");
  CHECK(r.refused("layer_norm_eps", "-1") == "\"layer_norm_eps\" is -1, not a number from 0.0 to 1.0");
  CHECK(g.refused("initializer_range", "-0.1") == "\"initializer_range\" is -0.1, not a number from 0.0 to 1000000.0");
  CHECK(r.refused("is_decoder", "1") == "\"is_decoder\" is 1, not true or false");
  CHECK(r.refused("hidden_act", "\"mish\"") == "\"hidden_act\" is \"mish\", not an activation that is known");
  CHECK(r.refused("attn_layers", "[\"lsh\", \"linear\"]") ==
        "\"attn_layers\" has \"linear\", neither \"lsh\" nor \"local\"");
  CHECK(r.refused("attn_layers", "[\"lsh\", \"LSH\"]").starts_with("\"attn_layers\" has \"LSH\""));
  CHECK(r.refused("attn_layers", "[]") == "\"attn_layers\" has 0 layers");
  CHECK(r.refused("attn_layers", "[1, 2]") == "\"attn_layers\" is [1,2], not a string, or a list of them");
  const std::string shown = g.refused("activation_function", "\"" + std::string(100'000, 'x') + "\"");
  CHECK(shown.size() < 200);
}

TEST_CASE("configurations: a plain GPT-2's file has published keys alone, its tokens among them") {
  const Folder folder;
  const std::string path = folder / "config.json";
  nn::save_config(path, nn::Gpt2Config{});
  CHECK(get(path).find("\"band\"") == std::string::npos);
  CHECK(get(path).find("\"eos_token_id\": null") != std::string::npos);
  nn::save_config(path, nn::Gpt2Config{.band = 8, .begin_token = 5, .end_token = 7});
  const nn::Gpt2Config again = nn::gpt2_config_from_file(path);
  CHECK(again.band == 8);
  CHECK(again.begin_token == 5);
  CHECK(again.end_token == 7);
  CHECK(nn::gpt2_config_from_file(Changed(gpt2).with("eos_token_id", "")).end_token == 50256);  // as its library has it
  CHECK(nn::gpt2_config_from_file(Changed(gpt2).with("eos_token_id", "null")).end_token == -1);
  CHECK(nn::gpt2_config_from_file(Changed(gpt2).with("bos_token_id", "3")).begin_token == 3);
  CHECK(Changed(gpt2).refused("eos_token_id", "\"a\"") == "\"eos_token_id\" is \"a\", not the number of a token");
}

TEST_CASE("configurations: a key is used, known to be without effect, or refused") {
  for (const std::string& model : {bert, gpt2, reformer}) {
    Changed c(model);
    for (const char* key : {"_name_or_path", "top_k", "sep_token_id", "task_specific_params"}) {
      c.read(key, "");
      c.read(key, "{\"a\": [1, {}]}");
    }
    CHECK(c.refused("quantization_config", "{\"bits\": 4}") ==
          "\"quantization_config\" is no key that is known here; it may change what the model computes");
    CHECK(c.refused("vocab_sise", "7").starts_with("\"vocab_sise\" is no key"));
    CHECK(c.refused("add_cross_attention", "true") ==
          "\"add_cross_attention\" is true, not false, which is all that this model has");
    for (const char* key : {"is_encoder_decoder", "tie_encoder_decoder"}) {
      c.read(key, "null");
      CHECK(c.refused(key, "true").starts_with(std::string("\"") + key + "\" is true"));
    }
    CHECK(c.refused("pruned_heads", "{\"0\": [1]}").starts_with("\"pruned_heads\" is {...}, not {}"));
    CHECK(c.refused("model_type", "\"t5\"")
              .starts_with("\"model_type\" is \"t5\", not \"" + model.substr(0, model.find('_')) + "\""));
    c.read("model_type", "");
  }
  CHECK(Changed(reformer).refused("tie_word_embeddings", "true").starts_with("\"tie_word_embeddings\" is true"));
  CHECK(!nn::gpt2_config_from_file(Changed(gpt2).with("tie_word_embeddings", "false")).tied);
  CHECK(nn::gpt2_config_from_file(Changed(gpt2).with("tie_word_embeddings", "")).tied);
}

TEST_CASE("configurations: BERT's classes, positions, problems and labels") {
  Changed b(bert);
  const auto read = [&](const std::string& key, const std::string& value) {
    return nn::bert_config_from_file(b.with(key, value));
  };
  CHECK(read("architectures", "").heads_on_top == nn::BertHeads::pretraining);
  CHECK(read("architectures", "null").heads_on_top == nn::BertHeads::pretraining);
  CHECK(read("architectures", "[\"BertForTokenClassification\"]").heads_on_top == nn::BertHeads::token_labels);
  CHECK(b.refused("architectures", "[\"BertForRetrieval\"]") ==
        "\"architectures\" is \"BertForRetrieval\", not one of BertModel, BertForPreTraining, BertForMaskedLM, "
        "BertLMHeadModel, BertForNextSentencePrediction, BertForSequenceClassification, BertForTokenClassification, "
        "BertForQuestionAnswering, BertForMultipleChoice");
  CHECK(b.refused("architectures", "[\"BertModel\", \"BertForMaskedLM\"]") ==
        "\"architectures\" has 2 classes, not one");
  CHECK(b.refused("position_embedding_type", "\"rotary\"") ==
        "\"position_embedding_type\" is \"rotary\", not one of absolute, relative_key, relative_key_query");
  CHECK(b.refused("problem_type", "\"ranking\"").starts_with("\"problem_type\" is \"ranking\", not one of regression"));
  CHECK(read("is_decoder", "true").causal);
  CHECK(read("pad_token_id", "null").padding_token == -1);
  CHECK(read("pad_token_id", "").padding_token == 0);
  CHECK(read("pad_token_id", "7").padding_token == 7);
  CHECK(b.refused("pad_token_id", "101") == "\"pad_token_id\" is 101, which is not below the 101 of \"vocab_size\"");
  CHECK(b.refused("pad_token_id", "-2") == "\"pad_token_id\" is -2, not the number of a token");
  CHECK(b.refused("num_attention_heads", "5") ==
        "\"num_attention_heads\" is 5, which does not divide the 48 of \"hidden_size\"");
  CHECK(b.refused("num_labels", "3") == "\"num_labels\" is 3, not 2 as \"id2label\" says");
  CHECK(read("num_labels", "2").labels == std::vector<std::string>{"LABEL_0", "LABEL_1"});
  for (const char* labels : {"{\"1\": \"a\"}", "{}", "[]", "{\"0\": 1}", "{\"0\": \"a\", \"00\": \"b\"}"})
    CHECK(b.refused("id2label", labels).starts_with("\"id2label\" is "));
  CHECK(b.refused("add_cross_attention", "true").starts_with("\"add_cross_attention\" is true"));
}

TEST_CASE("configurations: keys that contradict each other") {
  Changed g(gpt2), r(reformer);
  for (const char* key : {"n_ctx", "max_position_embeddings"}) {
    g.read(key, "32");
    CHECK(g.refused(key, "64") == std::string("\"") + key + "\" is 64, not 32 as \"n_positions\" says");
  }
  CHECK(g.refused("hidden_size", "1e30") == "\"hidden_size\" is 1e+30, not 48 as \"n_embd\" says");
  CHECK(g.refused("num_hidden_layers", "4") == "\"num_hidden_layers\" is 4, not 3 as \"n_layer\" says");
  CHECK(g.refused("n_head\": 4, \"n_head", "3") == "\"n_head\" is there twice");
  CHECK(r.refused("num_hidden_layers", "3") == "\"num_hidden_layers\" is 3, not 2 as \"attn_layers\" says");
  CHECK(r.refused("axial_pos_embds_dim", "[16, 8]") ==
        "\"axial_pos_embds_dim\" adds up to 24, not to 32 as \"hidden_size\" says");
  CHECK(r.refused("axial_pos_shape", "[8, 16]") ==
        "\"axial_pos_shape\" has 128 positions, more than the 64 of \"max_position_embeddings\"");
}

}  // namespace attune::tests
