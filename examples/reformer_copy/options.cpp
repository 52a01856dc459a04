#include "examples/reformer_copy/options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <sstream>

namespace reformer_copy {

using attune::LshOptions;

void refuse(const std::string& what) {
  const std::string line = what.substr(0, what.find('\n'));
  fmt::print(stderr, "reformer_copy: {}{}\n", line, line.find("--") == 0 ? " (--help lists the options)" : "");
  std::exit(2);
}

namespace {

struct Integer {
  const char* name;
  std::int64_t Options::*value;
  std::int64_t least;
  const char* help;
  bool of_course = true;  // decides the course of training
  std::int64_t top = std::int64_t{1} << 31;
};
constexpr Integer integers[] = {
    {"length", &Options::length, 4, "length of `0 w 0 w`, even"},
    {"symbols", &Options::symbols, 1, "w is drawn from 1..N"},
    {"batch", &Options::batch, 1, "sequences in a batch"},
    {"d-model", &Options::d_model, 2, "model width"},
    {"d-ff", &Options::d_ff, 1, "feed-forward width"},
    {"heads", &Options::heads, 1, "attention heads"},
    {"layers", &Options::layers, 1, "reversible layers"},
    {"hashes", &Options::hashes, 1, "hash rounds while training"},
    {"chunk", &Options::chunk, 1, "chunk length of LSH attention"},
    {"axial-rows", &Options::axial_rows, 0, "rows of axial positions; 0: a plain table"},
    {"warmup", &Options::warmup, 0, "steps of linear warm-up; a cosine follows"},
    {"steps", &Options::steps, 1, "training steps"},
    {"accumulate", &Options::accumulate, 1, "batches whose gradients make up a step"},
    {"save-every", &Options::save_every, 1, "steps between checkpoints", false},
    {"threads", &Options::threads, 0, "threads; 0: all cores", false, 1024},
    {"seed", &Options::seed, 0, "of weights, data and hashes", true, std::numeric_limits<std::int64_t>::max() - 1},
};

/// The least memory that training takes, in bytes: parameters with gradients and moments, one layer's activations and
/// hashes, the logits with their gradient; and evaluation, 64 sequences at a time.
double least_memory(const Options& o) {
  const auto real = [](std::int64_t v) { return static_cast<double>(v); };
  const double d = real(o.d_model), vocabulary = real(o.symbols) + 1, length = real(o.length);
  const double parameters =
      3 * vocabulary * d + real(o.layers) * (3 * d * d + 2 * d * real(o.d_ff)) + (o.axial_rows == 0 ? length * d : 0);
  const double position = 2 * vocabulary + 4 * d + real(o.d_ff) + (o.full ? 0 : 2 * real(o.heads) * real(o.hashes)) +
                          (o.keep_activations ? real(o.layers) * (6 * d + real(o.d_ff)) : 0);
  const double evaluation = 64 * length * (vocabulary + 2 * d);
  return 4 * (4 * parameters + std::max(real(o.batch) * length * position, evaluation));
}

void check(const Options& o) {
  for (const Integer& i : integers) {
    const std::int64_t value = o.*i.value;
    if (value < i.least || value > i.top)
      refuse(fmt::format("--{} {} is not in {}..{}", i.name, value, i.least, i.top));
  }
  if (!(o.lr >= 1e-12 && o.lr <= 1e3)) refuse(fmt::format("--lr {} is not in 1e-12..1000", o.lr));
  if (!(o.dropout >= 0 && o.dropout <= 0.99)) refuse(fmt::format("--dropout {} is not in 0..0.99", o.dropout));
  if (o.length % 2 != 0) refuse(fmt::format("--length {} is odd; `0 w 0 w` has two equal halves", o.length));
  if (o.d_model % o.heads != 0) refuse(fmt::format("--heads {} does not divide --d-model {}", o.heads, o.d_model));
  if (o.axial_rows != 0 && (o.axial_rows < 2 || o.axial_rows > o.length))
    refuse(fmt::format("--axial-rows {} must lie between 2 and --length {}, or be 0", o.axial_rows, o.length));
  if (o.out.empty()) refuse("--out is empty; it names a directory");
  const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (std::any_of(o.out.begin(), o.out.end(), control)) refuse("--out has a control character in it");
  if (o.full && o.table) refuse("--full does not go with --table, which trains with full attention by itself");
  const double needed = least_memory(o),
               there = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  constexpr double gib = 1 << 30;
  if (needed > there)
    refuse(fmt::format("these sizes need {:.3g} GiB of memory or more; this machine has {:.3g}", needed / gib,
                       there / gib));
}

/// The paper's section 5.1, for what was not given on the command line.
void apply_paper(const CLI::App& app, Options& o) {
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

}  // namespace

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Trains a Reformer with LSH attention on the duplication task: read `0 w 0 w`, predict the second w (Kitaev et "
      "al. 2020, section 5.1)."};
  app.option_defaults()->always_capture_default()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  for (const Integer& i : integers) app.add_option(fmt::format("--{}", i.name), o.*i.value, i.help);
  app.add_option("--variant", o.variant, "LSH attention as in `paper`, `hugging-face` or `lucidrains`")
      ->check(CLI::IsMember({"paper", "hugging-face", "lucidrains"}).description(""));
  app.add_flag("--full", o.full, "train with full shared-QK attention instead of hashing");
  app.add_flag("--keep-activations", o.keep_activations, "keep activations instead of recomputing them block by block");
  app.add_option("--dropout", o.dropout, "of embeddings and layer outputs");
  app.add_option("--lr", o.lr, "learning rate");
  app.add_option("--out", o.out, "directory for checkpoint and pictures; an unfinished run in it is not written over");
  app.add_flag("--resume", o.resume,
               "continue from the checkpoint in --out, with the same bits as if never interrupted");
  app.add_flag("--table", o.table,
               "train with 1, 2, 4 hashes and full attention; print the paper's Table 2 at this size");
  app.add_flag("--paper", o.paper,
               "the paper's own configuration: length 1024, width 256, 150,000 steps, which take days on two cores");
  app.allow_extras();  // what CLI11 says of them itself is in reversed order
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    std::exit(app.exit(e));
  } catch (const CLI::ParseError& e) {
    refuse(e.what());
  }
  if (const auto unknown = app.remaining(); !unknown.empty())
    refuse(fmt::format("{} is no option{}", unknown[0], unknown[0][0] == '-' ? "" : "; options begin with --"));
  if (o.paper) apply_paper(app, o);
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

std::string checkpoint_path(const Options& o) { return o.out + "/" + o.checkpoint; }

std::string course(const Options& o) {
  std::string text;
  for (const Integer& i : integers)
    if (i.of_course) text += fmt::format("{} {} ", i.name, o.*i.value);
  return text + fmt::format("variant {} full {} keep-activations {} dropout {} lr {}", o.variant, o.full,
                            o.keep_activations, o.dropout, o.lr);
}

std::int64_t steps_of(const std::string& course) {
  std::istringstream in(course);
  std::string name, value;
  while (in >> name >> value)
    if (name == "steps") return std::strtoll(value.c_str(), nullptr, 10);
  return 0;
}

std::string difference(const std::string& there, const std::string& here) {
  std::istringstream a(there), b(here);
  std::string text, name, there_value, here_name, here_value;
  while (a >> name >> there_value && b >> here_name >> here_value && name == here_name)
    if (there_value != here_value)
      text += fmt::format("{}--{} {} there and {} here", text.empty() ? "" : ", ", name, there_value, here_value);
  return text.empty() ? "--help lists them" : text;
}

}  // namespace reformer_copy
