// BLEU (Papineni et al. 2002) of a corpus, as sacrebleu 2.6 computes it.
//
//     nn::Bleu bleu;
//     for (...) bleu.add(translation, {reference, another_reference});
//     std::cout << bleu.value().score;
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/runtime/here.h"

namespace attune::nn {

/// How text becomes words. White space always separates them.
enum class BleuTokens : std::uint8_t {
  none,           ///< by white space alone
  mteval_13a,     ///< of languages written like English: punctuation apart, but not in numbers (the usual one)
  international,  ///< the same by Unicode's classes of punctuation, symbols and numbers (mteval-v14)
  characters,     ///< each a word
  chinese         ///< Chinese characters and signs each a word, the others' punctuation apart as in mteval_13a ("zh")
};

/// What stands for the precision of an order that has no match, which would make the whole 0 (Chen and Cherry 2014).
enum class BleuSmoothing : std::uint8_t {
  none,
  floor,       ///< smooth_value matches
  add_k,       ///< smooth_value is added to matches and n-grams of all orders above 1
  exponential  ///< half a match, then a quarter, and so on for each further order without one
};

struct BleuOptions {
  BleuTokens tokens = BleuTokens::mteval_13a;
  BleuSmoothing smoothing = BleuSmoothing::exponential;
  double smooth_value = -1;  ///< of floor and add_k; -1: 0.1 and 1
  std::int64_t max_order = 4;
  bool effective_order = false;  ///< the mean stops at the last order of which there are n-grams, for lone sentences
  bool lowercase = false;
};

struct BleuResult {
  double score = 0;                    ///< 0 .. 100: the penalty times the geometric mean of the precisions
  std::vector<double> counts, totals;  ///< matches and n-grams of each order; whole numbers, but for add_k
  std::vector<double> precisions;      ///< of each order, in percent
  double brevity_penalty = 1;          ///< exp(1 - reference_length / length) if that is below 1
  std::int64_t length = 0;             ///< words of all hypotheses
  std::int64_t reference_length = 0;   ///< of each one's nearest reference, of two equally near ones the shorter
};

/// BLEU over all sentences that are added. It is a property of the corpus: no mean of sentences.
class Bleu {
 public:
  /// Throws ValueError for a max_order that is not in 1 .. 100 and a smooth_value that is neither -1 nor at least 0.
  explicit Bleu(const BleuOptions& options = {}, Here here = Here::current());
  /// A sentence and its references, any number but none. Throws ValueError for no reference and for text that is not
  /// UTF-8, and then has added nothing.
  void add(const std::string& hypothesis, const std::vector<std::string>& references, Here here = Here::current());
  BleuResult value() const;

 private:
  BleuOptions options_;
  std::vector<std::int64_t> matches_, totals_;  // of each order
  std::int64_t length_ = 0, reference_length_ = 0;
};

/// Of hypotheses and the references of each: references[i] are those of hypotheses[i]. Throws ValueError if they are
/// not as many, otherwise as Bleu does.
BleuResult bleu(const std::vector<std::string>& hypotheses, const std::vector<std::vector<std::string>>& references,
                const BleuOptions& options = {}, Here here = Here::current());

}  // namespace attune::nn
