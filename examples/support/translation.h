// What a program that trains models of translation needs besides them: one face of all of them, whole texts
// translated and scored, and the pictures of the papers.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/ops/movement.h"
#include "examples/support/parallel_text.h"
#include "nn/decode/generate.h"
#include "nn/metrics/bleu.h"
#include "nn/models/blocks.h"
#include "nn/models/seq2seq.h"

namespace examples {

/// A model that translates, whichever it is.
struct Translator {
  virtual ~Translator() = default;
  virtual attune::nn::Module& module() = 0;
  /// The loss over a batch.
  virtual attune::Tensor loss(const attune::nn::PairBatch& batch, attune::Reduction reduction) = 0;
  virtual attune::nn::GenerateResult generate(const attune::Tensor& source, const attune::Tensor& padding,
                                              const attune::nn::GenerateOptions& options) = 0;
  /// What the model looks at while it says `labels` [1, t] of a source [1, s]: a name and weights [t, s] each. None of
  /// a model that looks at nothing.
  virtual std::vector<std::pair<std::string, attune::Tensor>> alignments(const attune::Tensor& source,
                                                                         const attune::Tensor& labels) = 0;
};

template <class M>
class TranslatorOf : public Translator {
 public:
  template <class Config>
  explicit TranslatorOf(const Config& config) : model_(config) {}
  attune::nn::Module& module() override { return model_; }
  attune::Tensor loss(const attune::nn::PairBatch& b, attune::Reduction reduction) override {
    const attune::Tensor shown = model_.shift_right(b.labels);
    if constexpr (requires { model_(b.source, shown, b.source_mask); })
      return model_.loss(model_(b.source, shown, b.source_mask), b.labels, reduction);
    else
      return model_.loss(model_(b.source, shown, {.key_padding_mask = b.source_mask}), b.labels, reduction);
  }
  attune::nn::GenerateResult generate(const attune::Tensor& source, const attune::Tensor& padding,
                                      const attune::nn::GenerateOptions& options) override {
    return attune::nn::generate(model_, source, options, padding);
  }
  std::vector<std::pair<std::string, attune::Tensor>> alignments(const attune::Tensor& source,
                                                                 const attune::Tensor& labels) override;

 private:
  M model_;
};

template <class M>
std::vector<std::pair<std::string, attune::Tensor>> TranslatorOf<M>::alignments(const attune::Tensor& source,
                                                                                const attune::Tensor& labels) {
  std::vector<std::pair<std::string, attune::Tensor>> all;
  [[maybe_unused]] const attune::Tensor shown = model_.shift_right(labels);
  if constexpr (requires { model_.aligned(source, shown); }) {
    all.emplace_back("", attune::select(model_.aligned(source, shown).alignments, 0, 0));
  } else if constexpr (requires { model_.alignments(source, shown); }) {
    for (const attune::Tensor& layer : model_.alignments(source, shown))  // [1, heads, t, s]
      for (std::int64_t head = 0; head < layer.size(1); ++head)
        all.emplace_back("_layer" + std::to_string(all.size() / static_cast<std::size_t>(layer.size(1)) + 1) + "_head" +
                             std::to_string(head + 1),
                         attune::select(attune::select(layer, 0, 0), 0, head));
  }
  return all;
}

/// How a text is translated.
struct Search {
  std::int64_t beams = 5;
  double length_penalty = 1;
  bool wu_penalty = false;     ///< of ((5 + length) / 6), as the Transformer's paper has it
  std::int64_t most = 100;     ///< of the target's tokens
  std::int64_t tokens = 1500;  ///< in a batch of sources, padding included
};

/// The translations of sources, in their order; each at most twice as long as the longest source of
/// its batch and nine tokens more.
std::vector<std::string> translations(Translator& model, const Languages& languages,
                                      const std::vector<attune::nn::Sequence>& sources, const Search& search);
/// The mean loss in nats a token over a text.
double mean_loss(Translator& model, attune::nn::Batches<attune::nn::PairBatch>& text);
/// BLEU of text whose words stand between spaces.
double bleu_of(const std::vector<std::string>& said, const std::vector<std::string>& references);
/// The share of lines that are the reference's, in %.
double whole_of(const std::vector<std::string>& said, const std::vector<std::string>& references);

/// Writes the BLEU of lines by the length of their sources, in groups of about equal size, to `folder`/lengths.csv,
/// under the name of a curve.
void save_by_length(const std::string& folder, const std::string& curve, const std::string& text,
                    const std::vector<std::string>& sources, const std::vector<std::string>& said,
                    const std::vector<std::string>& references);
/// All such files of the folders in `out` that are of the same text, as one picture, `out`/lengths.png and .svg, and as
/// a table on standard output.
void compare_by_length(const std::string& out, const std::string& text);

/// How a model says a line, drawn: `stem`...png and .svg, of each of its alignments, words on both axes; and, on
/// standard output, by the first of them, or the mean over the last layer's heads: what each word comes from.
void draw_alignments(Translator& model, const Languages& languages, const std::string& stem, const std::string& source,
                     const std::string& target);

/// What a run ends with: scores the model `name` on the tests, the first one by length, too, beside the others trained
/// into `out`; and draws how it says two lines.
void report(Translator& model, const Languages& languages, const std::vector<ParallelText>& tests,
            const std::string& out, const std::string& name, const Search& search);

}  // namespace examples
