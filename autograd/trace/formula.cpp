#include "autograd/trace/formula.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>

#include "autograd/derivatives/jvp.h"
#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/tracing.h"
#include "autograd/trace/internal/expression.h"
#include "autograd/trace/internal/numbers.h"

namespace attune {

namespace {

constexpr std::size_t most_terms = 6;

std::int64_t place_of(const Dims& element, const Shape& shape, const char* what, Here here) {
  if (element.rank() == 0) {
    if (attune::numel(shape) == 0)
      throw IndexError(std::string("formula: ") + what + " " + shape.str() + " is empty", here);
    return 0;
  }
  if (element.rank() != shape.rank())
    throw IndexError("formula: " + element.str() + " has " + std::to_string(element.rank()) + " indices for " + what +
                         " " + shape.str(),
                     here);
  std::int64_t place = 0;
  for (int a = 0; a < shape.rank(); ++a) {
    const std::int64_t i = element[a] < 0 ? element[a] + shape[a] : element[a];
    if (i < 0 || i >= shape[a])
      throw IndexError("formula: " + element.str() + " is outside of " + what + " " + shape.str(), here);
    place = place * shape[a] + i;
  }
  return place;
}

/// "[0,1]"; "" of rank 0.
std::string index_text(std::int64_t place, const Shape& shape) {
  std::string s;
  for (int a = shape.rank(); a-- > 0; place /= shape[a])
    s = fmt::format("{}{}{}", place % shape[a], s.empty() ? "" : ",", s);
  return shape.rank() == 0 ? "" : "[" + s + "]";
}

/// The element of a tensor of shape `x` that broadcasting puts at place `i` of one of shape `y`.
std::optional<std::int64_t> broadcast_place(const Shape& x, const Shape& y, std::int64_t i) {
  Shape joint;
  if (!broadcast(x, y, joint) || joint != y) return std::nullopt;
  std::int64_t place = 0, step = 1;
  for (int a = y.rank(), b = x.rank(); a-- > 0 && b-- > 0; i /= y[a]) {
    if (x[b] != 1) place += i % y[a] * step;
    step *= x[b];
  }
  return place;
}

/// One rule of a node, as arithmetic of single elements.
class Arithmetic {
 public:
  /// Nothing if it is none.
  static std::optional<Arithmetic> of(const Trace& t, const std::vector<InputLabel>& inputs, const std::string& body,
                                      const std::string& definitions,
                                      const std::vector<std::pair<std::string, std::string>>& arguments) {
    Arithmetic a(t);
    if (t.outputs.size() != 1 || t.step.received.size() != 1) return std::nullopt;
    a.tensors_["y"] = t.outputs[0];
    a.tensors_["dy"] = a.tensors_["g"] = t.step.received[0];  // g where a parameter is called dy
    for (std::size_t i = 0; i < inputs.size() && i < t.inputs.size(); ++i)
      if (!inputs[i].parameter.empty() && t.inputs[i].defined()) a.tensors_[inputs[i].parameter] = t.inputs[i];
    for (const auto& [name, text] : arguments) {
      char* end = nullptr;
      const double v = std::strtod(text.c_str(), &end);
      if (!name.empty() && end != text.c_str() && *end == '\0') a.tensors_.try_emplace(name, tensor(v, DType::float64));
    }
    if (!a.define(definitions)) return std::nullopt;
    a.body_ = Expression::parse(body);
    if (!a.body_ || !a.known(*a.body_)) return std::nullopt;
    return a;
  }

  /// "2 * 3" at an element of the output.
  std::string at(std::int64_t i) const {
    const auto values = values_at(i);
    return body_->str([&](const std::string& name) { return text_of(name, i, values); });
  }
  double value_at(std::int64_t i) const { return body_->evaluate(values_at(i)); }
  /// ", s = sigmoid(1) = 0.731059"
  std::string definitions_at(std::int64_t i) const {
    const auto values = values_at(i);
    std::string s;
    for (const auto& [name, e] : definitions_)
      s += fmt::format(", {} = {} = {:.6g}", name, e.str([&](const std::string& n) { return text_of(n, i, values); }),
                       values.at(name));
    return s;
  }

 private:
  explicit Arithmetic(const Trace& t) : y_(t.outputs.empty() ? Shape() : t.outputs[0].shape()) {}

  bool define(const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
      std::size_t end = text.find(", ", at);
      if (end == std::string::npos) end = text.size();
      const std::string one = text.substr(at, end - at);
      const std::size_t equals = one.find(" = ");
      if (equals == std::string::npos) return false;
      const auto e = Expression::parse(one.substr(equals + 3));
      if (!e || !known(*e)) return false;
      definitions_.emplace_back(one.substr(0, equals), *e);
      at = end + 2;
    }
    return true;
  }
  bool known(const Expression& e) const {
    for (const std::string& name : e.names()) {
      const auto is_name = [&](const auto& d) { return d.first == name; };
      if (std::any_of(definitions_.begin(), definitions_.end(), is_name)) continue;
      const auto at = tensors_.find(name);
      if (at == tensors_.end() || !broadcast_place(at->second.shape(), y_, 0)) return false;
    }
    return true;
  }
  std::map<std::string, double> values_at(std::int64_t i) const {
    std::map<std::string, double> values;
    for (const auto& [name, x] : tensors_)
      if (const auto place = broadcast_place(x.shape(), y_, i))
        values[name] = x.to_vector<double>()[static_cast<std::size_t>(*place)];
    for (const auto& [name, e] : definitions_) values[name] = e.evaluate(values);
    return values;
  }
  std::string text_of(const std::string& name, std::int64_t i, const std::map<std::string, double>& values) const {
    const auto at = tensors_.find(name);
    if (at == tensors_.end()) return fmt::format("{:.6g}", values.at(name));
    return element_text(at->second, *broadcast_place(at->second.shape(), y_, i));
  }

  Shape y_;
  std::map<std::string, Tensor> tensors_;
  std::vector<std::pair<std::string, Expression>> definitions_;
  std::optional<Expression> body_;
};

/// "2 * 3 + 1 * 4 + ... (5 more)" over the elements of the output whose gradient reaches this one.
std::string sum_of(const Arithmetic& rule, const Shape& x, const Shape& y, std::int64_t place) {
  std::string s;
  std::size_t terms = 0;
  for (std::int64_t i = 0; i < attune::numel(y); ++i) {
    if (broadcast_place(x, y, i) != place) continue;
    if (++terms > most_terms) continue;
    const std::string term = rule.at(i);
    const auto holds = [&term](const char* what) { return term.find(what) != std::string::npos; };
    const bool sum = holds(" + ") || holds(" - ") || holds(" where ");
    s += (s.empty() ? "" : " + ") + (sum || (!s.empty() && term.starts_with('-')) ? "(" + term + ")" : term);
  }
  return terms > most_terms ? s + " + ... (" + std::to_string(terms - most_terms) + " more)" : s;
}

/// The same by the node's derivative along one element of an input: the sum of dy times dy/dx.
std::string by_forward_mode(const Trace& t, std::size_t input, std::int64_t place) {
  Tensors inputs, tangents;
  for (const Tensor& x : t.inputs) inputs.push_back(x.defined() && is_floating(x.dtype()) ? to(x, DType::float64) : x);
  const Tensor tangent = zeros(inputs[input].shape(), DType::float64);
  tangent.detach().mutable_data<double>()[place] = 1;
  const auto f = [&](const Tensors& in) {
    Tensors all = inputs;
    all[input] = in[0];
    return t.replay(all);
  };
  const Tensors slopes = jvp(f, {inputs[input]}, {tangent});
  struct Term {
    double size;
    std::string text;
  };
  std::vector<Term> terms;
  for (std::size_t o = 0; o < slopes.size() && o < t.step.received.size(); ++o) {
    if (!slopes[o].defined() || !t.step.received[o].defined()) continue;
    const std::vector<double> slope = slopes[o].to_vector<double>(), dy = t.step.received[o].to_vector<double>();
    for (std::size_t i = 0; i < slope.size() && i < dy.size(); ++i) {
      if (slope[i] == 0) continue;
      const std::string s = fmt::format("{:.6g}", slope[i]);
      terms.push_back({std::abs(slope[i] * dy[i]), element_text(t.step.received[o], static_cast<std::int64_t>(i)) +
                                                       " * " + (slope[i] < 0 ? "(" + s + ")" : s)});
    }
  }
  if (terms.empty()) return "0 (no element of the output depends on it)";
  const std::size_t all = terms.size();
  if (all > most_terms) {
    std::stable_sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) { return a.size > b.size; });
    terms.resize(most_terms);
  }
  std::string s;
  for (const Term& each : terms) s += (s.empty() ? "" : " + ") + each.text;
  return all > most_terms ? s + " + ... (" + std::to_string(all - most_terms) + " more)" : s;
}

}  // namespace

std::string formula(const Labels& labels, std::size_t position, std::size_t input, const Dims& element, Here here) {
  if (position >= labels.tape().size())
    throw ValueError("formula: there is no node " + std::to_string(position) + " on a tape of " +
                         std::to_string(labels.tape().size()),
                     here);
  const Node& n = labels.tape()[position];
  const std::string who = "formula: %" + std::to_string(position) + " " + n.name();
  const Trace* t = n.trace();
  if (n.is_leaf()) throw ValueError(who + ": gradients collect here; it has no rule", here);
  if (input >= n.edges().size())
    throw IndexError(who + " has no input " + std::to_string(input) + " of " + std::to_string(n.edges().size()), here);
  if (!t || !t->replay) throw ValueError(who + " was not recorded under Tracing", here);
  if (t->step.order == 0) throw ValueError(who + ": its step has not been taken yet", here);
  const Tensor& dx = t->step.sent[input];
  if (!dx.defined()) throw ValueError(who + " sends nothing to input " + std::to_string(input), here);
  const std::vector<InputLabel> inputs = labels.inputs(position);
  const std::int64_t place = place_of(element, dx.shape(), "the input", here);
  const std::string name = inputs[input].parameter.empty() ? "x" + std::to_string(input) : inputs[input].parameter;
  const std::string left = "d" + name + index_text(place, dx.shape());
  const std::string result = element_text(dx, place);
  const std::string& rule = inputs[input].rule;
  const std::size_t equals = rule.find(" = ");
  const std::string body = equals == std::string::npos ? "" : rule.substr(equals + 3);
  const std::string shown = body.empty() ? "" : " = " + body;
  const std::string definitions = rule_parts(t->rule.empty() ? n.rule() : t->rule).definitions;
  const auto arithmetic = Arithmetic::of(*t, inputs, body, definitions, labels.arguments(position));
  if (arithmetic && !t->outputs.empty()) {
    const Shape& y = t->outputs[0].shape();
    if (y == dx.shape()) {
      const std::string numbers = arithmetic->at(place);
      const double own = dx.to_vector<double>()[static_cast<std::size_t>(place)],
                   computed = arithmetic->value_at(place);
      if (std::isfinite(own) && !(std::abs(own - computed) <= 1e-3 * std::max(std::abs(own), std::abs(computed))))
        return left + shown + " = " + result + " (a special case of the rule: " + numbers + ")";
      return left + shown + " = " + (numbers == result ? "" : numbers + " = ") + result +
             arithmetic->definitions_at(place);
    }
    if (broadcast_place(dx.shape(), y, 0))
      return left + shown + ", summed where it was broadcast = " + sum_of(*arithmetic, dx.shape(), y, place) + " = " +
             result;
  }
  return left + shown + " = " + by_forward_mode(*t, input, place) + " = " + result;
}

}  // namespace attune
