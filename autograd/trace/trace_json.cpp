#include "autograd/trace/internal/trace_json.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "autograd/runtime/error.h"

namespace attune {

namespace {

using Json = nlohmann::json;

// ---- writing: piece by piece, since a tree of a long tape would take gigabytes

/// Text that grows; commas come by themselves.
class Writer {
 public:
  void open(char bracket) { begin(), text_ += bracket, first_ = true; }
  void close(char bracket) { text_ += bracket, first_ = false; }
  void key(const std::string& name) {
    value(name);
    text_ += ':';
    first_ = true;
  }
  void value(const std::string& s) {
    begin();
    text_ += Json(s).dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  void value(bool b) { begin(), text_ += b ? "true" : "false"; }
  template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) void value(T v) {
    begin();
    fmt::format_to(std::back_inserter(text_), "{}", v);
  }
  void value(double v) {
    if (std::isfinite(v))
      begin(), fmt::format_to(std::back_inserter(text_), "{}", v);
    else
      value(std::string(std::isnan(v) ? "nan" : v < 0 ? "-inf" : "inf"));
  }
  void value(float v) {
    if (std::isfinite(v))
      begin(), fmt::format_to(std::back_inserter(text_), "{:.4g}", v);
    else
      value(static_cast<double>(v));
  }
  template <class T>
  void value(const std::vector<T>& all) {
    open('[');
    for (const T& each : all) value(each);
    close(']');
  }
  template <class T>
  void entry(const std::string& name, const T& v) {
    key(name);
    value(v);
  }
  /// What is as a reader assumes it is left out, which halves a long tape's text.
  template <class T>
  void unless(const T& usual, const std::string& name, const T& v) {
    if (v != usual) entry(name, v);
  }
  template <class T, class F>
  void list_if_any(const std::string& name, const T& all, F each) {
    if (!all.empty()) list(name, all, each);
  }
  template <class T, class F>
  void list(const std::string& name, const T& all, F each) {
    key(name);
    open('[');
    for (const auto& one : all) each(one);
    close(']');
  }
  std::string take() { return std::move(text_); }

 private:
  void begin() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  std::string text_;
  bool first_ = true;
};

void write(Writer& w, const RecordedValue& v) {
  w.open('{');
  w.entry("shape", std::vector<std::int64_t>(v.shape.begin(), v.shape.end()));
  w.entry("dtype", std::string(name_of(v.dtype)));
  w.unless(true, "whole", v.whole.defined());
  w.list_if_any("slices", v.slices, [&](const auto& s) { w.value(s.first); });
  if (v.whole.defined() && v.whole.numel() == 1) return w.close('}');
  const Summary& s = v.summary;
  w.entry("min", s.min);
  w.entry("max", s.max);
  w.entry("mean", s.mean);
  w.entry("std", s.std);
  w.entry("norm", s.norm);
  w.entry("zeros", s.zeros);
  w.entry("nans", s.nans);
  w.entry("infinities", s.infinities);
  if (v.whole.defined()) return w.close('}');
  w.key("histogram");
  w.open('{');
  w.entry("low", s.histogram_low);
  w.entry("high", s.histogram_high);
  w.entry("counts", s.histogram);
  w.close('}');
  w.key("picture");
  w.open('{');
  w.entry("rows", s.picture_rows);
  w.entry("columns", s.picture_columns);
  w.entry("cells", s.picture);
  w.close('}');
  w.close('}');
}

void write(Writer& w, const RecordedNode& n, std::size_t position) {
  const std::string none;
  w.open('{');
  w.entry("sequence", n.sequence);
  w.entry("operation", n.operation);
  w.unless("%" + std::to_string(position), "label", n.label);
  w.unless(false, "leaf", n.leaf);
  w.unless(none, "module", n.module);
  w.list_if_any("stack", n.stack, [&](const RecordedCall& c) {
    w.open('{');
    w.unless(none, "module", c.module);
    w.entry("name", c.name);
    w.unless(none, "site", c.site);
    w.close('}');
  });
  w.unless(none, "site", n.site);
  w.unless(none, "rule", n.rule);
  w.list_if_any("arguments", n.arguments, [&](const auto& a) { w.value(std::vector<std::string>{a.first, a.second}); });
  w.list_if_any("inputs", n.inputs, [&](const RecordedInput& i) {
    w.open('{');
    w.unless(none, "name", i.name);
    w.unless(-1, "node", i.node);
    w.unless(std::uint32_t{0}, "slot", i.slot);
    w.unless(-1, "value", i.value);
    w.unless(false, "differentiable", i.differentiable);
    w.unless(none, "rule", i.rule);
    w.unless(none, "words", i.words);
    w.close('}');
  });
  if (!n.outputs.empty()) w.entry("outputs", n.outputs);
  w.list_if_any("saved", n.saved, [&](const auto& s) {
    w.open('[');
    w.value(s.first);
    w.value(s.second);
    w.close(']');
  });
  w.unless(none, "check", n.check);
  w.unless(-1, "parts", n.parts);
  w.close('}');
}

void write(Writer& w, const RecordedStep& s) {
  w.open('{');
  w.entry("node", s.node);
  if (!s.received.empty()) w.entry("received", s.received);
  if (!s.returned.empty()) w.entry("returned", s.returned);
  if (!s.sent.empty()) w.entry("sent", s.sent);
  w.list_if_any("arrivals", s.arrivals, [&](const RecordedArrival& a) {
    w.open('{');
    w.unless(-1, "from", a.from);
    w.unless(0, "input", a.input);
    w.unless(0, "slot", a.slot);
    w.unless(-1, "value", a.value);
    w.unless(a.value, "sum", a.sum);
    w.unless(1, "k", a.k);
    w.unless(1, "n", a.n);
    w.close('}');
  });
  w.list_if_any("grads", s.grads, [&](const RecordedChange& g) {
    w.open('{');
    w.unless(0, "slot", g.slot);
    w.unless(-1, "before", g.before);
    w.unless(-1, "after", g.after);
    w.close('}');
  });
  w.close('}');
}

void write(Writer& w, const RecordedPass& p) {
  w.open('{');
  w.entry("number", p.number);
  w.entry("site", p.site);
  w.entry("root", p.root);
  w.entry("loss", p.loss);
  w.entry("error", p.error);
  std::size_t position = 0;
  w.list("nodes", p.nodes, [&](const RecordedNode& n) { write(w, n, position++); });
  w.list("steps", p.steps, [&](const RecordedStep& s) { write(w, s); });
  w.list("updates", p.updates, [&](const RecordedUpdate& u) {
    w.open('{');
    w.entry("node", u.node);
    w.entry("before", u.before);
    w.entry("after", u.after);
    w.entry("change", u.change);
    w.entry("ratio", u.ratio);
    w.close('}');
  });
  w.close('}');
}

void write_map(Writer& w, const std::string& name, const std::map<std::string, double>& numbers) {
  w.key(name);
  w.open('{');
  for (const auto& [label, v] : numbers) w.entry(label, v);
  w.close('}');
}

}  // namespace

std::string trace_json(const Recording& r) {
  Writer w;
  w.open('{');
  w.entry("format", std::string("attune-trace"));
  w.entry("version", 1);
  w.entry("program", r.program);
  w.entry("summarised", r.summarised);
  w.key("sources");
  w.open('{');
  for (const auto& [file, lines] : r.sources) {
    w.key(file);
    w.open('{');
    for (const auto& [number, text] : lines) w.entry(std::to_string(number), text);
    w.close('}');
  }
  w.close('}');
  w.list("values", r.values, [&](const RecordedValue& v) { write(w, v); });
  w.list("passes", r.passes, [&](const RecordedPass& p) { write(w, p); });
  w.list("parts", r.parts, [&](const RecordedPass& p) { write(w, p); });
  w.list("progress", r.progress, [&](const RecordedProgress& p) {
    w.open('{');
    w.entry("number", p.number);
    w.entry("loss", p.loss);
    write_map(w, "gradient_norms", p.gradient_norms);
    write_map(w, "update_ratios", p.update_ratios);
    w.close('}');
  });
  w.close('}');
  return w.take();
}

}  // namespace attune
