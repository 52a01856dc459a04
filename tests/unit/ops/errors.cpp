// Wrong calls, made systematically: every argument of every row of the table with another rank, size or dtype,
// or undefined.

#include <doctest/doctest.h>

#include <map>

#include "tests/ops/all.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// One argument that is not as it should be.
struct Mutation {
  std::string what;
  Tensor value;
};

std::vector<Mutation> mutations_of(const Shape& shape) {
  std::vector<Mutation> all{{"undefined", Tensor()}};
  const auto filled = [](const Shape& s, DType t) { return ones(s, t); };
  for (DType t : {float32, int64, int32, boolean}) all.push_back({name_of(t), filled(shape, t)});
  Shape longer = shape;
  longer.insert(0, 2);
  all.push_back({"an axis more", filled(longer, float64)});
  longer.insert(0, 2);
  all.push_back({"two axes more", filled(longer, float64)});
  for (int a = 0; a < shape.rank(); ++a) {
    Shape shorter = shape;
    shorter.erase(a);
    all.push_back({"without axis " + std::to_string(a), filled(shorter, float64)});
    for (std::int64_t size : {shape[a] + 1, std::int64_t{0}}) {
      Shape other = shape;
      other[a] = size;
      all.push_back({"axis " + std::to_string(a) + " of " + std::to_string(size), filled(other, float64)});
    }
  }
  return all;
}

/// Why a message is not as it should be: "" if it is.
std::string fault_of(const OpRow& row, const Mutation& m, const std::string& text) {
  // The name at the front may be that of what the row itself calls before the operation, or around it.
  static const std::multimap<std::string, std::string> others{
      {"where", "add"}, {"contiguous", "transpose"}, {"nll_loss", "mul"}, {"chunked_attention", "local_attention"}};
  const std::string name = row.name.substr(0, row.name.find(','));
  bool named = text.starts_with(name + ": ");
  for (auto [i, end] = others.equal_range(name); i != end; ++i) named |= text.starts_with(i->second + ": ");
  if (!m.value.defined() && text.starts_with("tensor: undefined")) return "";  // the row looks at its shape
  if (!named) return "the operation is not named";
  if (text.find("\n  at ") == std::string::npos || text.find(".h:") == std::string::npos)
    return "the line is not the row's";
  if (!m.value.defined()) return "";
  if (m.value.dtype() != float64 && text.find(name_of(m.value.dtype())) == std::string::npos) return "no dtype";
  // Where a row makes an index of this argument's size, the index is what does not fit.
  const bool derived = name == "scatter_add" || text.find(" classes") != std::string::npos;
  if (!derived && text.find(m.value.shape().str()) == std::string::npos) return "no shape";
  return "";
}

}  // namespace

TEST_CASE("errors: a wrong argument gives a result, or an exception with the operation, the argument and the line") {
  for (const OpRow& row : all_rows())
    for (std::size_t i = 0; i < row.shapes[0].size(); ++i)
      for (const Mutation& m : mutations_of(row.shapes[0][i])) {
        Tensors xs;
        for (const Shape& s : row.shapes[0]) xs.push_back(full(s, 0.5, float64));
        xs[i] = m.value;
        std::string text;
        try {
          row.call(xs);
          continue;
        } catch (const Error& e) {
          text = e.what();
        }
        CAPTURE(row.name);
        CAPTURE(i);
        CAPTURE(m.what);
        CAPTURE(text);
        CHECK(fault_of(row, m, text) == "");
      }
}

// Long: a table of the operations that take an axis.
TEST_CASE("errors: an axis outside of a tensor is an IndexError, however far outside") {
  const Tensor x = ones({2, 3}), at = zeros({2, 3}, int64), row = zeros({1}, int64);
  using Along = std::function<void(std::int64_t)>;
  const std::pair<const char*, Along> calls[]{
      {"sum", [&](std::int64_t a) { sum(x, {a}); }},
      {"mean", [&](std::int64_t a) { mean(x, {a}); }},
      {"prod", [&](std::int64_t a) { prod(x, {a}); }},
      {"amax", [&](std::int64_t a) { amax(x, {a}); }},
      {"amin", [&](std::int64_t a) { amin(x, {a}); }},
      {"var", [&](std::int64_t a) { var(x, {a}); }},
      {"var_mean", [&](std::int64_t a) { var_mean(x, {a}); }},
      {"std_dev", [&](std::int64_t a) { std_dev(x, {a}); }},
      {"norm", [&](std::int64_t a) { norm(x, {a}); }},
      {"vector_norm", [&](std::int64_t a) { vector_norm(x, 3, {a}); }},
      {"logsumexp", [&](std::int64_t a) { logsumexp(x, {a}); }},
      {"nansum", [&](std::int64_t a) { nansum(x, {a}); }},
      {"argmax", [&](std::int64_t a) { argmax(x, a); }},
      {"argmin", [&](std::int64_t a) { argmin(x, a); }},
      {"max", [&](std::int64_t a) { max(x, a); }},
      {"min", [&](std::int64_t a) { min(x, a); }},
      {"cumsum", [&](std::int64_t a) { cumsum(x, a); }},
      {"cumprod", [&](std::int64_t a) { cumprod(x, a); }},
      {"softmax", [&](std::int64_t a) { softmax(x, a); }},
      {"log_softmax", [&](std::int64_t a) { log_softmax(x, a); }},
      {"softmax_grad", [&](std::int64_t a) { softmax_grad(x, x, a); }},
      {"log_softmax_grad", [&](std::int64_t a) { log_softmax_grad(x, x, a); }},
      {"normalize", [&](std::int64_t a) { normalize(x, 2, a); }},
      {"cosine_similarity", [&](std::int64_t a) { cosine_similarity(x, x, a); }},
      {"index_select", [&](std::int64_t a) { index_select(x, a, row); }},
      {"index_add", [&](std::int64_t a) { index_add(x, a, row, x); }},
      {"index_copy", [&](std::int64_t a) { index_copy(x, a, row, x); }},
      {"gather", [&](std::int64_t a) { gather(x, a, at); }},
      {"scatter_add", [&](std::int64_t a) { scatter_add(x, a, at, x); }},
      {"scatter", [&](std::int64_t a) { scatter(x, a, at, x); }},
      {"take_along_dim", [&](std::int64_t a) { take_along_dim(x, at, a); }},
      {"sort", [&](std::int64_t a) { sort(x, a); }},
      {"argsort", [&](std::int64_t a) { argsort(x, a); }},
      {"topk", [&](std::int64_t a) { topk(x, 1, a); }},
      {"topk_mask", [&](std::int64_t a) { topk_mask(x, 1, a); }},
      {"flatten", [&](std::int64_t a) { flatten(x, a, -1); }},
      {"flatten", [&](std::int64_t a) { flatten(x, 0, a); }},
      {"permute",
       [&](std::int64_t a) {
         permute(x, {0, a});
       }},
      {"movedim", [&](std::int64_t a) { movedim(x, {a}, {0}); }},
      {"movedim", [&](std::int64_t a) { movedim(x, {0}, {a}); }},
      {"transpose", [&](std::int64_t a) { transpose(x, a, 0); }},
      {"transpose", [&](std::int64_t a) { transpose(x, 0, a); }},
      {"squeeze", [&](std::int64_t a) { squeeze(x, a); }},
      {"slice", [&](std::int64_t a) { slice(x, a, 0); }},
      {"slice_scatter",
       [&](std::int64_t a) {
         slice_scatter(x, {2, 3}, a, 0);
       }},
      {"select", [&](std::int64_t a) { select(x, a, 0); }},
      {"cat",
       [&](std::int64_t a) {
         cat({x, x}, a);
       }},
      {"split",
       [&](std::int64_t a) {
         split(x, {1, 1}, a);
       }},
      {"chunk", [&](std::int64_t a) { chunk(x, 1, a); }},
      {"unbind", [&](std::int64_t a) { unbind(x, a); }},
      {"flip", [&](std::int64_t a) { flip(x, {a}); }},
      {"roll", [&](std::int64_t a) { roll(x, 1, a); }},
      {"roll",
       [&](std::int64_t a) {
         roll(x, {1, 1}, {0, a});
       }},
      {"pad", [&](std::int64_t a) { pad(x, a, 1, 1); }},
      {"repeat_interleave", [&](std::int64_t a) { repeat_interleave(x, 2, a); }},
      {"repeat_interleave", [&](std::int64_t a) { repeat_interleave(x, row, a); }},
      {"diagonal", [&](std::int64_t a) { diagonal(x, 0, a, 0); }},
      {"diagonal", [&](std::int64_t a) { diagonal(x, 0, 0, a); }},
      {"diagonal_scatter",
       [&](std::int64_t a) {
         diagonal_scatter(ones({2}), {2, 3}, 0, a, 1);
       }},
      {"unfold", [&](std::int64_t a) { unfold(x, a, 1); }},
      {"narrow", [&](std::int64_t a) { narrow(x, a, 0, 1); }},
      {"tensordot", [&](std::int64_t a) { tensordot(x, x, {a}, {0}); }},
      {"size", [&](std::int64_t a) { x.size(a); }},
  };
  for (const auto& [name, call] : calls)
    for (std::int64_t axis : {std::int64_t{2}, std::int64_t{-3}, highest, lowest}) {
      const std::string front = std::string("IndexError: ") + name + ": ";
      const Along& f = call;
      const std::string text = thrown([&f, axis] { f(axis); });
      CAPTURE(text);
      CHECK(text.starts_with(front));
      CHECK(text.find(": axis " + std::to_string(axis) + " is out of range for") != std::string::npos);
    }
  // Those that make an axis have one place more.
  const std::pair<const char*, Along> makers[]{{"unsqueeze", [&](std::int64_t a) { unsqueeze(x, a); }},
                                               {"stack",
                                                [&](std::int64_t a) {
                                                  stack({x, x}, a);
                                                }},
                                               {"diag_embed", [&](std::int64_t a) { diag_embed(x, 0, a, 0); }},
                                               {"diag_embed", [&](std::int64_t a) { diag_embed(x, 0, 0, a); }}};
  for (const auto& [name, call] : makers)
    for (std::int64_t axis : {std::int64_t{3}, std::int64_t{-4}, highest, lowest}) {
      const std::string expected = std::string("IndexError: ") + name + ": axis " + std::to_string(axis);
      const Along& f = call;
      CHECK(thrown([&f, axis] { f(axis); }) == expected + " is out of range for [2, 3] and a new axis");
    }
}

}  // namespace attune::tests
