// Breakpoints and watched tensors.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>

#include "autograd/trace/internal/terminal_session.h"
#include "autograd/trace/why.h"

namespace attune::stepping {

namespace {

using Kind = Breakpoint::Kind;

constexpr const char* kinds =
    "op=softmax, module=encoder, train.cpp:42, nan, inf, norm>10, norm<1e-7 or fanout (a gradient with several "
    "contributions)";

/// "softmax" of "op=softmax".
std::optional<std::string> after(const std::string& text, std::string_view start) {
  if (!text.starts_with(start)) return std::nullopt;
  return text.substr(start.size());
}

Breakpoint parse(const std::string& text) {
  Breakpoint b;
  b.text = text;
  if (text == "nan")
    b.kind = Kind::nan;
  else if (text == "inf")
    b.kind = Kind::infinity;
  else if (text == "fanout")
    b.kind = Kind::fan_out;
  else if (const auto op = after(text, "op="))
    b.kind = Kind::operation, b.name = *op;
  else if (const auto module = after(text, "module="))
    b.kind = Kind::module, b.name = *module;
  else if (const auto above = after(text, "norm>"))
    b.kind = Kind::above, b.bound = parse_number(*above);
  else if (const auto below = after(text, "norm<"))
    b.kind = Kind::below, b.bound = parse_number(*below);
  else if (const std::size_t colon = text.rfind(':'); colon != std::string::npos && colon > 0) {
    b.kind = Kind::line;
    b.name = text.substr(0, colon);
    b.line = static_cast<int>(std::min<std::int64_t>(parse_count(text.substr(colon + 1), "a line", 1), 1 << 30));
  } else {
    const std::string near = nearest(text, {"nan", "inf", "fanout", "op=", "module=", "norm>", "norm<"});
    throw Refusal("no breakpoint is like \"" + cut(text, 40) + "\"" +
                  (near.empty() ? "" : "; did you mean `break " + near + "`?") + " There are " + kinds);
  }
  if ((b.kind == Kind::operation || b.kind == Kind::module) && b.name.empty())
    throw Refusal("`break " + text + "` lacks the name, as in `break " + text +
                  (b.kind == Kind::operation ? "softmax" : "encoder") + "`");
  return b;
}

bool within(const std::string& module, const std::string& asked) {
  return module == asked || (module.starts_with(asked) && module[asked.size()] == '.');
}

bool is_file(std::string_view file, const std::string& asked) {
  return file == asked || (file.ends_with(asked) && file[file.size() - asked.size() - 1] == '/');
}

bool at_line(const Node& node, const Breakpoint& b) {
  const auto matches = [&](Here here) { return here.line == b.line && is_file(here.file, b.name); };
  if (matches(node.site())) return true;
  if (const Trace* t = node.trace())
    for (const CallSite& site : t->stack)
      if (matches(site.here)) return true;
  return false;
}

/// The gradients that a step made: those that it sent, and the sums that met at its node.
Tensors made_by(const Node& node) {
  Tensors made;
  const BackwardStep& step = node.trace()->step;
  for (const Tensor& t : step.sent)
    if (t.defined()) made.push_back(t);
  if (step.arrivals.size() > step.received.size() || node.is_leaf())
    made.insert(made.end(), step.received.begin(), step.received.end());
  return made;
}

/// What a breakpoint says of the node where the pass is; "" to go on.
std::string said(Pass& p, const Breakpoint& b, std::size_t at) {
  const Node& node = p.tape()[at];
  const Trace* trace = node.trace();
  const bool forward = p.undone > 0;
  if (!trace && (b.kind != Kind::operation && b.kind != Kind::line)) return "";
  switch (b.kind) {
    case Kind::operation: return b.name == node.name() ? "it is a " + b.name : "";
    case Kind::module: return within(Labels::module_of(node), b.name) ? "in " + Labels::module_of(node) : "";
    case Kind::line: return at_line(node, b) ? "this line" : "";
    case Kind::nan:
    case Kind::infinity:
      for (const Tensor& t : forward ? trace->outputs : made_by(node)) {
        const NotFinite found = not_finite(t);
        if (b.kind == Kind::nan ? found.nan : found.infinity)
          return b.kind == Kind::nan ? "NaN; `why nan` says who made it" : "infinity; `why nan` says who made it";
      }
      return "";
    case Kind::above:
    case Kind::below:
      if (forward) return "";
      for (const Tensor& t : made_by(node)) {
        const double norm = norm_of(t);
        if (b.kind == Kind::above ? !(norm <= b.bound) : norm < b.bound) return "the norm is " + rough(norm);
      }
      return "";
    case Kind::fan_out:
      return !forward && trace->step.arrivals.size() > trace->step.received.size()
                 ? fmt::format("{} contributions", trace->step.arrivals.size())
                 : "";
    case Kind::watch: break;
  }
  return "";
}

/// What came to a watched tensor by the last step.
std::string watched(Session& s, const Breakpoint& b, std::size_t at) {
  Pass& p = s.pass();
  if (p.undone > 0) return "";
  const Node& node = p.tape()[at];
  for (std::size_t i = 0; i < node.edges().size(); ++i) {
    const Edge& e = node.edges()[i];
    if (!e.node) continue;
    const std::size_t to = p.tape().index_of(e.node.get());
    if (p.labels.of(to) != b.name && "%" + std::to_string(to) != b.name) continue;
    const Tensor& sent = node.trace()->step.sent[i];
    if (!sent.defined()) continue;
    const GradientNow now = gradient_now(p, {to, e.slot});
    std::string text =
        fmt::format("{} of {} came from {}: {}", now.come, now.all, p.labels.of(at), brief(sent, s.style.width / 2));
    if (now.come > 1) text += ", sum " + brief(now.value, s.style.width / 2);
    return text;
  }
  return "";
}

/// Whether an operation, module or line is one of the pass; what there is, as breakpoints name it, goes to `all`.
bool is_there(const Tape& tape, const Breakpoint& b, std::set<std::string>& all) {
  bool found = false;
  const auto line_of = [&](Here here) {
    if (here.line) all.insert(here.str());
  };
  for (std::size_t i = 0; i < tape.size() && !found; ++i) {
    const Node& node = tape[i];
    if (b.kind == Kind::operation) {
      found = b.name == node.name();
      if (!node.is_leaf()) all.insert(node.name());
    } else if (b.kind == Kind::module) {
      const std::string path = Labels::module_of(node);
      found = within(path, b.name);
      for (std::size_t dot = 0; !path.empty() && dot != std::string::npos;) {
        dot = path.find('.', dot + 1);
        all.insert(path.substr(0, dot));
      }
    } else {
      found = at_line(node, b);
      line_of(node.site());
      if (const Trace* t = node.trace())
        for (const CallSite& site : t->stack) line_of(site.here);
    }
  }
  return found;
}

/// The line of a file that is nearest to the one that was asked for; of the file that is spelled most like it, if it
/// is none of the pass.
std::string nearest_line(const Breakpoint& b, const std::set<std::string>& all) {
  const auto file_of = [](const std::string& place) { return place.substr(0, place.rfind(':')); };
  std::string asked, near;
  std::vector<std::string> files;
  for (const std::string& place : all) {
    files.push_back(file_of(place));
    if (is_file(files.back(), b.name) || is_file(b.name, files.back())) asked = files.back();
  }
  if (asked.empty()) asked = nearest(b.name, files);
  int least = 0;
  for (const std::string& place : all) {
    if (file_of(place) != asked) continue;
    const int away = std::abs(std::atoi(place.c_str() + asked.size() + 1) - b.line);
    if (near.empty() || away < least) near = place, least = away;
  }
  return near;
}

std::string nearest_place(const Breakpoint& b, const std::set<std::string>& all) {
  if (b.kind == Kind::line) return nearest_line(b, all);
  std::string near = nearest(b.name, {all.begin(), all.end()});
  for (const std::string& path : all)  // "up" may be meant for "encoder.up"
    if (near.empty() && path.ends_with("." + b.name)) near = path;
  return near.empty() ? "" : (b.kind == Kind::operation ? "op=" : "module=") + near;
}

/// Breakpoints of later passes are as good, but what is nowhere in this one may be a slip.
void say_if_nowhere(Session& s, const Breakpoint& b) {
  if (b.kind != Kind::operation && b.kind != Kind::module && b.kind != Kind::line) return;
  std::set<std::string> all;
  if (is_there(s.pass().tape(), b, all)) return;
  if (s.passes.size() > 1 && is_there(s.own_pass().tape(), b, all)) return;
  const std::string near = nearest_place(b, all);
  s.say("  no node of this pass is so" + (near.empty() ? std::string() : "; did you mean " + near + "?"), 4);
}

void add(Session& s, Breakpoint b) {
  if (s.memory.breakpoints.size() >= 100) throw Refusal("100 breakpoints are enough; `delete N` takes one away");
  b.number = s.memory.next_number++;
  s.say(fmt::format("{} {}: {}", b.kind == Kind::watch ? "watch" : "breakpoint", b.number, b.text));
  say_if_nowhere(s, b);
  s.memory.breakpoints.push_back(std::move(b));
}

}  // namespace

std::vector<std::string> reasons_to_stop(Session& s) {
  std::vector<std::string> reasons;
  const auto at = s.pass().current();
  if (!at) return reasons;
  for (const Breakpoint& b : s.memory.breakpoints) {
    const std::string why = b.kind == Kind::watch ? watched(s, b, *at) : said(s.pass(), b, *at);
    if (!why.empty())
      reasons.push_back(
          fmt::format("{} {} ({}): {}", b.kind == Kind::watch ? "watch" : "breakpoint", b.number, b.text, why));
  }
  return reasons;
}

void break_(Session& s, const Words& w) {
  if (w.empty()) {
    if (s.memory.breakpoints.empty())
      return s.say(std::string("There are no breakpoints. `break` takes ") + kinds + ".");
    for (const Breakpoint& b : s.memory.breakpoints)
      s.say(fmt::format("{:3}  {}{}", b.number, b.kind == Kind::watch ? "watch " : "", b.text), 5);
    return;
  }
  std::string text;
  for (const std::string& word : w) text += word;  // "norm > 10" too
  add(s, parse(text));
}

void watch(Session& s, const Words& w) {
  if (w.size() != 1) throw Refusal("`watch NODE` stops whenever a gradient arrives there, as `watch w`");
  const Place at = s.place(w[0]);
  Breakpoint b;
  b.kind = Kind::watch;
  b.name = b.text = s.pass().labels.of(at.position);
  add(s, std::move(b));
}

void delete_(Session& s, const Words& w) {
  if (w.size() != 1) throw Refusal("`delete N` takes a breakpoint away, `delete all` all of them; `break` lists them");
  auto& all = s.memory.breakpoints;
  if (w[0] == "all") {
    all.clear();
    return s.say("There are no breakpoints now.");
  }
  const std::int64_t n = parse_count(w[0], "a breakpoint", 1);
  const auto at = std::find_if(all.begin(), all.end(), [&](const Breakpoint& b) { return b.number == n; });
  if (at == all.end()) throw Refusal(fmt::format("there is no breakpoint {}; `break` lists them", n));
  s.say(fmt::format("breakpoint {} is gone: {}", n, at->text));
  all.erase(at);
}

}  // namespace attune::stepping
