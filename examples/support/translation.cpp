#include "examples/support/translation.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/picture.h"
#include "examples/support/plot.h"
#include "examples/support/print.h"
#include "examples/support/text.h"

namespace examples {

namespace nn = attune::nn;
using attune::Tensor;

namespace {

/// A row a sentence, for any use of a batch.
struct Rows {
  Tensor tokens, padding;
  std::vector<std::int64_t> rows;
};

/// In evaluation mode, off the tape.
class Evaluating {
 public:
  explicit Evaluating(nn::Module& m) : module_(m), before_(m.training()) { m.eval(); }
  ~Evaluating() { module_.train(before_); }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  attune::NoGrad off_;
  nn::Module& module_;
  bool before_;
};

}  // namespace

std::vector<std::string> translations(Translator& model, const Languages& languages,
                                      const std::vector<nn::Sequence>& sources, const Search& search) {
  const Evaluating evaluating(model.module());
  std::vector<std::int64_t> lengths;
  for (const nn::Sequence& s : sources) lengths.push_back(std::ssize(s));
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  const nn::BatchOptions options{.max_tokens = std::max(longest, search.tokens),
                                 .shuffle = false,
                                 .group = std::ssize(sources),
                                 .prefetch = false};
  const auto batches =
      nn::make_batches<Rows>(lengths, options, [&](const std::vector<std::int64_t>& rows, attune::Generator&) {
        std::vector<nn::Sequence> all;
        for (const std::int64_t row : rows) all.push_back(sources[static_cast<std::size_t>(row)]);
        const nn::Padded padded = nn::pad(all);
        return Rows{padded.tokens, padded.key_padding_mask, rows};
      });
  std::vector<std::string> said(sources.size());
  for (const Rows& batch : batches) {
    const nn::GenerateResult r = model.generate(batch.tokens, batch.padding,
                                                {.max_length = std::min(search.most, 2 * batch.tokens.size(1) + 10),
                                                 .eos = languages.end,
                                                 .pad = languages.end,
                                                 .beams = search.beams,
                                                 .length_penalty = search.beams > 1 ? search.length_penalty : 1,
                                                 .wu_penalty = search.beams > 1 && search.wu_penalty});
    for (std::size_t i = 0; i < batch.rows.size(); ++i)
      said[static_cast<std::size_t>(batch.rows[i])] =
          languages.text_of(attune::select(r.sequences, 0, static_cast<std::int64_t>(i)).to_vector<std::int64_t>());
  }
  return said;
}

namespace {

/// Draws a picture as PNG and as SVG. One that cannot be drawn or written does not end a run that has done its work.
template <class F>
bool both_kinds(F&& draw) {
  try {
    for (const char* kind : {".png", ".svg"})
      if (!draw(kind)) return false;
    return true;
  } catch (const attune::Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return false;
  }
}

}  // namespace

double mean_loss(Translator& model, nn::Batches<nn::PairBatch>& text) {
  const Evaluating evaluating(model.module());
  double sum = 0, count = 0;
  for (const nn::PairBatch& batch : text) {
    sum += model.loss(batch, attune::Reduction::sum).item();
    count += static_cast<double>(nn::target_count(batch.labels));
  }
  return sum / count;
}

double bleu_of(const std::vector<std::string>& said, const std::vector<std::string>& references) {
  nn::Bleu bleu({.tokens = nn::BleuTokens::none});
  for (std::size_t i = 0; i < said.size(); ++i) bleu.add(said[i], {references[i]});
  return bleu.value().score;
}

double whole_of(const std::vector<std::string>& said, const std::vector<std::string>& references) {
  double right = 0;
  for (std::size_t i = 0; i < said.size(); ++i) right += said[i] == references[i] ? 1 : 0;
  return 100 * right / static_cast<double>(said.size());
}

// ---- by length

void save_by_length(const std::string& folder, const std::string& curve, const std::string& text,
                    const std::vector<std::string>& sources, const std::vector<std::string>& said,
                    const std::vector<std::string>& references) {
  std::vector<std::size_t> order(sources.size());
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::size_t> lengths;
  for (const std::string& s : sources) lengths.push_back(words_of(s).size());
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lengths[a] < lengths[b]; });
  const std::size_t groups = std::clamp<std::size_t>(sources.size() / 25, 1, 8);
  std::ofstream out(folder + "/lengths.csv");
  out << curve << "\n" << text << "\nwords,bleu,lines\n";
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t from = g * order.size() / groups, to = (g + 1) * order.size() / groups;
    std::vector<std::string> ours, theirs;
    double words = 0;
    for (std::size_t i = from; i < to; ++i) {
      ours.push_back(said[order[i]]);
      theirs.push_back(references[order[i]]);
      words += static_cast<double>(lengths[order[i]]);
    }
    out << fmt::format("{:.1f},{:.2f},{}\n", words / static_cast<double>(to - from), bleu_of(ours, theirs), to - from);
  }
  out.close();
  if (!out) throw attune::FileError(folder + "/lengths.csv: cannot be written");
}

void compare_by_length(const std::string& out, const std::string& text) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(out))
    if (std::filesystem::exists(entry.path() / "lengths.csv")) files.push_back(entry.path() / "lengths.csv");
  std::sort(files.begin(), files.end());
  std::vector<attune::picture::Series> curves;
  for (const auto& file : files) {
    std::ifstream in(file);
    std::string name, of, line;
    std::getline(in, name);
    std::getline(in, of);
    std::getline(in, line);
    if (of != text) continue;
    attune::picture::Series curve{name, {}, {}};
    for (double words = 0, bleu = 0, lines = 0; std::getline(in, line);)
      if (std::sscanf(line.c_str(), "%lf,%lf,%lf", &words, &bleu, &lines) == 3)
        curve.x.push_back(words), curve.y.push_back(bleu);
    curves.push_back(curve);
  }
  print("\nBLEU of {} by words of the source\n", text);
  for (const auto& curve : curves) {
    print("{:22}", curve.name);
    for (std::size_t i = 0; i < curve.x.size(); ++i) print(" {:4.0f}:{:5.1f}", curve.x[i], curve.y[i]);
    print("\n");
  }
  const bool drawn = both_kinds([&](const char* kind) {
    return attune::picture::curve(
        out + "/lengths" + kind, curves,
        {.title = "BLEU of " + text + " by length of the source", .x_label = "words of the source", .y_label = "BLEU"});
  });
  if (drawn) print("{} of them in one picture: {}/lengths.png and .svg\n", curves.size(), out);
}

// ---- alignments

namespace {

std::vector<std::string> spelled(const nn::Tokenizer& tokenizer, const nn::Sequence& ids) {
  std::vector<std::string> words;
  for (const std::int64_t id : ids) words.push_back(tokenizer.decode({id}));
  return words;
}

/// "1984: nineteen 0.62, four 0.21", a line a word.
void print_alignment(const Tensor& weights, const std::vector<std::string>& source,
                     const std::vector<std::string>& target) {
  const std::vector<double> w = weights.to_vector<double>();
  constexpr std::size_t most = 20;
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (i == most) {
      print("{:>16}\n", "...");
      break;
    }
    std::vector<std::size_t> order(source.size());
    std::iota(order.begin(), order.end(), 0);
    const auto weight = [&](std::size_t j) { return w[i * source.size() + j]; };
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return weight(a) > weight(b); });
    print("{:>16} <-", target[i]);
    for (std::size_t k = 0; k < std::min<std::size_t>(3, order.size()); ++k)
      if (k == 0 || weight(order[k]) >= 0.1) print("  {} {:.2f}", source[order[k]], weight(order[k]));
    print("\n");
  }
}

}  // namespace

void draw_alignments(Translator& model, const Languages& languages, const std::string& stem, const std::string& source,
                     const std::string& target) {
  const Evaluating evaluating(model.module());
  const nn::Sequence read = languages.source_of(source);
  nn::Sequence said = languages.target->encode(target);
  said.push_back(languages.end);
  const auto all =
      model.alignments(attune::tensor(read, {1, std::ssize(read)}), attune::tensor(said, {1, std::ssize(said)}));
  if (all.empty()) return;
  std::vector<std::string> from = spelled(*languages.source, read);
  const std::vector<std::string> to = spelled(*languages.target, said);
  if (std::vector<std::string> words = words_of(source); words.size() + 1 == from.size())  // those unknown, too
    std::copy(words.begin(), words.end(), from.begin());
  bool drawn = true;
  for (const auto& head : all)
    drawn = drawn && both_kinds([&](const char* kind) {
              return attune::picture::alignment(stem + head.first + kind, head.second, from, to);
            });
  const std::string last = all.back().first.substr(0, all.back().first.find("_head"));
  Tensor mean;
  double heads = 0;
  for (const auto& [name, weights] : all)
    if (name.substr(0, name.find("_head")) == last) mean = mean.defined() ? mean + weights : weights, heads += 1;
  print("\n{}\n", source);
  print_alignment(mean / heads, from, to);
  if (drawn)
    print("Drawn: {}{}.png and .svg{}\n", stem, all[0].first, all.size() > 1 ? ", and of the other heads" : "");
}

void report(Translator& model, const Languages& languages, const std::vector<ParallelText>& tests,
            const std::string& out, const std::string& name, const Search& search) {
  const std::string folder = out + "/" + name;
  std::vector<std::string> shown;  // of the first test
  for (const ParallelText& test : tests) {
    const auto said = translations(model, languages, languages.pairs(test, search.most).first, search);
    print("{}, {}: BLEU {:.2f}, {:.1f} % of {} lines without a mistake ({} beams)\n", name, test.name,
          bleu_of(said, test.target), whole_of(said, test.target), said.size(), search.beams);
    if (&test != &tests.front()) continue;
    save_by_length(folder, name, test.name, test.source, said, test.target);
    shown.assign(said.begin(), said.begin() + std::min<std::ptrdiff_t>(2, std::ssize(said)));
  }
  for (std::size_t line = 0; line < shown.size(); ++line)
    draw_alignments(model, languages, folder + "/alignment" + std::to_string(line + 1), tests.front().source[line],
                    shown[line]);
  compare_by_length(out, tests.front().name);
}

}  // namespace examples
