// Nodes that own the rules of an operation: typed, one allocation each, behind one virtual call.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "autograd/tape/node.h"
#include "autograd/tape/saved.h"

namespace attune::detail {

template <class Rule>
inline constexpr bool takes_output = std::is_invocable_v<Rule&, const Tensor&, const Tensor&>;

/// A rule gets the operation's output as a handle onto the tape. The node keeps its value alone, so that it never owns
/// itself.
Tensor rewrap_saved(const Tensor& x, Node* node, std::uint32_t slot);

/// What a rule says of itself with `std::string text() const`, or `text(const Node&) const` if it wants the node's
/// shapes too; "" for a plain lambda.
template <class Rule>
std::string text_of(const std::optional<Rule>& rule, [[maybe_unused]] const Node& node) {
  if constexpr (requires(const Rule& r) { r.text(); })
    return rule ? rule->text() : std::string();
  else if constexpr (requires(const Rule& r) { r.text(node); })
    return rule ? rule->text(node) : std::string();
  else
    return {};
}

/// One rule an input. Rules of inputs that need no gradient are dropped, and with them what they saved.
template <class... Rules>
class RuleNode final : public Node {
 public:
  RuleNode(const char* name, const char* rule, Here site, Rules&&... rules)
      : Node(name, rule, site, false), rules_(std::optional<Rules>(std::move(rules))...) {
    edges_ = inputs_.data();
    edge_count_ = sizeof...(Rules);
  }

  void settle(const Tensor& y) {
    drop_unneeded(std::index_sequence_for<Rules...>{});
    if constexpr ((false || ... || takes_output<Rules>)) y_ = Saved(y.detach());
  }

  void run(const Tensors& dys, std::span<Tensor> dxs) override {
    run_all(dys, dxs, std::index_sequence_for<Rules...>{});
  }
  void free_saved() noexcept override {
    std::apply([](auto&... r) { (r.reset(), ...); }, rules_);
    y_ = Saved();
    freed_ = true;
  }
  std::string rule_text() const override {
    std::string text;
    const auto append = [&text](const std::string& part) { text += (text.empty() || part.empty() ? "" : ", ") + part; };
    std::apply([&](const auto&... r) { (append(text_of(r, *this)), ...); }, rules_);
    return text.empty() ? rule() : text;
  }

 private:
  template <std::size_t... I>
  void drop_unneeded(std::index_sequence<I...>) {
    ((inputs_[I].node ? void() : std::get<I>(rules_).reset()), ...);
  }
  template <std::size_t... I>
  void run_all(const Tensors& dys, std::span<Tensor> dxs, std::index_sequence<I...>) {
    Tensor y;
    if constexpr ((false || ... || takes_output<Rules>)) y = rewrap_saved(y_.get(), this, 0);
    (run_one(std::get<I>(rules_), dys[0], y, dxs[I]), ...);
  }
  template <class Rule>
  void run_one(std::optional<Rule>& rule, const Tensor& dy, const Tensor& y, Tensor& dx) {
    if (!rule) return;
    if constexpr (takes_output<Rule>)
      dx = (*rule)(dy, y);
    else
      dx = (*rule)(dy);
  }

  std::array<Edge, sizeof...(Rules)> inputs_;
  std::tuple<std::optional<Rules>...> rules_;
  Saved y_;
};

/// One rule for all inputs: (dys, needs) or (dys, needs, ys) to dxs.
template <class Rule>
class JointNode final : public Node {
 public:
  static constexpr bool wants_outputs = std::is_invocable_v<Rule&, const Tensors&, const Needs&, const Tensors&>;

  JointNode(const char* name, const char* rule_text, Here site, std::size_t inputs, Rule&& rule)
      : Node(name, rule_text, site, false), inputs_(inputs), rule_(std::move(rule)) {
    edges_ = inputs_.data();
    edge_count_ = static_cast<std::uint32_t>(inputs);
  }
  void settle(const Tensors& ys) {
    if constexpr (wants_outputs)
      for (const Tensor& y : ys) ys_.push_back(Saved(y.detach()));
  }
  void run(const Tensors& dys, std::span<Tensor> dxs) override {
    Tensors out;
    if constexpr (wants_outputs) {
      Tensors ys;
      for (std::uint32_t i = 0; i < ys_.size(); ++i) ys.push_back(rewrap_saved(ys_[i].get(), this, i));
      out = (*rule_)(dys, Needs(edges()), ys);
    } else {
      out = (*rule_)(dys, Needs(edges()));
    }
    for (std::size_t i = 0; i < dxs.size() && i < out.size(); ++i) dxs[i] = std::move(out[i]);
  }
  void free_saved() noexcept override {
    rule_.reset();
    ys_.clear();
    freed_ = true;
  }
  std::string rule_text() const override {
    const std::string text = text_of(rule_, *this);
    return text.empty() ? rule() : text;
  }

 private:
  std::vector<Edge> inputs_;
  std::optional<Rule> rule_;
  std::vector<Saved> ys_;
};

}  // namespace attune::detail
