#include "autograd/trace/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <string_view>
#include <unordered_set>

#include "autograd/runtime/error.h"
#include "autograd/trace/internal/replayed_node.h"

namespace attune {

using namespace differences;

namespace {

const Precision in_float64{float64, 2.3e-16, 1e-5, {1e-5, 1e-6, 1e-4, 1e-7, 1e-3}, 1e-4, 1e-6};
const Precision in_float32{float32, 1.2e-7, 2e-2, {1e-2, 3e-3, 1e-3}, 3e-2, 3e-3};

double largest(const Values& v) {
  double most = 0;
  for (double each : v)
    if (std::isfinite(each)) most = std::max(most, std::abs(each));
  return most;
}
double root_mean_square(const Values& v) {
  double sum = 0, n = 0;
  for (double each : v)
    if (std::isfinite(each)) sum += each * each, n += 1;
  return n > 0 ? std::sqrt(sum / n) : 0;
}

enum class Agreement { yes, no, kink };
struct Comparison {
  Agreement agreement = Agreement::no;
  double difference = 0;
  std::string kink;
};

std::string slope(double v) { return std::isfinite(v) ? fmt::format("{:.4g}", v + 0.0) : "not finite"; }  // no -0

/// The rule's slope along a direction against differences in every step size.
class Comparer {
 public:
  Comparer(Replayed& f, std::size_t which, Replayed::Direction direction)
      : f_(f), which_(which), direction_(std::move(direction)) {
    double squares = 0, size = 0;
    for (const auto& [e, length] : direction_) {
      const double part = f.slopes[which][e] * length;
      rule_ += part;
      squares += part * part;
      size = std::max(size, std::abs(f.values[which][e]));
    }
    typical_ = std::sqrt(squares);
    const double rms = root_mean_square(f.values[which]);
    scale_ = direction_.size() > 1 ? 1 : size > 0 ? std::max(size, 1e-3 * rms) : rms > 0 ? rms : 1;
    floor_ = 1e-8 * largest(f.slopes[which]) + f.rounding(scale_);
  }

  Comparison run() {
    Comparison c;
    bool finite = false;
    double best = INFINITY;
    for (double step : f_.precision.steps) {
      const double h = step * scale_;
      const auto d = f_.between(f_.moved(which_, direction_, -h), f_.moved(which_, direction_, h));
      const double slope = d.value / (2 * h), gap = std::abs(slope - rule_);
      if (std::isfinite(slope)) finite = true;
      if (gap <= tolerance(slope, d.noise / (2 * h))) {
        c.agreement = Agreement::yes;
        return c;
      }
      if (std::isfinite(slope) && !(gap >= best)) best = gap, c.difference = slope;
    }
    look_at_both_sides(c, finite);
    return c;
  }

 private:
  double tolerance(double slope, double noise) const {
    return f_.precision.tolerance * std::max({std::abs(slope), std::abs(rule_), typical_}) + 4 * noise + floor_;
  }
  struct Sides {
    double left, right, noise;
  };
  Sides sides(double h) {
    const auto right = f_.between(f_.here(), f_.moved(which_, direction_, h));
    const auto left = f_.between(f_.moved(which_, direction_, -h), f_.here());
    return {left.value / h, right.value / h, (left.noise + right.noise) / h};
  }
  /// Nothing agreed: a wrong rule, or no derivative here.
  void look_at_both_sides(Comparison& c, bool finite) {
    const Sides coarse = sides(f_.precision.coarse * scale_), fine = sides(f_.precision.fine * scale_);
    const auto remember = [&] {
      c.agreement = Agreement::kink;
      // Of one output, the slope is its own, without the cotangent.
      const double h = f_.precision.fine * scale_;
      const double dy = f_.sole_cotangent(f_.moved(which_, direction_, -h), f_.moved(which_, direction_, h));
      c.kink = fmt::format("slope {} on the left, {} on the right", slope(fine.left / dy), slope(fine.right / dy));
    };
    if (!finite || !std::isfinite(fine.left) || !std::isfinite(fine.right)) {
      // The end of the domain: the side that there is may still agree.
      const double side = std::isfinite(fine.right) ? fine.right : fine.left;
      if (std::abs(side - rule_) <= 1e3 * tolerance(side, fine.noise)) c.agreement = Agreement::yes;
      if (c.agreement == Agreement::no) remember();
      return;
    }
    const double gap = std::abs(fine.right - fine.left), before = std::abs(coarse.right - coarse.left);
    if (gap > 0.1 * before && gap > 10 * tolerance(std::max(std::abs(fine.left), std::abs(fine.right)), fine.noise))
      remember();
  }

  Replayed& f_;
  std::size_t which_;
  Replayed::Direction direction_;
  double rule_ = 0, typical_ = 0, scale_ = 1, floor_ = 0;
};

Dims place(std::size_t flat, const Shape& shape) {
  Dims at;
  at.resize(shape.rank());
  auto rest = static_cast<std::int64_t>(flat);
  for (int i = shape.rank(); i-- > 0; rest /= shape[i]) at[i] = rest % shape[i];
  return at;
}

class Run {
 public:
  Run(Replayed& f, const NodeCheckOptions& options, NodeCheck& result)
      : f_(f), options_(options), result_(result), random_(options.seed) {}

  /// Whether the rule is right for one of the moving inputs. Each has its share of the time; one element, or one
  /// direction, is always compared.
  bool input(std::size_t which) {
    end_ = now() + options_.seconds / static_cast<double>(f_.moving.size());
    const std::size_t n = f_.values[which].size();
    if (static_cast<std::int64_t>(n) <= options_.elements) {
      for (std::size_t e = 0; e < n && (e == 0 || in_time()); ++e)
        if (!element(which, e)) return false;
      return true;
    }
    if (!directions(which)) return false;
    for (std::int64_t i = 0; i < options_.elements / 4 && in_time(); ++i)
      if (!element(which, random_() % n)) return false;
    return true;
  }

 private:
  static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  bool in_time() const { return now() < end_; }

  bool element(std::size_t which, std::size_t e) {
    Comparer compare(f_, which, {{e, 1.0}});
    const Comparison c = compare.run();
    ++result_.elements;
    if (c.agreement == Agreement::yes) return true;
    if (c.agreement == Agreement::kink) {
      if (result_.kinks++ == 0) {
        const Dims at = place(e, f_.shape(which));
        result_.kink_input = f_.moving[which];
        result_.kink = fmt::format("{} = {:.6g}: {}", at.empty() ? "" : at.str(), f_.values[which][e], c.kink);
      }
      return true;
    }
    result_.verdict = NodeCheck::Verdict::wrong;
    result_.input = f_.moving[which];
    result_.element = place(e, f_.shape(which));
    result_.rule = f_.slopes[which][e];
    result_.difference = c.difference;
    return false;
  }

  /// Two random directions; where one disagrees, its halves are tried until a single element is left.
  bool directions(std::size_t which) {
    const std::size_t n = f_.values[which].size();
    const double rms = root_mean_square(f_.values[which]), size = rms > 0 ? rms : 1;
    std::normal_distribution<double> normal(0, size);
    std::unordered_set<std::size_t> passed_over;
    int good = 0;
    for (int tried = 0; good < 2 && tried < 8 && (tried == 0 || in_time()); ++tried) {
      Replayed::Direction all;
      for (std::size_t e = 0; e < n; ++e) {
        const double length = normal(random_);
        if (!passed_over.contains(e)) all.emplace_back(e, length);
      }
      if (agrees(which, all)) {
        ++good;
        ++result_.directions;
        continue;
      }
      while (all.size() > 1) {
        const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
        Replayed::Direction first(all.begin(), middle), second(middle, all.end());
        if (!agrees(which, first))
          all = std::move(first);
        else if (!agrees(which, second))
          all = std::move(second);
        else
          break;
      }
      if (all.size() != 1) continue;
      if (!element(which, all[0].first)) return false;
      passed_over.insert(all[0].first);
    }
    if (good > 0 || !passed_over.empty()) return true;
    result_.why = "along random directions its differences and its rule disagree, at no single element";
    return false;
  }
  bool agrees(std::size_t which, const Replayed::Direction& direction) {
    return Comparer(f_, which, direction).run().agreement == Agreement::yes;
  }

  Replayed& f_;
  const NodeCheckOptions& options_;
  NodeCheck& result_;
  std::mt19937_64 random_;
  double end_ = 0;
};

void check_in(const Node& node, const Precision& precision, const NodeCheckOptions& options, NodeCheck& result) {
  Replayed f(node, precision, options.seed);
  if (!f.recorded) {
    result.why = "its replay records nothing";
    return;
  }
  Run run(f, options, result);
  for (std::size_t i = 0; i < f.moving.size(); ++i)
    if (!run.input(i)) return;
  if (result.elements + result.directions == 0) {
    result.why = "it has no elements";
    return;
  }
  result.verdict = NodeCheck::Verdict::right;
}

std::string first_line(const std::exception& e) {
  const std::string what = e.what();
  return what.substr(0, what.find('\n'));
}

}  // namespace

NodeCheck check_node(const Node& node, const NodeCheckOptions& options) {
  NodeCheck result;
  const Trace* trace = node.trace();
  const std::string_view name = node.name();
  if (node.is_leaf())
    result.why = "a leaf has no rule";
  else if (name == "straight_through" || name == "gradient_reversal")
    result.verdict = NodeCheck::Verdict::surrogate;
  else if (!trace || !trace->replay || trace->inputs.size() != node.edges().size())
    result.why = trace && !trace->replay && !trace->stack.empty()
                     ? "it runs a function of its own, which cannot be run again on other values"
                     : "it was not recorded under Tracing, so it cannot be run again";
  if (!result.why.empty() || result.verdict == NodeCheck::Verdict::surrogate) return result;
  try {
    check_in(node, in_float64, options, result);
  } catch (const std::exception& e) {
    result = NodeCheck();
    result.why = "it cannot be run again: " + first_line(e);
    try {
      check_in(node, in_float32, options, result);
      if (result.verdict != NodeCheck::Verdict::not_checked) result.why = "in float32, to two digits";
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the first answer says more
    }
  }
  return result;
}

std::string to_string(const NodeCheck& c, const std::vector<std::string>& names) {
  const auto name = [&](std::size_t i) {
    return i < names.size() && !names[i].empty() ? names[i] : "input " + std::to_string(i);
  };
  switch (c.verdict) {
    case NodeCheck::Verdict::not_checked: return "not checked: " + c.why;
    case NodeCheck::Verdict::surrogate:
      return "a surrogate: its rule is another function's derivative on purpose, so there is nothing to compare";
    case NodeCheck::Verdict::wrong:
      return fmt::format("WRONG: the gradient of {}{}: the rule gives {:.8g}, finite differences give {:.8g}",
                         name(c.input), c.element.empty() ? "" : c.element.str(), c.rule, c.difference);
    case NodeCheck::Verdict::right: break;
  }
  const auto counted = [](std::int64_t n, const char* what) {
    return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
  };
  std::string text = "right: " + counted(c.elements, "element");
  if (c.directions > 0) text += " and " + counted(c.directions, "random direction");
  if (!c.why.empty()) text += ", " + c.why;
  if (c.kinks == 0) return text;
  return text + fmt::format("; {} of them without a derivative ({}{})", c.kinks, name(c.kink_input), c.kink);
}

}  // namespace attune
