// The table of operations is complete: what an operation's own shape rules admit stands among its row's cases, and so
// runs in every test that the table drives.

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tests/ops/all.h"

namespace attune::tests {
namespace {

using Case = std::vector<Shape>;

/// Whether the row's operation takes inputs of these shapes, by trying it.
bool admits(const OpRow& row, const Case& shapes) {
  Tensors xs;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const Domain d = i < row.domains.size() ? row.domains[i] : Domain{};
    xs.push_back(full(shapes[i], d.low + 0.37 * (d.high - d.low), float64));
  }
  const NoGrad off;
  try {
    row.call(xs);
  } catch (const Error&) {
    return false;
  }
  return true;
}

bool has_size(const Shape& shape, std::int64_t n) { return std::find(shape.begin(), shape.end(), n) != shape.end(); }

std::string text(const Case& shapes) {
  std::string s = "{";
  for (const Shape& shape : shapes) s += (s.size() > 1 ? ", " : "") + shape.str();
  return s + "}";
}

/// A kind of case that an input may stand in: which cases are of the kind, and what to try.
struct Kind {
  std::string name;
  std::function<bool(const Case&, std::size_t)> holds;
  std::function<std::vector<Case>(const Case&, std::size_t)> variants;
};

/// The case with every axis of size v, in all inputs, of size n; v goes over the sizes of input i.
std::vector<Case> with_sizes(const Case& base, std::size_t i, std::int64_t n) {
  std::vector<Case> all;
  for (std::int64_t v : std::set<std::int64_t>(base[i].begin(), base[i].end())) {
    Case changed = base;
    for (Shape& shape : changed) std::replace(shape.begin(), shape.end(), v, n);
    all.push_back(changed);
  }
  return all;
}

std::vector<Case> of_rank_0(const Case& base, std::size_t i) {
  Case alone = base;
  alone[i] = {};
  return {alone, Case(base.size())};
}

/// Input i shorter or smaller than others of its shape.
std::vector<Case> stretched(const Case& base, std::size_t i) {
  std::vector<Case> all;
  for (int axis = 0; axis < base[i].rank(); ++axis) {
    if (base[i][axis] < 2) continue;
    Case changed = base;
    changed[i][axis] = 1;
    all.push_back(changed);
  }
  return all;
}

bool is_stretched(const Case& shapes, std::size_t i) {
  for (const Shape& other : shapes) {
    Shape joint;
    if (other != shapes[i] && broadcast(other, shapes[i], joint) && joint == other) return true;
  }
  return false;
}

/// Input i in the shape of an earlier one, which can then stand for both.
std::vector<Case> shared(const Case& base, std::size_t i) {
  std::vector<Case> all;
  for (std::size_t j = 0; j < i; ++j) {
    Case changed = base;
    changed[i] = base[j];
    all.push_back(changed);
  }
  return all;
}

bool is_shared(const Case& shapes, std::size_t i) {
  return std::find(shapes.begin(), shapes.begin() + static_cast<std::ptrdiff_t>(i), shapes[i]) !=
         shapes.begin() + static_cast<std::ptrdiff_t>(i);
}

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"of no elements", [](const Case& c, std::size_t i) { return has_size(c[i], 0); },
       [](const Case& c, std::size_t i) { return with_sizes(c, i, 0); }},
      {"with an axis of size 1", [](const Case& c, std::size_t i) { return has_size(c[i], 1); },
       [](const Case& c, std::size_t i) { return with_sizes(c, i, 1); }},
      {"of rank 0", [](const Case& c, std::size_t i) { return c[i].rank() == 0; }, of_rank_0},
      {"stretched to another input", is_stretched, stretched},
      {"of another input's shape", is_shared, shared},
  };
  return all;
}

}  // namespace

TEST_CASE("operations: every row lists the cases that its operation admits") {
  for (const OpRow& row : all_rows()) {
    if (row.name == "to") continue;  // float32 has too few digits for finite differences: its cases are tested by name
    for (const Kind& kind : kinds())
      for (std::size_t i = 0; i < row.shapes[0].size(); ++i) {
        const bool listed =
            std::any_of(row.shapes.begin(), row.shapes.end(), [&](const Case& c) { return kind.holds(c, i); });
        if (listed) continue;
        std::string missing;
        for (const Case& base : row.shapes)
          for (const Case& variant : kind.variants(base, i))
            if (missing.empty() && kind.holds(variant, i) && admits(row, variant)) missing = text(variant);
        CHECK_MESSAGE(missing.empty(), row.name, ": input ", i, " ", kind.name, ", such as ", missing,
                      ", is missing among the shapes");
      }
  }
}

}  // namespace attune::tests
