// Commands that ask why: contributions, NaN, finite differences.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "autograd/trace/check.h"
#include "autograd/trace/internal/terminal_session.h"
#include "autograd/trace/why.h"

namespace attune::stepping {

namespace {

/// Runs the rest of the pass and goes back to where it was; nothing is shown.
class LookAhead {
 public:
  explicit LookAhead(Pass& p) : p_(p), taken_(p.stepper.taken()) {
    try {
      while (p_.undone == 0 && p_.forward()) {
      }
    } catch (const Refusal&) {  // NOLINT(bugprone-empty-catch): what there is, is looked at
    }
  }
  ~LookAhead() {
    while (p_.stepper.taken() > taken_ && p_.stepper.back()) {
    }
  }
  LookAhead(const LookAhead&) = delete;
  LookAhead& operator=(const LookAhead&) = delete;

 private:
  Pass& p_;
  std::size_t taken_;
};

void why_nan(Session& s) {
  Pass& p = s.pass();
  const std::size_t undone = std::exchange(p.undone, 0);
  NanReport report;
  {
    const LookAhead ahead(p);
    report = find_nan(p.labels, p.graph());
  }
  p.undone = undone;
  if (report.where == NanReport::Where::nowhere) {
    const bool traced = std::any_of(p.tape()[p.tape().size() - 1].edges().begin(),
                                    p.tape()[p.tape().size() - 1].edges().end(), [](const Edge&) { return true; }) &&
                        p.tape()[p.tape().size() - 1].trace() && p.tape()[p.tape().size() - 1].trace()->replay;
    return s.say(traced ? "There is none: neither the loss nor any gradient of this pass holds a NaN or an infinity."
                        : "No gradient of this pass holds a NaN or an infinity. Of the forward pass nothing is known: "
                          "it did not run under Tracing.");
  }
  bool first = true;
  for (const std::string& line : report.lines) {
    s.say(first ? s.style.bold(line) : line, 4);
    first = false;
  }
}

/// " 66.7 %" of the norms of all. Beside NaN and infinity numbers have no share.
std::string share_text(double norm, double total, std::size_t count) {
  if (!std::isfinite(norm)) return fmt::format("{:>7}", std::isnan(norm) ? "nan" : "inf");
  if (!std::isfinite(total)) return fmt::format("{:>7}", "-");
  return fmt::format("{:5.1f} %", total > 0 ? 100 * norm / total : 100 / static_cast<double>(count));
}

std::string rule_of(Pass& p, const Contribution& c) {
  if (c.from >= p.tape().size()) return "";
  const std::vector<InputLabel> inputs = p.labels.inputs(c.from);
  if (c.input < inputs.size() && !inputs[c.input].rule.empty()) return inputs[c.input].rule;
  return p.labels.rule(c.from);
}

}  // namespace

void why(Session& s, const Words& w) {
  if (w.size() == 1 && w[0] == "nan") return why_nan(s);
  if (w.size() > 1) throw Refusal("`why NODE` or `why nan`");
  Pass& p = s.pass();
  const Place at = s.place_or_current(w);
  const std::string name = p.labels.of(at.position) + (at.slot ? fmt::format(".{}", at.slot) : "");
  const GradientNow now = gradient_now(p, at);
  if (now.come == 0)
    throw Refusal(p.at_end() ? "no gradient reached " + name + " in this pass"
                             : fmt::format("no gradient has reached {} yet; `until {}` goes there", name, name));
  std::vector<Contribution> all = contributions(p.tape(), p.graph(), at.position, at.slot);
  std::erase_if(all, [&](const Contribution& c) { return c.arrival >= now.come; });
  double total = 0;
  for (const Contribution& c : all) total += c.norm;
  std::stable_partition(all.begin(), all.end(), [](const Contribution& c) { return std::isnan(c.norm); });
  const std::string value = brief(now.value, s.style.width / 2);
  s.say(fmt::format(
      "The gradient of {} is {}: {}{}", s.style.bold(name), value,
      all.size() == 1 ? "one contribution" : fmt::format("the sum of {} contributions", all.size()),
      now.come < now.all && !p.taken(at.position) ? fmt::format(", {} are still to come", now.all - now.come) : ""));
  const std::size_t most = 20;
  for (std::size_t i = 0; i < std::min(all.size(), most); ++i) {
    const Contribution& c = all[i];
    const std::string rule = rule_of(p, c);
    const Here site = c.from < p.tape().size() ? p.tape()[c.from].site() : p.here;
    s.say(fmt::format("  {}  {}  norm {}, from {}{}{}", share_text(c.norm, total, all.size()),
                      brief(c.value, s.style.width / 2), rough(c.norm), s.style.bold(sender_text(p, c.from)),
                      rule.empty() ? "" : ": " + rule, site.line ? ", " + site.str() : ""),
          11);
  }
  if (all.size() > most) s.say(fmt::format("  ... and {} smaller ones", all.size() - most));
  if (const double norm = norm_of(now.value); all.size() > 1 && norm < 0.1 * total)
    s.say(
        fmt::format("  They cancel: their norms add up to {}, the norm of their sum is {}.", rough(total), rough(norm)),
        4);
  const Trace* trace = p.tape()[at.position].trace();
  if (p.taken(at.position) && trace)
    for (const GradientChange& g : trace->step.grads)
      if (g.slot == at.slot && g.before.defined())
        s.say(fmt::format("  {}.grad() was {} before this pass, which adds to it: {}.", name,
                          brief(g.before, s.style.width / 3), brief(g.after, s.style.width / 3)),
              4);
}

namespace {

std::vector<std::string> parameters_of(Pass& p, std::size_t position) {
  std::vector<std::string> names;
  for (const InputLabel& l : p.labels.inputs(position)) names.push_back(l.parameter.empty() ? "" : l.parameter);
  return names;
}

void check_all(Session& s) {
  Pass& p = s.pass();
  std::int64_t right = 0, wrong = 0, surrogate = 0, skipped = 0, kinks = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  std::string why;
  std::size_t i = 0;
  for (; i < p.tape().size() && seconds() < 60; ++i) {
    if (p.tape()[i].is_leaf()) continue;
    const NodeCheck c = check_node(p.tape()[i], {.elements = 32, .seconds = 0.5});
    kinks += c.kinks;
    switch (c.verdict) {
      case NodeCheck::Verdict::right: ++right; break;
      case NodeCheck::Verdict::surrogate: ++surrogate; break;
      case NodeCheck::Verdict::not_checked:
        if (skipped++ == 0) why = p.labels.of(i) + " " + p.tape()[i].name() + ": " + c.why;
        break;
      case NodeCheck::Verdict::wrong:
        if (++wrong <= 10)
          s.say(s.style.bad(node_text(p, i) + "  " + site_text(p.tape()[i])) + ": " + to_string(c, parameters_of(p, i)),
                4);
        break;
    }
  }
  std::string text = fmt::format("{} rules agree with finite differences, {} do not", right, wrong);
  if (surrogate) text += fmt::format("; {} surrogates are not compared", surrogate);
  if (skipped) text += fmt::format("; {} not checked ({})", skipped, why);
  if (kinks) text += fmt::format("; {} elements have no derivative", kinks);
  if (i < p.tape().size()) text += fmt::format("; after a minute at %{}, the rest is left", i);
  s.say(wrong ? s.style.bad(text) : s.style.good(text), 2);
}

}  // namespace

void check(Session& s, const Words& w) {
  if (w.size() > 1) throw Refusal("`check`, `check NODE` or `check all`");
  if (!w.empty() && w[0] == "all") return check_all(s);
  Pass& p = s.pass();
  const Place at = s.place_or_current(w);
  const NodeCheck c = check_node(p.tape()[at.position]);
  const std::string text = to_string(c, parameters_of(p, at.position));
  s.say(s.style.bold(node_text(p, at.position)) + ": " +
            (c.verdict == NodeCheck::Verdict::wrong   ? s.style.bad(text)
             : c.verdict == NodeCheck::Verdict::right ? s.style.good(text)
                                                      : text),
        4);
  if (c.verdict == NodeCheck::Verdict::right && c.elements > 0)
    s.say("  run again in float64 with a random dy; central differences beside the rule's result", 2);
}

}  // namespace attune::stepping
