// Who made the first NaN: the second half of why.h.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "autograd/tape/tracing.h"
#include "autograd/trace/why.h"

namespace attune {

namespace {

NotFinite any_of(const Tensors& xs) {
  NotFinite all;
  for (const Tensor& x : xs) {
    const NotFinite one = not_finite(x);
    all.nan |= one.nan;
    all.infinity |= one.infinity;
  }
  return all;
}

const char* word(const NotFinite& f) { return f.nan ? "NaN" : "infinity"; }

/// Selects between values element by element: what it does not select gets a zero gradient.
bool selects(const Node& node) {
  const std::string_view name = node.name();
  return name == "where" || name == "masked_fill" || name == "maximum" || name == "minimum" || name == "clamp" ||
         name == "clamp_min" || name == "clamp_max";
}

class Search {
 public:
  Search(const Labels& labels, const Graph& graph) : labels_(labels), tape_(labels.tape()), graph_(graph) {}

  NanReport run() {
    if (!forward()) backward();
    return report_;
  }

 private:
  std::string called(std::size_t i) const {
    const Node& node = tape_[i];
    const std::string label = labels_.of(i);
    return node.is_leaf() ? label : label + " " + node.name() + (node.site().line ? " at " + node.site().str() : "");
  }
  std::string call(std::size_t i) const {
    const Node& node = tape_[i];
    return labels_.call(i, true) + (node.site().line ? " at " + node.site().str() : "");
  }
  template <class... A>
  void say(fmt::format_string<A...> text, A&&... a) {
    report_.lines.push_back(fmt::format(text, std::forward<A>(a)...));
  }
  NotFinite outputs(std::size_t i) const {
    const Trace* t = tape_[i].trace();
    return t ? any_of(t->outputs) : NotFinite{};
  }
  NotFinite inputs(std::size_t i) const {
    const Trace* t = tape_[i].trace();
    return t ? any_of(t->inputs) : NotFinite{};
  }
  /// Of inputs that are not on the tape.
  NotFinite constants(std::size_t i) const {
    Tensors xs;
    if (const Trace* t = tape_[i].trace())
      for (std::size_t k = 0; k < t->inputs.size() && k < tape_[i].edges().size(); ++k)
        if (!tape_[i].edges()[k].node) xs.push_back(t->inputs[k]);
    return any_of(xs);
  }

  // ---- the forward pass

  bool forward() {
    for (std::size_t i = 0; i < tape_.size(); ++i) {
      if (!outputs(i).nan) continue;
      // In order of execution, so nothing before it on the tape holds a NaN.
      report_.where = NanReport::Where::forward;
      blame(i, true);
      describe_unselected(report_.node);
      return true;
    }
    const std::size_t root = tape_.size() - 1;
    if (tape_.size() == 0 || !outputs(root).infinity) return false;
    report_.where = NanReport::Where::forward;
    blame(root, false);
    return true;
  }

  /// The first node that made an infinity, on the way to the inputs of the node at i; a deliberate one is passed over.
  std::optional<std::size_t> maker_of_infinity(std::size_t i) const {
    std::optional<std::size_t> found;
    std::vector<bool> seen(i + 1);
    std::vector<std::size_t> open{i};
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      for (std::uint32_t in : graph_.inputs(at)) {
        if (in >= graph_.size() || seen[in] || !outputs(in).infinity) continue;
        seen[in] = true;
        if (inputs(in).infinity)
          open.push_back(in);
        else if (std::string_view(tape_[in].name()) != "masked_fill" && (!found || in < *found))
          found = in;
      }
    }
    return found;
  }

  /// The node at i holds what is not finite and no NaN came in: it made it, or whoever made the infinity that did.
  void blame(std::size_t i, bool nan) {
    report_.node = i;
    const Node& node = tape_[i];
    const char* what = nan ? "NaN" : "infinity";
    if (node.is_leaf()) {
      say("{} holds {} itself: the program put it there, before this pass.", called(i), what);
      say("It is a leaf, so look at what filled or updated it: a file, an initialiser, a step that was too large.");
      return;
    }
    if (inputs(i).infinity) {
      if (const auto maker = maker_of_infinity(i)) {
        report_.node = *maker;
        if (nan) report_.became = i;
        if (tape_[*maker].is_leaf())
          say("{} holds an infinity itself: the program put it there, before this pass.", called(*maker));
        else
          say("{} made it: the first infinity, from finite inputs.", called(*maker)), show(*maker);
        if (nan) say("{} made NaN of that: {}", called(i), labels_.call(i, true));
        return;
      }
    }
    if (constants(i).any()) {
      say("{}: a constant among its inputs holds {}. It came from outside of the tape.", called(i), word(constants(i)));
      show(i);
      return;
    }
    say("{} made it: the first {} in order of execution, from inputs without one.", called(i), what);
    show(i);
  }

  void show(std::size_t i) {
    say("  {}", labels_.call(i, true));
    if (!Labels::module_of(tape_[i]).empty()) say("  in {}", Labels::module_of(tape_[i]));
  }

  /// Whether what the node made ends at a `where` that does not select it: the loss is finite, its gradient not.
  void describe_unselected(std::size_t maker) {
    std::vector<std::size_t> open{maker};
    std::vector<bool> seen(tape_.size());
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      for (const Graph::Use& use : graph_.users(at)) {
        if (seen[use.user]) continue;
        seen[use.user] = true;
        if (outputs(use.user).any()) {
          open.push_back(use.user);
        } else if (selects(tape_[use.user])) {
          say("{} does not select it, so it goes no further; but in the backward pass it sends {} a zero, and 0 * {} "
              "= NaN.",
              called(use.user), labels_.of(at), "NaN");
          advise(use.user, maker);
          return;
        }
      }
    }
  }

  void advise(std::size_t branch, std::size_t maker) {
    report_.branch = branch;
    const char* name = tape_[maker].name();
    say("Give the branch that is not selected a harmless argument: where(c, {}(where(c, x, 1)), 0) instead of "
        "where(c, {}(x), 0), with 1 any value at which {} and its slope are finite.",
        name, name, name);
  }

  // ---- the backward pass

  void backward() {
    std::vector<std::pair<std::uint64_t, std::size_t>> order;
    const Trace* root = tape_.size() ? tape_[tape_.size() - 1].trace() : nullptr;
    if (!root) return;
    for (std::size_t i = 0; i < tape_.size(); ++i) {
      const Trace* t = tape_[i].trace();
      if (t && t->step.pass == root->step.pass && t->step.order > 0) order.emplace_back(t->step.order, i);
    }
    std::sort(order.begin(), order.end());
    for (const auto& [_, i] : order)
      if (step(i, tape_[i].trace()->step)) return;
  }

  bool found(std::size_t i) {
    report_.where = NanReport::Where::backward;
    report_.node = i;
    return true;
  }

  /// Whether the first gradient that is not finite was made here.
  bool step(std::size_t i, const BackwardStep& s) {
    const NotFinite received = any_of(s.received);
    if (received.any()) {
      Tensors came, sums;
      for (const Arrival& a : s.arrivals) came.push_back(a.value), sums.push_back(a.sum);
      found(i);
      if (any_of(came).any())
        say("{}: the gradient that the pass began with holds {}.", called(i), word(any_of(came)));
      else if (any_of(sums).any())
        say("The sum of the gradients that meet at {} made it: each is finite, their sum overflows.", called(i));
      else
        say("A hook at {} made it: the gradient was finite when it came.", called(i));
      return true;
    }
    const NotFinite returned = any_of(s.returned);
    if (returned.any()) return found(i), describe_rule(i, s, returned), true;
    if (any_of(s.sent).any()) {
      found(i);
      say("{}: the sum over the axes along which an input was broadcast overflows.", called(i));
      return true;
    }
    for (const GradientChange& g : s.grads)
      if (not_finite(g.after).any()) {
        found(i);
        say("{}: its grad() {} from before this pass; this pass's gradient is finite.", called(i),
            not_finite(g.before).any() ? "already held " + std::string(word(not_finite(g.before)))
                                       : "overflows with what it held");
        return true;
      }
    return false;
  }

  void describe_rule(std::size_t i, const BackwardStep& s, const NotFinite& returned) {
    const Node& node = tape_[i];
    if (inputs(i).any() || outputs(i).any())
      if (const auto maker = inputs(i).any() ? maker_of_infinity(i) : std::nullopt) {
        say("{} made it: the first infinity, in the forward pass, from finite inputs.", called(*maker));
        show(*maker);
        say("In the backward pass the rule of {} made {} of that.", called(i), word(returned));
        report_.node = *maker;
        report_.became = i;
        report_.where = NanReport::Where::forward;
        describe_zero(i, s, *maker);
        return;
      }
    say("{} made it in the backward pass: it received finite gradients, and its rule returned {}.", called(i),
        word(returned));
    say("  {}", call(i));
    if (*node.rule()) say("  rule: {}", node.rule());
    describe_zero(i, s, i);
  }

  /// NaN where the gradient that came was zero: 0 * inf. Says which `where` sent the zero.
  void describe_zero(std::size_t i, const BackwardStep& s, std::size_t maker) {
    if (!zero_became_nan(s)) return;
    say("The gradient that it received there is 0 and its slope there is infinite or NaN: 0 * inf = NaN.");
    std::vector<std::size_t> open{i};
    std::vector<bool> seen(tape_.size());
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      for (const Graph::Use& use : graph_.users(at)) {
        if (seen[use.user]) continue;
        seen[use.user] = true;
        if (!selects(tape_[use.user])) {
          open.push_back(use.user);
          continue;
        }
        say("The 0 comes from {}, which did not select {} there.", called(use.user), labels_.of(at));
        advise(use.user, maker);
        return;
      }
    }
  }
  static bool zero_became_nan(const BackwardStep& s) {
    for (const Tensor& back : s.returned) {
      if (!not_finite(back).nan) continue;
      for (const Tensor& dy : s.received) {
        const std::vector<double> to = back.to_vector<double>(), from = dy.to_vector<double>();
        for (std::size_t e = 0; e < to.size(); ++e)
          if (std::isnan(to[e]) && (from.size() == to.size() ? from[e] == 0 : from.size() == 1 && from[0] == 0))
            return true;
      }
    }
    return false;
  }

  const Labels& labels_;
  const Tape& tape_;
  const Graph& graph_;
  NanReport report_;
};

}  // namespace

NanReport find_nan(const Labels& labels, const Graph& graph) { return Search(labels, graph).run(); }

}  // namespace attune
