// Commands that move through the pass.
#include <fmt/format.h>

#include "autograd/trace/internal/terminal_session.h"

namespace attune::stepping {

namespace {

std::int64_t count_of(const Words& w) {
  if (w.size() > 1) throw Refusal("one number, please: how many steps");
  return w.empty() ? 1 : parse_count(w[0], "the number of steps", 1);
}

void tell_reasons(Session& s, const std::vector<std::string>& reasons) {
  for (const std::string& r : reasons) s.say(s.style.bold(r), 4);
}

/// Steps until `arrived` or a breakpoint says stop, or the end. Shows where.
template <class Arrived>
bool run_until(Session& s, Arrived arrived) {
  Pass& p = s.pass();
  bool moved = false;
  std::vector<std::string> reasons;
  while (reasons.empty()) {
    bool more = false;
    try {
      more = p.forward();
    } catch (const Refusal&) {
      if (!moved) throw;
      show_stop(s);  // which says so
      throw Refusal("Everything is as before that step; `back` goes back, `quit` hands the error to the program.");
    }
    if (!more) break;
    moved = true;
    if (p.undone > 0 || p.stepper.taken() > 0) reasons = reasons_to_stop(s);
    if (arrived(p)) break;
  }
  tell_reasons(s, reasons);
  if (moved) show_stop(s);
  return moved;
}

void leave_program(Session& s) {
  // What was gone into goes; the program's own pass runs to its end.
  while (s.passes.size() > 1) s.passes.pop_back();
  s.leave = true;
}

}  // namespace

void next(Session& s, const Words& w) {
  std::int64_t left = count_of(w);
  Pass& p = s.pass();
  if (p.at_end()) {
    if (p.kind == Pass::Kind::parts) return leave_parts(s);
    return s.say(p.kind == Pass::Kind::what_if
                     ? "This is the end of the what-if; `undo` returns to the program's own pass."
                     : "This is the end of the pass; `continue` lets the program go on, `back` goes back.");
  }
  run_until(s, [&](Pass&) { return --left == 0; });
}

void back(Session& s, const Words& w) {
  std::int64_t left = count_of(w);
  bool moved = false;
  while (left > 0 && s.pass().back()) moved = true, --left;
  if (!moved) return s.say("This is the beginning of the forward pass.");
  show_stop(s);
}

void continue_(Session& s, const Words& w) {
  if (!w.empty()) throw Refusal("`continue` takes no argument; `next N` takes N steps, `pass N` lets N passes run");
  Pass* p = &s.pass();
  if (p->kind == Pass::Kind::parts) {
    if (run_until(s, [](Pass&) { return false; }) && !p->at_end()) return;
    return leave_parts(s);
  }
  if (p->at_end()) {
    if (p->kind == Pass::Kind::what_if)
      return s.say("This is the end of the what-if; `undo` returns to the program's own pass.");
    s.say("The program goes on.");
    return leave_program(s);
  }
  run_until(s, [](Pass&) { return false; });
}

void until(Session& s, const Words& w) {
  if (w.size() != 1) throw Refusal("`until NODE` runs to the step of a node, as `until %3` or `until w`");
  const Place at = s.place(w[0]);
  Pass& p = s.pass();
  if (p.taken(at.position)) {
    const std::int64_t step = p.stepper.step_of(&p.tape()[at.position]) + 1;
    return s.say(
        fmt::format("The step of {} was step {}; `goto {}` goes back there.", p.labels.of(at.position), step, step));
  }
  run_until(s, [&](Pass& now) { return now.undone == 0 && now.taken(at.position); });
  if (!p.taken(at.position) && p.at_end())
    s.say(fmt::format("No gradient reached {} in this pass.", p.labels.of(at.position)));
}

void go_to(Session& s, const Words& w) {
  if (w.size() != 1)
    throw Refusal(
        "`goto N` goes to step N of the pass, forwards or back; `goto 0` to its beginning, `goto -N` N nodes "
        "back into the forward pass");
  const std::int64_t to = parse_count(w[0], "a step", INT64_MIN);
  Pass& p = s.pass();
  const auto now = [&] { return static_cast<std::int64_t>(p.stepper.taken()) - static_cast<std::int64_t>(p.undone); };
  const std::int64_t from = now();
  while (now() > to && p.back()) {
  }
  while (now() < to && p.forward()) {
  }
  if (now() != to)
    s.say(to < 0 ? "The forward pass has no more nodes." : fmt::format("The pass has {} steps.", p.stepper.taken()));
  else if (from == to)
    s.say(fmt::format("This is step {}.", to));
  if (from != now() || from == to) show_stop(s);
}

void pass_on(Session& s, const Words& w) {
  const std::int64_t n = count_of(w);
  s.memory.pass_over = n - 1;
  s.say(fmt::format("On to backward pass {}.", s.memory.passes + n));
  leave_program(s);
}

void quit(Session& s, const Words& w) {
  if (!w.empty()) throw Refusal("`quit` takes no argument");
  s.memory.quit = true;
  leave_program(s);
}

bool runs_through(Session& s) {
  Pass& p = s.own_pass();
  std::vector<std::string> reasons;
  while (reasons.empty() && p.forward())
    if (!s.memory.breakpoints.empty()) reasons = reasons_to_stop(s);
  if (reasons.empty()) return true;
  s.memory.pass_over = 0;
  tell_reasons(s, reasons);
  show_stop(s);
  return false;
}

}  // namespace attune::stepping
