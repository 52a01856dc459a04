// The values of a page: which are whole, and what stands for the others.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "autograd/ops/movement.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/page_data.h"

namespace attune::page {

namespace {

std::string_view elements(const Tensor& dense) {
  return {static_cast<const char*>(dense.raw()), static_cast<std::size_t>(dense.numel()) * size_of(dense.dtype())};
}

/// The elements of values, each distinct one once.
class Blobs {
 public:
  std::string of(const Tensor& t) {
    const NoGrad off;
    Tensor dense = contiguous(t);
    const auto [at, fresh] = numbers_.try_emplace(elements(dense), kept_.size());
    if (fresh) {
      append_base64(base64, at->first.data(), at->first.size());
      kept_.push_back(std::move(dense));
    }
    return integer(static_cast<std::int64_t>(at->second));
  }
  std::string base64;

 private:
  std::unordered_map<std::string_view, std::size_t> numbers_;  // the texts are those of kept_
  std::vector<Tensor> kept_;
};

std::int64_t bytes_of(const Tensor& t) {
  return t.defined() ? t.numel() * static_cast<std::int64_t>(size_of(t.dtype())) : 0;
}

/// A grid of means, of at most `side` rows and columns.
struct Picture {
  std::int64_t rows, columns;
  std::vector<float> cells;
};

std::int64_t picture_bytes(const Summary& s, std::int64_t side) {
  return 4 * std::min(s.picture_rows, side) * std::min(s.picture_columns, side);
}

Picture picture_of(const Summary& s, std::int64_t side) {
  Picture p{std::min(s.picture_rows, side), std::min(s.picture_columns, side), {}};
  if (p.rows == s.picture_rows && p.columns == s.picture_columns) return {p.rows, p.columns, s.picture};
  for (std::int64_t i = 0; i < p.rows; ++i)
    for (std::int64_t j = 0; j < p.columns; ++j) {
      double sum = 0;
      std::int64_t count = 0;
      for (std::int64_t y = i * s.picture_rows / p.rows; y < (i + 1) * s.picture_rows / p.rows; ++y)
        for (std::int64_t x = j * s.picture_columns / p.columns; x < (j + 1) * s.picture_columns / p.columns;
             ++x, ++count)
          sum += s.picture[static_cast<std::size_t>(y * s.picture_columns + x)];
      p.cells.push_back(static_cast<float>(sum / static_cast<double>(count)));
    }
  return p;
}

/// What the page keeps of the values' elements.
struct Choice {
  std::vector<bool> whole;  // what views of attention draw, then the smallest, until the bytes are used up
  std::int64_t side = 32;   // of the pictures of the others: smaller ones if there are very many
};

/// For each value the first that has the same elements: on the page they are one.
std::vector<std::size_t> first_alike(const std::vector<RecordedValue>& values) {
  const NoGrad off;
  std::vector<Tensor> dense;  // they hold the map's texts
  std::unordered_map<std::string_view, std::size_t> seen;
  std::vector<std::size_t> first(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    first[i] = i;
    if (!values[i].whole.defined()) continue;
    dense.push_back(contiguous(values[i].whole));
    first[i] = seen.try_emplace(elements(dense.back()), i).first->second;
  }
  return first;
}

/// Weights, scores and masks of attention, and their gradients: without their elements its view has nothing to draw.
class Foremost {
 public:
  explicit Foremost(const Recording& r) : r_(r), marked(r.values.size()) {
    for (const auto* passes : {&r.passes, &r.parts})
      for (const RecordedPass& pass : *passes) {
        for (const RecordedNode& n : pass.nodes)
          if (n.operation == "softmax") scores_of(pass, n);
        for (const RecordedStep& step : pass.steps)
          if (step.node >= 0 && pass.nodes[static_cast<std::size_t>(step.node)].operation == "softmax") {
            for (const int value : step.received) mark(value);
            for (const int value : step.sent) mark(value);
          }
      }
  }

 private:
  const Recording& r_;

  void mark(int value) {
    if (value >= 0) marked[static_cast<std::size_t>(value)] = true;
  }
  /// From a softmax back to the product that made its scores.
  void scores_of(const RecordedPass& pass, const RecordedNode& softmax) {
    const RecordedNode* at = &softmax;
    for (int step = 0; at && step < 12; ++step) {
      for (const int value : at->outputs) mark(value);
      if (at->operation == "matmul") return;
      const RecordedNode* from = nullptr;
      for (const RecordedInput& input : at->inputs) {
        mark(input.value);
        if (!from && input.node >= 0 && shaped_alike(input.value, softmax))
          from = &pass.nodes[static_cast<std::size_t>(input.node)];
      }
      at = from;
    }
  }
  bool shaped_alike(int value, const RecordedNode& softmax) const {
    if (value < 0 || softmax.outputs.empty() || softmax.outputs[0] < 0) return false;
    return r_.values[static_cast<std::size_t>(value)].shape ==
           r_.values[static_cast<std::size_t>(softmax.outputs[0])].shape;
  }

 public:
  std::vector<bool> marked;
};

Choice choose(const Recording& r, std::int64_t bytes) {
  const std::vector<RecordedValue>& values = r.values;
  Choice choice{std::vector<bool>(values.size()), 32};
  const std::vector<std::size_t> first = first_alike(values);
  std::vector<bool> foremost = Foremost(r).marked;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (foremost[i]) foremost[first[i]] = true;
  const auto whole_bytes = [&](std::size_t i) { return first[i] == i ? bytes_of(values[i].whole) : 0; };
  const auto picture = [&](std::size_t i) { return first[i] == i ? picture_bytes(values[i].summary, choice.side) : 0; };
  const auto pictures = [&] {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (!values[i].whole.defined() || whole_bytes(i) > picture(i)) sum += picture(i);
    return sum;
  };
  while (choice.side > 8 && pictures() > bytes / 3) choice.side /= 2;
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (foremost[first[a]] != foremost[first[b]]) return static_cast<bool>(foremost[first[a]]);
    return bytes_of(values[a].whole) < bytes_of(values[b].whole);
  });
  bytes -= pictures();
  for (const std::size_t i : order) {
    if (!values[i].whole.defined()) continue;
    if (first[i] != i) {  // it comes behind its first in the order
      choice.whole[i] = choice.whole[first[i]];
      continue;
    }
    // What is hardly larger than its summary costs nothing more.
    const bool small = whole_bytes(i) <= picture(i) + 64;
    if (!small && whole_bytes(i) > bytes + picture(i)) continue;
    if (!small) bytes += picture(i) - whole_bytes(i);
    choice.whole[i] = true;
  }
  return choice;
}

std::string summary_json(const Summary& s, std::int64_t side) {
  std::string out = "[" + number(s.min) + "," + number(s.max) + "," + integer(s.zeros) + "," + integer(s.nans) + "," +
                    integer(s.infinities) + "," + number(s.histogram_low) + "," + number(s.histogram_high) + ",";
  const Picture picture = picture_of(s, side);
  std::string cells;
  append_base64(cells, picture.cells.data(), sizeof(float) * picture.cells.size());
  return out + integers(s.histogram) + "," + integer(picture.rows) + "," + integer(picture.columns) + ",\"" + cells +
         "\"]";
}

}  // namespace

std::string values_json(const Recording& r, const PageOptions& options, Texts& texts, PageData& data) {
  const Choice choice = choose(r, options.value_bytes);
  Blobs blobs;
  std::unordered_map<std::string, std::size_t> known;  // summaries, which equal values share
  std::string kinds = "[", at = "[", summaries = "[", slices = "{";
  const auto next = [](std::string& to) {
    if (to.size() > 1) to += ',';
  };
  for (std::size_t i = 0; i < r.values.size(); ++i) {
    const RecordedValue& v = r.values[i];
    next(kinds), kinds += texts.of(fmt::format("{}{}", name_of(v.dtype), v.shape.str()));
    next(at);
    if (choice.whole[i]) {
      at += blobs.of(v.whole);
    } else {
      const std::string json = summary_json(v.whole.defined() ? summarise(v.whole) : v.summary, choice.side);
      const auto [found, fresh] = known.try_emplace(json, known.size());
      if (fresh) next(summaries), summaries += json;
      at += fmt::format("-{}", found->second + 1);
    }
    if (!choice.whole[i] || numel(v.shape) != 1) {
      const double stats[] = {v.summary.mean, v.summary.std, v.summary.norm};
      append_base64(data.stats, stats, sizeof stats);
    }
    if (v.slices.empty()) continue;
    next(slices),
        slices += fmt::format("\"{}\":", i) + list(v.slices, [&](const auto& slice) {
                    const std::string kind =
                        fmt::format("{}{}", name_of(slice.second.dtype()), slice.second.shape().str());
                    return "[" + quoted(slice.first) + "," + texts.of(kind) + "," + blobs.of(slice.second) + "]";
                  });
  }
  data.values = std::move(blobs.base64);
  return "{\"kind\":" + kinds + "],\"at\":" + at + "],\"summary\":" + summaries + "],\"slices\":" + slices + "}}";
}

void append_base64(std::string& to, const void* bytes, std::size_t size) {
  static const char* const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto* b = static_cast<const unsigned char*>(bytes);
  to.reserve(to.size() + (size + 2) / 3 * 4);
  for (std::size_t i = 0; i < size; i += 3) {
    const unsigned group = static_cast<unsigned>(b[i]) << 16 |
                           (i + 1 < size ? static_cast<unsigned>(b[i + 1]) << 8 : 0) | (i + 2 < size ? b[i + 2] : 0U);
    for (const int shift : {18, 12, 6, 0}) to += digits[group >> shift & 63];
  }
}

}  // namespace attune::page
