// Beam search: at each step the best continuations of a prompt's beams, of which those that end become hypotheses and
// the first others the next beams.

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/create.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/softmax.h"
#include "nn/decode/internal/search.h"

namespace attune::nn::detail {

namespace {

/// Of beams that do not exist yet: all begin as the same prompt.
constexpr double no_beam = -1e9;

struct Candidate {
  double score;
  std::size_t beam;  // of the prompt
  std::int64_t token;
};

/// The `count` best of all beams' tokens, best first.
template <class T>
class BestCandidates {
 public:
  explicit BestCandidates(std::size_t count) : count_(count) { best_.reserve(count + 1); }
  void take(std::span<const T> scores, T of_beam, std::size_t beam) {
    for (std::size_t token = 0; token < scores.size(); ++token) {
      const T score = scores[token] + of_beam;
      if (best_.size() == count_ && !(score > least_)) continue;
      const auto at = std::upper_bound(best_.begin(), best_.end(), static_cast<double>(score),
                                       [](double s, const Candidate& c) { return s > c.score; });
      best_.insert(at, {static_cast<double>(score), beam, static_cast<std::int64_t>(token)});
      if (best_.size() > count_) best_.pop_back();
      least_ = static_cast<T>(best_.back().score);
    }
  }
  const std::vector<Candidate>& get() const { return best_; }

 private:
  std::size_t count_;
  std::vector<Candidate> best_;
  T least_ = 0;
};

struct Hypothesis {
  Sequence tokens;
  double score;
  bool ended;
};

/// The best `beams` hypotheses of a prompt.
class Hypotheses {
 public:
  explicit Hypotheses(const GenerateOptions& o) : options_(o), most_(static_cast<std::size_t>(o.beams)) {}

  /// `tokens` without its end.
  void add(const Sequence& tokens, double log_probability, bool ended) {
    const double score = log_probability / power(tokens.size());
    if (all_.size() >= most_ && !(score > worst())) return;
    // Behind those of the same score: of equals the earlier one goes first when there are too many.
    const auto at =
        std::upper_bound(all_.begin(), all_.end(), score, [](double s, const Hypothesis& h) { return s < h.score; });
    all_.insert(at, {tokens, score, ended});
    if (all_.size() > most_) all_.erase(all_.begin());
  }
  /// Whether what may still come, from `best` at this length, cannot matter.
  bool done(double best, std::size_t length) const {
    if (all_.size() < most_) return false;
    return options_.early_stopping || worst() >= best / power(length);
  }
  /// The n-th best.
  const Hypothesis& best(std::size_t n) const { return all_[all_.size() - 1 - n]; }

 private:
  double worst() const { return all_.front().score; }
  double power(std::size_t length) const {
    const auto n = static_cast<double>(length);
    return std::pow(options_.wu_penalty ? (5 + n) / 6 : n, options_.length_penalty);
  }

  const GenerateOptions& options_;
  std::size_t most_;
  std::vector<Hypothesis> all_;  // worst first
};

/// The beams of all prompts.
class Beams {
 public:
  explicit Beams(Search& search)
      : search_(search),
        prompts_(search.sequences.size()),
        beams_(static_cast<std::size_t>(search.options.beams)),
        hypotheses_(prompts_, Hypotheses(search.options)),
        done_(prompts_, false),
        scores_(prompts_ * beams_, no_beam) {
    for (std::size_t p = 0; p < prompts_; ++p) scores_[p * beams_] = 0;
  }

  bool done() const { return std::find(done_.begin(), done_.end(), false) == done_.end(); }

  /// The next token of every beam, by log-probabilities [rows, V].
  void advance(Tensor& scores) {
    Sequences next(search_.sequences.size());
    rows_.clear();
    for (std::size_t p = 0; p < prompts_; ++p) {
      if (done_[p]) {  // goes on with padding, which nobody reads
        for (std::size_t i = p * beams_; i < (p + 1) * beams_; ++i) {
          rows_.push_back(static_cast<std::int64_t>(i));
          next[i] = std::move(search_.sequences[i]);
          next[i].push_back(std::max<std::int64_t>(search_.options.pad, 0));
        }
        continue;
      }
      choose(p, candidates(scores, p), next);
    }
    search_.sequences = std::move(next);
  }
  /// The decoder follows the beams.
  void reorder() { search_.decoder.reorder(tensor(rows_)); }

  GenerateResult result(DType dtype) {
    const GenerateOptions& o = search_.options;
    for (std::size_t p = 0; p < prompts_; ++p)
      for (std::size_t i = p * beams_; !done_[p] && i < (p + 1) * beams_; ++i)
        hypotheses_[p].add(search_.sequences[i], scores_[i], false);
    Sequences sequences;
    std::vector<double> scores;
    for (const Hypotheses& of_prompt : hypotheses_)
      for (std::size_t n = 0; n < static_cast<std::size_t>(o.returned); ++n) {
        const Hypothesis& h = of_prompt.best(n);
        sequences.push_back(h.tokens);
        if (h.ended) sequences.back().push_back(o.eos);
        scores.push_back(h.score);
      }
    return {padded(sequences, o.pad), tensor(scores, dtype), lengths_of(sequences), {}};
  }

 private:
  std::vector<Candidate> candidates(Tensor& scores, std::size_t p) const {
    const auto best = [&]<class T>(const T* first) {
      const auto size = static_cast<std::size_t>(scores.size(1));
      BestCandidates<T> best_of_all(2 * beams_);
      for (std::size_t j = 0; j < beams_; ++j)
        best_of_all.take(std::span(first + (p * beams_ + j) * size, size), static_cast<T>(scores_[p * beams_ + j]), j);
      return best_of_all.get();
    };
    return scores.dtype() == DType::float32 ? best(scores.data<float>()) : best(scores.data<double>());
  }

  void choose(std::size_t p, const std::vector<Candidate>& all, Sequences& next) {
    const std::size_t first = p * beams_, length = search_.sequences[first].size();
    const std::vector<double> before(scores_.begin() + static_cast<std::ptrdiff_t>(first),
                                     scores_.begin() + static_cast<std::ptrdiff_t>(first + beams_));
    std::size_t chosen = 0;
    for (std::size_t rank = 0; rank < all.size() && chosen < beams_; ++rank) {
      const Candidate& c = all[rank];
      const Sequence& sequence = search_.sequences[first + c.beam];
      if (c.token == search_.options.eos) {
        if (rank < beams_) hypotheses_[p].add(sequence, c.score, true);
        continue;
      }
      scores_[first + chosen] = c.score;
      next[first + chosen] = sequence;
      next[first + chosen].push_back(c.token);
      rows_.push_back(static_cast<std::int64_t>(first + c.beam));
      ++chosen;
    }
    if (chosen < beams_)
      throw ValueError("generate: a vocabulary too small for " + std::to_string(beams_) + " beams", search_.here);
    done_[p] = hypotheses_[p].done(all.front().score, length);
  }

  Search& search_;
  std::size_t prompts_, beams_;
  std::vector<Hypotheses> hypotheses_;
  std::vector<bool> done_;
  std::vector<double> scores_;  // of each beam, its log-probability
  Sequence rows_;               // that the beams come from
};

}  // namespace

GenerateResult search_beams(Search& search) {
  const GenerateOptions& o = search.options;
  Tensor logits = search.step(true);
  Beams beams(search);
  search.spread(o.beams);
  logits = repeat_interleave(logits, o.beams, 0);
  std::vector<Tensor> kept;
  while (true) {
    Tensor scores = search.processed(log_softmax(logits, -1));
    if (o.keep_scores) kept.push_back(scores);
    beams.advance(scores);
    if (beams.done() || search.full()) break;
    beams.reorder();
    logits = search.step(false);
  }
  GenerateResult result = beams.result(logits.dtype());
  result.step_scores = std::move(kept);
  return result;
}

}  // namespace attune::nn::detail
