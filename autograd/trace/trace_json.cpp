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
  w.entry("whole", v.whole.defined());
  if (!v.slices.empty()) w.list("slices", v.slices, [&](const auto& s) { w.value(s.first); });
  const Summary& s = v.summary;
  w.entry("min", s.min);
  w.entry("max", s.max);
  w.entry("mean", s.mean);
  w.entry("std", s.std);
  w.entry("norm", s.norm);
  w.entry("zeros", s.zeros);
  w.entry("nans", s.nans);
  w.entry("infinities", s.infinities);
  if (!v.whole.defined()) {
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
  }
  w.close('}');
}

void write(Writer& w, const RecordedNode& n) {
  w.open('{');
  w.entry("sequence", n.sequence);
  w.entry("operation", n.operation);
  w.entry("label", n.label);
  w.entry("leaf", n.leaf);
  w.entry("module", n.module);
  w.list("stack", n.stack, [&](const RecordedCall& c) {
    w.open('{');
    w.entry("module", c.module);
    w.entry("name", c.name);
    w.entry("site", c.site);
    w.close('}');
  });
  w.entry("site", n.site);
  w.entry("rule", n.rule);
  w.list("arguments", n.arguments, [&](const auto& a) { w.value(std::vector<std::string>{a.first, a.second}); });
  w.list("inputs", n.inputs, [&](const RecordedInput& i) {
    w.open('{');
    w.entry("name", i.name);
    w.entry("node", i.node);
    w.entry("slot", i.slot);
    w.entry("value", i.value);
    w.entry("differentiable", i.differentiable);
    w.entry("rule", i.rule);
    if (!i.words.empty()) w.entry("words", i.words);
    w.close('}');
  });
  w.entry("outputs", n.outputs);
  w.list("saved", n.saved, [&](const auto& s) {
    w.open('[');
    w.value(s.first);
    w.value(s.second);
    w.close(']');
  });
  w.entry("parts", n.parts);
  w.close('}');
}

void write(Writer& w, const RecordedStep& s) {
  w.open('{');
  w.entry("node", s.node);
  w.entry("received", s.received);
  w.entry("returned", s.returned);
  w.entry("sent", s.sent);
  w.list("arrivals", s.arrivals, [&](const RecordedArrival& a) {
    w.open('{');
    w.entry("from", a.from);
    w.entry("input", a.input);
    w.entry("slot", a.slot);
    w.entry("value", a.value);
    w.entry("sum", a.sum);
    w.entry("k", a.k);
    w.entry("n", a.n);
    w.close('}');
  });
  w.list("grads", s.grads, [&](const RecordedChange& g) {
    w.open('{');
    w.entry("slot", g.slot);
    w.entry("before", g.before);
    w.entry("after", g.after);
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
  w.list("nodes", p.nodes, [&](const RecordedNode& n) { write(w, n); });
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
