#include "examples/reformer_copy/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

namespace reformer_copy {

using attune::LshOptions;

namespace {

[[noreturn]] void refuse(const std::string& what) {
  fmt::print(stderr, "reformer_copy: {} (--help lists the options)\n", what);
  std::exit(2);
}

void check(const Options& o) {
  if (o.length % 2 != 0 || o.length < 4) refuse(fmt::format("--length {} must be even and at least 4", o.length));
  if (o.d_model % o.heads != 0) refuse(fmt::format("--heads {} does not divide --d-model {}", o.heads, o.d_model));
  if (o.axial_rows != 0 && (o.axial_rows < 2 || o.axial_rows > o.length))
    refuse(fmt::format("--axial-rows {} must lie between 2 and --length {}, or be 0", o.axial_rows, o.length));
  if (o.full && o.table) refuse("--table trains with full attention by itself; leave out --full");
  if (o.resume && o.table) refuse("--table cannot be resumed");
}

}  // namespace

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Trains a Reformer with LSH attention on the duplication task: read `0 w 0 w`, predict the second w (Kitaev et "
      "al. 2020, section 5.1)."};
  app.option_defaults()->always_capture_default()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  const auto at_least = [](std::int64_t n) {
    return CLI::Range(n, std::int64_t{1} << 40).description(fmt::format("(at least {})", n));
  };
  app.add_option("--length", o.length, "length of `0 w 0 w`, even");
  app.add_option("--symbols", o.symbols, "w is drawn from 1..N")->check(at_least(1));
  app.add_option("--batch", o.batch, "sequences in a batch")->check(at_least(1));
  app.add_option("--d-model", o.d_model, "model width")->check(at_least(2));
  app.add_option("--d-ff", o.d_ff, "feed-forward width")->check(at_least(1));
  app.add_option("--heads", o.heads, "attention heads")->check(at_least(1));
  app.add_option("--layers", o.layers, "reversible layers")->check(at_least(1));
  app.add_option("--hashes", o.hashes, "hash rounds while training")->check(at_least(1));
  app.add_option("--chunk", o.chunk, "chunk length of LSH attention")->check(at_least(1));
  app.add_option("--axial-rows", o.axial_rows, "rows of axial positions; 0: a plain table");
  app.add_option("--variant", o.variant, "LSH attention as in `paper`, `hugging-face` or `lucidrains`")
      ->check(CLI::IsMember({"paper", "hugging-face", "lucidrains"}).description(""));
  app.add_flag("--full", o.full, "train with full shared-QK attention instead of hashing");
  app.add_flag("--keep-activations", o.keep_activations, "keep activations instead of recomputing them block by block");
  app.add_option("--dropout", o.dropout, "of embeddings and layer outputs")
      ->check(CLI::Range(0.0, 0.99).description("(0 to 0.99)"));
  app.add_option("--lr", o.lr, "learning rate")->check(CLI::Range(1e-12, 1e3).description("(positive)"));
  app.add_option("--warmup", o.warmup, "steps of linear warm-up; a cosine follows")->check(at_least(0));
  app.add_option("--steps", o.steps, "training steps")->check(at_least(1));
  app.add_option("--accumulate", o.accumulate, "batches whose gradients make up a step")->check(at_least(1));
  app.add_option("--seed", o.seed, "of weights, data and hashes");
  app.add_option("--threads", o.threads, "threads; 0: all cores")->check(CLI::Range(0, 1024).description(""));
  app.add_option("--out", o.out, "directory for checkpoint and pictures");
  app.add_option("--save-every", o.save_every, "steps between checkpoints")->check(at_least(1));
  app.add_flag("--resume", o.resume,
               "continue from the checkpoint in --out, with the same bits as if never interrupted");
  app.add_flag("--table", o.table,
               "train with 1, 2, 4 hashes and full attention; print the paper's Table 2 at this size");
  auto* paper =
      app.add_flag("--paper", o.paper, "the paper's own configuration: length 1024, width 256, 150,000 steps");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    std::exit(app.exit(e));
  } catch (const CLI::ParseError& e) {
    refuse(e.what());
  }
  if (paper->count() > 0) {
    // What the paper says of the task; what was given on the command line stays.
    const auto set = [&](const char* name, std::int64_t& value, std::int64_t its) {
      if (app.get_option(name)->count() == 0) value = its;
    };
    set("--length", o.length, 1024);
    set("--d-model", o.d_model, 256);
    set("--d-ff", o.d_ff, 256);
    set("--heads", o.heads, 4);
    set("--layers", o.layers, 1);
    set("--chunk", o.chunk, 64);
    set("--steps", o.steps, 150'000);
    set("--warmup", o.warmup, 1000);
  }
  check(o);
  return o;
}

attune::nn::ReformerConfig model_config(const Options& o) {
  attune::nn::ReformerConfig c;
  c.vocabulary = o.symbols + 1;
  c.d_model = o.d_model;
  c.d_ff = o.d_ff;
  c.heads = o.heads;
  c.layers.assign(static_cast<std::size_t>(o.layers), attune::nn::ReformerAttention::lsh);
  c.lsh = o.variant == "paper"        ? LshOptions::paper()
          : o.variant == "lucidrains" ? LshOptions::lucidrains()
                                      : LshOptions::hugging_face();
  c.lsh.hashes = o.hashes;
  c.lsh.chunk = o.chunk;
  c.axial_rows = o.axial_rows == 0 ? o.length : o.axial_rows;
  c.axial_columns = (o.length + c.axial_rows - 1) / c.axial_rows;
  c.axial_row_dim = o.axial_rows == 0 ? o.d_model - 1 : o.d_model / 2;
  c.dropout = o.dropout;
  c.eps = 1e-6;
  c.reversible = !o.keep_activations;
  return c;
}

std::string course(const Options& o) {
  return fmt::format(
      "length {} symbols {} batch {} d_model {} d_ff {} heads {} layers {} hashes {} chunk {} axial_rows {} variant {} "
      "full {} "
      "keep_activations {} dropout {} lr {} warmup {} steps {} accumulate {} seed {}",
      o.length, o.symbols, o.batch, o.d_model, o.d_ff, o.heads, o.layers, o.hashes, o.chunk, o.axial_rows, o.variant,
      o.full, o.keep_activations, o.dropout, o.lr, o.warmup, o.steps, o.accumulate, o.seed);
}

}  // namespace reformer_copy
