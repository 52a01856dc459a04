#include "autograd/ops/products.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <string>
#include <vector>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/op.h"

namespace attune {

namespace {

// Labels: a letter each; the axes that "..." stands for are numbered from the right, as characters from 1 on.
using Labels = std::string;

struct Labelled {
  Tensor x;
  Labels labels;
};

struct Subscripts {
  std::vector<Labels> inputs;
  Labels output;
};

/// One term, "..." replaced by as many labels as `rank` leaves.
Labels labels_of(const Op& op, std::string_view term, int rank, const Shape& shape, int* broadcast_axes) {
  const auto dots = term.find("...");
  const std::size_t letters = dots == std::string_view::npos ? term.size() : term.size() - 3;
  const int rest = rank - static_cast<int>(letters);
  Labels labels;
  for (std::size_t i = 0; i < term.size(); ++i) {
    if (i == dots) {
      for (int k = rest; k > 0; --k) labels += static_cast<char>(k);
      i += 2;
    } else if (std::isalpha(static_cast<unsigned char>(term[i]))) {
      labels += term[i];
    } else {
      op.fail_value("'" + std::string(1, term[i]) + "' in \"" + std::string(term) + "\" is not a letter");
    }
  }
  if (rest < 0 || (rest > 0 && dots == std::string_view::npos))
    op.fail_shape("\"" + std::string(term) + "\" does not name the " + std::to_string(rank) + " axes of " +
                  shape.str());
  *broadcast_axes = std::max(*broadcast_axes, dots == std::string_view::npos ? 0 : rest);
  return labels;
}

Subscripts parse(const Op& op, std::string_view text, const Tensors& operands) {
  std::string packed;
  for (char c : text)
    if (c != ' ') packed += c;
  const auto arrow = packed.find("->");
  std::string left = packed.substr(0, arrow);
  std::vector<std::string> terms(1);
  for (char c : left) {
    if (c == ',')
      terms.emplace_back();
    else
      terms.back() += c;
  }
  if (terms.size() != operands.size())
    op.fail_value("\"" + std::string(text) + "\" has " + std::to_string(terms.size()) + " terms for " +
                  std::to_string(operands.size()) + " operands");
  Subscripts s;
  int broadcast_axes = 0;
  for (std::size_t i = 0; i < terms.size(); ++i)
    s.inputs.push_back(labels_of(op, terms[i], operands[i].rank(), operands[i].shape(), &broadcast_axes));
  if (arrow == std::string::npos) {
    for (int k = broadcast_axes; k > 0; --k) s.output += static_cast<char>(k);
    std::string all;
    for (const Labels& l : s.inputs) all += l;
    std::sort(all.begin(), all.end());
    for (char c : all)
      if (std::isalpha(static_cast<unsigned char>(c)) && std::count(all.begin(), all.end(), c) == 1) s.output += c;
    return s;
  }
  const std::string right = packed.substr(arrow + 2);
  const auto dots = right.find("...");
  const int letters = static_cast<int>(right.size()) - (dots == std::string::npos ? 0 : 3);
  int ignored = 0;
  s.output = labels_of(op, right, letters + (dots == std::string::npos ? 0 : broadcast_axes), {}, &ignored);
  for (char c : s.output) {
    const bool named =
        std::any_of(s.inputs.begin(), s.inputs.end(), [c](const Labels& l) { return l.find(c) != Labels::npos; });
    if (std::count(s.output.begin(), s.output.end(), c) != 1 || (!named && c >= 'A'))
      op.fail_value(std::string("'") + c + "' in the result of \"" + std::string(text) +
                    "\" must occur there once, and in an operand");
  }
  return s;
}

/// Each label has one size, or 1, wherever it stands.
void check_sizes(const Op& op, const Subscripts& s, const Tensors& operands) {
  struct Seen {
    std::int64_t size;
    std::size_t operand;
  };
  std::map<char, Seen> seen;
  for (std::size_t i = 0; i < operands.size(); ++i)
    for (std::size_t axis = 0; axis < s.inputs[i].size(); ++axis) {
      const char c = s.inputs[i][axis];
      const std::int64_t n = operands[i].shape()[static_cast<int>(axis)];
      if (n == 1) continue;
      const Seen& before = seen.emplace(c, Seen{n, i}).first->second;
      if (before.size != n)
        op.fail_shape((c < 'A' ? std::string("broadcast sizes ") : std::string("'") + c + "' has the sizes ") +
                      std::to_string(before.size) + " and " + std::to_string(n) + (c < 'A' ? " differ" : "") + " in " +
                      operands[before.operand].shape().str() + " and " + operands[i].shape().str());
    }
}

/// Repeated letters to their diagonal.
Labelled without_repeats(const Op& op, Labelled t) {
  for (std::size_t i = 0; i < t.labels.size(); ++i) {
    const auto j = t.labels.find(t.labels[i], i + 1);
    if (j == Labels::npos) continue;
    const int a = static_cast<int>(i), b = static_cast<int>(j);
    if (t.x.size(a) != t.x.size(b))
      op.fail_shape(std::string("'") + t.labels[i] + "' has the sizes " + std::to_string(t.x.size(a)) + " and " +
                    std::to_string(t.x.size(b)) + " in " + t.x.shape().str());
    t.x = diagonal(t.x, 0, a, b);
    const char label = t.labels[i];
    t.labels.erase(j, 1);
    t.labels.erase(i, 1);
    t.labels += label;
    return without_repeats(op, std::move(t));
  }
  return t;
}

/// Sums what nobody else needs.
Labelled summed(Labelled t, const Labels& needed) {
  Dims gone;
  Labels kept;
  for (std::size_t i = 0; i < t.labels.size(); ++i) {
    if (needed.find(t.labels[i]) == Labels::npos)
      gone.push_back(static_cast<int>(i));
    else
      kept += t.labels[i];
  }
  if (gone.empty()) return t;
  return {sum(t.x, gone), kept};
}

/// The axes in the order of `labels`; missing ones get size 1.
Tensor arranged(const Labelled& t, const Labels& labels) {
  Dims order;
  Shape shape;
  for (char c : labels) {
    const auto i = t.labels.find(c);
    if (i != Labels::npos) order.push_back(static_cast<int>(i));
    shape.push_back(i == Labels::npos ? 1 : t.x.size(static_cast<int>(i)));
  }
  return reshape(permute(t.x, order), shape);
}

std::int64_t size_of(const Labelled& t, char c) {
  const auto i = t.labels.find(c);
  return i == Labels::npos ? 1 : t.x.size(static_cast<int>(i));
}

/// One pair as a batched matrix product: batch, rows of a, columns of b, and what is summed.
Labelled multiplied(Labelled a, Labelled b, const Labels& needed) {
  a = summed(std::move(a), needed + b.labels);
  b = summed(std::move(b), needed + a.labels);
  Labels batch, rows, columns, inside;
  Shape batch_shape;
  for (char c : a.labels) {
    const bool shared = b.labels.find(c) != Labels::npos, kept = needed.find(c) != Labels::npos;
    const std::int64_t m = size_of(a, c), n = size_of(b, c);
    (!shared ? rows : kept ? batch : inside) += c;
    if (shared && kept) batch_shape.push_back(m == 1 ? n : m);
  }
  for (char c : b.labels)
    if (a.labels.find(c) == Labels::npos) columns += c;
  // A size of 1 that is summed against a larger one counts each element of it.
  const auto widened = [&](const Labelled& t, const Labelled& other, const Labels& order) {
    const Tensor x = arranged(t, order);
    Shape shape = x.shape();
    for (std::size_t i = 0; i < order.size(); ++i)
      if (inside.find(order[i]) != Labels::npos) {
        const int k = static_cast<int>(i);
        shape[k] = shape[k] == 1 ? size_of(other, order[i]) : shape[k];
      }
    return expand(x, shape);
  };
  const auto count = [](const Labelled& t, const Labels& labels) {
    std::int64_t n = 1;
    for (char c : labels) n *= size_of(t, c);
    return n;
  };
  const Tensor left = widened(a, b, batch + rows + inside), right = widened(b, a, batch + inside + columns);
  std::int64_t depth = 1;
  for (int i = left.rank() - static_cast<int>(inside.size()); i < left.rank(); ++i) depth *= left.size(i);
  Shape left_shape, right_shape, shape = batch_shape;
  for (int i = 0; i < batch_shape.rank(); ++i) {
    left_shape.push_back(left.size(i));
    right_shape.push_back(right.size(i));
  }
  left_shape.push_back(count(a, rows));
  left_shape.push_back(depth);
  right_shape.push_back(depth);
  right_shape.push_back(count(b, columns));
  for (char c : rows) shape.push_back(size_of(a, c));
  for (char c : columns) shape.push_back(size_of(b, c));
  return {reshape(matmul(reshape(left, left_shape), reshape(right, right_shape)), shape), batch + rows + columns};
}

}  // namespace

Tensor einsum(std::string_view text, const Tensors& operands, Here here) {
  const Op op{"einsum", here};
  if (operands.empty()) op.fail_value("needs at least one operand");
  for (const Tensor& x : operands) op.check_same_dtype(operands[0], x);
  op.check_floating(operands[0]);
  const Subscripts s = parse(op, text, operands);
  check_sizes(op, s, operands);
  Labelled y = without_repeats(op, {operands[0], s.inputs[0]});
  for (std::size_t i = 1; i < operands.size(); ++i) {
    Labels needed = s.output;
    for (std::size_t k = i + 1; k < operands.size(); ++k) needed += s.inputs[k];
    y = multiplied(std::move(y), without_repeats(op, {operands[i], s.inputs[i]}), needed);
  }
  y = summed(std::move(y), s.output);
  return arranged(y, s.output);
}

Tensor tensordot(const Tensor& a, const Tensor& b, const Dims& axes_a, const Dims& axes_b, Here here) {
  const Op op{"tensordot", here};
  op.check_floating(a);
  op.check_same_dtype(a, b);
  if (axes_a.rank() != axes_b.rank())
    op.fail_shape("axes " + axes_a.str() + " and " + axes_b.str() + " differ in number");
  bool gone_a[max_rank] = {}, gone_b[max_rank] = {};
  std::int64_t depth = 1;
  for (int i = 0; i < axes_a.rank(); ++i) {
    const int p = op.axis(axes_a[i], a), q = op.axis(axes_b[i], b);
    if (gone_a[p] || gone_b[q]) op.fail_shape("axes " + axes_a.str() + " or " + axes_b.str() + " repeat an axis");
    if (a.size(p) != b.size(q))
      op.fail_shape("sizes differ along axes " + axes_a.str() + " of " + a.shape().str() + " and " + axes_b.str() +
                    " of " + b.shape().str());
    gone_a[p] = gone_b[q] = true;
    depth *= a.size(p);
  }
  Dims order_a, order_b;
  Shape shape;
  std::int64_t rows = 1, columns = 1;
  for (int i = 0; i < a.rank(); ++i)
    if (!gone_a[i]) {
      order_a.push_back(i);
      shape.push_back(a.size(i));
      rows *= a.size(i);
    }
  for (int i = 0; i < axes_a.rank(); ++i) {
    order_a.push_back(op.axis(axes_a[i], a));
    order_b.push_back(op.axis(axes_b[i], b));
  }
  for (int i = 0; i < b.rank(); ++i)
    if (!gone_b[i]) {
      order_b.push_back(i);
      shape.push_back(b.size(i));
      columns *= b.size(i);
    }
  return reshape(matmul(reshape(permute(a, order_a), {rows, depth}), reshape(permute(b, order_b), {depth, columns})),
                 shape);
}

Tensor detail::tensordot_inner(const Tensor& a, const Tensor& b, std::int64_t count, Here here) {
  const Op op{"tensordot", here};
  op.check_same_dtype(a, b);
  if (count < 0 || count > std::min(a.rank(), b.rank()))
    op.fail_value("count = " + std::to_string(count) + " exceeds the axes of " + a.shape().str() + " or " +
                  b.shape().str());
  Dims last, first;
  for (std::int64_t i = 0; i < count; ++i) {
    last.push_back(a.rank() - count + i);
    first.push_back(i);
  }
  return tensordot(a, b, last, first);
}

Tensor outer(const Tensor& a, const Tensor& b, Here here) {
  const Op op{"outer", here};
  op.check_same_dtype(a, b);
  if (a.rank() != 1 || b.rank() != 1)
    op.fail_shape("needs two vectors, got " + a.shape().str() + " and " + b.shape().str());
  return unsqueeze(a, 1) * b;
}

Tensor inner(const Tensor& a, const Tensor& b, Here here) {
  const Op op{"inner", here};
  op.check_same_dtype(a, b);
  if (a.rank() == 0 || b.rank() == 0) return a * b;
  if (a.shape().back() != b.shape().back())
    op.fail_shape("the last sizes differ: " + a.shape().str() + " and " + b.shape().str());
  return tensordot(a, b, {-1}, {-1});
}

Tensor addmm(const Tensor& x, const Tensor& a, const Tensor& b, double beta, double alpha, Here here) {
  const Op op{"addmm", here};
  op.check_same_dtype(x, a);
  Tensor y = matmul(a, b);
  if (alpha != 1) y = alpha * y;
  if (beta == 0) return y;  // x is not even read, NaN or not
  Shape joint;
  if (!broadcast(x.shape(), y.shape(), joint) || joint != y.shape())
    op.fail_shape("x " + x.shape().str() + " does not broadcast to the product " + y.shape().str() + " of " +
                  a.shape().str() + " and " + b.shape().str());
  return (beta == 1 ? x : beta * x) + y;
}

}  // namespace attune
