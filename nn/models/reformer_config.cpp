// A Reformer's config.json, read and written.

#include <algorithm>

#include "autograd/runtime/error.h"
#include "nn/models/internal/config_json.h"
#include "nn/models/reformer.h"

namespace attune::nn {

namespace {

/// A configuration beside what its file says in other forms.
struct InFile {
  ReformerConfig c{};
  std::vector<std::string> kinds{};
  std::vector<std::int64_t> buckets{}, axial_shape{}, axial_dims{};
  std::int64_t layers = 0;
};

std::vector<detail::ConfigEntry> table(InFile& f) {
  using namespace detail;
  constexpr std::int64_t most_neighbours = 1 << 20;
  ReformerConfig& c = f.c;
  return {{"model_type", Only{"\"reformer\""}},
          {"vocab_size", Whole{&c.vocabulary}},
          {"hidden_size", Whole{&c.d_model}},
          {"feed_forward_size", Whole{&c.d_ff}},
          {"num_attention_heads", Whole{&c.heads}},
          {"attention_head_size", Whole{&c.head_dim}},
          {"attn_layers", &f.kinds},
          {"num_hidden_layers", Whole{&f.layers}, Key::optional},
          {"num_hashes", Whole{&c.lsh.hashes}},
          {"num_buckets", Wholes{&f.buckets}, Key::optional},
          {"lsh_attn_chunk_length", Whole{&c.lsh.chunk}},
          {"lsh_num_chunks_before", Whole{&c.lsh.chunks_before, 0, most_neighbours}},
          {"lsh_num_chunks_after", Whole{&c.lsh.chunks_after, 0, most_neighbours}},
          {"lsh_attention_probs_dropout_prob", Number{&c.lsh.dropout}},
          {"local_attn_chunk_length", Whole{&c.local.chunk}},
          {"local_num_chunks_before", Whole{&c.local.chunks_before, 0, most_neighbours}},
          {"local_num_chunks_after", Whole{&c.local.chunks_after, 0, most_neighbours}},
          {"local_attention_probs_dropout_prob", Number{&c.local.dropout}},
          {"is_decoder", &c.lsh.causal},
          {"is_decoder", &c.local.causal},
          {"max_position_embeddings", Whole{&c.positions}},
          {"max_position_embeddings", Whole{&c.lsh.max_length}},
          {"axial_pos_embds", &c.axial, Key::optional},
          {"axial_pos_shape", Wholes{&f.axial_shape}, Key::optional},
          {"axial_pos_embds_dim", Wholes{&f.axial_dims}, Key::optional},
          {"axial_norm_std", Number{&c.axial_std, 0, most_std}, Key::optional},
          {"initializer_range", Number{&c.embedding_std, 0, most_std}},
          {"initializer_range", Number{&c.std, 0, most_std}},
          {"hidden_act", &c.activation},
          {"hidden_dropout_prob", Number{&c.dropout}},
          {"layer_norm_eps", Number{&c.eps}},
          // The head reads both streams, so it is twice as wide as the embedding.
          {"tie_word_embeddings", Only{"false"}},
          {"sinusoidal_pos_embds", Only{"false"}},
          // Pieces in which the same is computed, and seeds of random numbers that are other ones here.
          {"chunk_size_feed_forward", NoEffect{}},
          {"chunk_size_lm_head", NoEffect{}},
          {"hash_seed", NoEffect{}},
          // Names that published files have from before those above.
          {"attention_probs_dropout_prob", NoEffect{}},
          {"intermediate_size", NoEffect{}},
          {"num_chunks_after", NoEffect{}},
          {"num_chunks_before", NoEffect{}},
          {"type_vocab_size", NoEffect{}},
          {"architectures", NoEffect{"[\"ReformerModelWithLMHead\"]"}}};
}

bool has(const ReformerConfig& c, ReformerAttention kind) {
  return std::find(c.layers.begin(), c.layers.end(), kind) != c.layers.end();
}

/// Throws unless `o` is Hugging Face's attention in what config.json does not say.
void check_written(const LshOptions& o, Here here) {
  const LshOptions h = LshOptions::hugging_face();
  const auto same = [&](bool equal, const char* option) {
    if (!equal)
      throw ValueError(std::string("save_config: config.json has no key for lsh.") + option +
                           ", in which these options differ from LshOptions::hugging_face()",
                       here);
  };
  same(o.bucket_count == h.bucket_count || !o.buckets.empty(), "bucket_count");
  same(o.divide_by_sqrt_dim == h.divide_by_sqrt_dim, "divide_by_sqrt_dim");
  same(o.norm_epsilon == h.norm_epsilon, "norm_epsilon");
  same(o.mask_other_buckets == h.mask_other_buckets, "mask_other_buckets");
  same(o.correct_duplicates == h.correct_duplicates, "correct_duplicates");
  same(o.self_mask == h.self_mask && o.self_penalty == h.self_penalty, "self_mask");
  same(o.key_order == h.key_order, "key_order");
  same(o.rotations == h.rotations, "rotations");
}

}  // namespace

ReformerConfig reformer_config_from_file(const std::string& path, Here here) {
  InFile f;
  ReformerConfig& c = f.c;
  c.lsh = LshOptions::hugging_face();
  c.local.ring = true;
  detail::read_config(path, table(f), here);
  const auto refuse = [&](const std::string& what) { throw FileError(path + ": " + what, here); };
  c.layers.clear();
  for (const std::string& kind : f.kinds) {
    if (kind != "lsh" && kind != "local") refuse("\"attn_layers\" has \"" + kind + "\", neither \"lsh\" nor \"local\"");
    c.layers.push_back(kind == "lsh" ? ReformerAttention::lsh : ReformerAttention::local);
  }
  const auto count = static_cast<std::int64_t>(f.kinds.size());
  if (count < 1 || count > detail::most_layers) refuse("\"attn_layers\" has " + std::to_string(count) + " layers");
  if (f.layers != 0 && f.layers != count)
    refuse("\"num_hidden_layers\" is " + std::to_string(f.layers) + ", not " + std::to_string(count) +
           " as \"attn_layers\" says");
  c.lsh.buckets = f.buckets;
  if (!c.axial) return c;
  if (f.axial_shape.size() != 2 || f.axial_dims.size() != 2)
    refuse("\"axial_pos_shape\" and \"axial_pos_embds_dim\" must have two numbers each");
  c.axial_rows = f.axial_shape[0];
  c.axial_columns = f.axial_shape[1];
  c.axial_row_dim = f.axial_dims[0];
  if (f.axial_dims[0] + f.axial_dims[1] != c.d_model)
    refuse("\"axial_pos_embds_dim\" adds up to " + std::to_string(f.axial_dims[0] + f.axial_dims[1]) + ", not to " +
           std::to_string(c.d_model) + " as \"hidden_size\" says");
  if (c.axial_rows * c.axial_columns > c.positions)
    refuse("\"axial_pos_shape\" has " + std::to_string(c.axial_rows * c.axial_columns) + " positions, more than the " +
           std::to_string(c.positions) + " of \"max_position_embeddings\"");
  return c;
}

void save_config(const std::string& path, const ReformerConfig& config, Here here) {
  InFile f{.c = config};
  ReformerConfig& c = f.c;
  const bool lsh = has(c, ReformerAttention::lsh), local = has(c, ReformerAttention::local);
  if (lsh) check_written(c.lsh, here);
  if (local && !c.local.causal && !c.local.ring)
    throw ValueError("save_config: config.json has no key for local.ring, which is off here", here);
  for (const ReformerAttention kind : c.layers) f.kinds.push_back(kind == ReformerAttention::lsh ? "lsh" : "local");
  f.layers = static_cast<std::int64_t>(f.kinds.size());
  f.buckets.assign(c.lsh.buckets.begin(), c.lsh.buckets.end());
  if (c.head_dim == 0 && c.heads > 0) c.head_dim = c.d_model / c.heads;
  if (c.std == 0) c.std = c.embedding_std;
  // One key for two members: what no layer uses follows the other.
  if (!lsh) c.lsh.causal = c.local.causal;
  if (!local) c.local.causal = c.lsh.causal;
  if (c.axial) {
    f.axial_shape = {c.axial_rows, c.axial_columns};
    f.axial_dims = {c.axial_row_dim, c.d_model - c.axial_row_dim};
    c.positions = std::max(c.axial_rows * c.axial_columns, c.lsh.max_length);
  }
  if (!lsh || !c.lsh.buckets.empty()) c.lsh.max_length = c.positions;
  if (c.lsh.max_length == 0)
    throw ValueError(
        "save_config: lsh.max_length is 0, but counts of buckets by a published file go by the longest "
        "sequence",
        here);
  detail::write_config(path, table(f), here);
}

}  // namespace attune::nn
