#include "autograd/trace/internal/expression.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdlib>

namespace attune {

namespace {

struct Function {
  const char* name;
  double (*call)(double);
};

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }
double sign(double v) { return v > 0 ? 1 : v < 0 ? -1 : 0; }
double normal_cdf(double v) { return std::erfc(-v / std::sqrt(2.0)) / 2; }
double normal_density(double v) { return std::exp(-v * v / 2) / std::sqrt(2 * M_PI); }

constexpr std::array<Function, 20> functions{
    {{"log", std::log},     {"exp", std::exp},    {"sqrt", std::sqrt}, {"sin", std::sin},
     {"cos", std::cos},     {"tan", std::tan},    {"sinh", std::sinh}, {"cosh", std::cosh},
     {"tanh", std::tanh},   {"sigmoid", sigmoid}, {"sign", sign},      {"abs", std::fabs},
     {"trunc", std::trunc}, {"erf", std::erf},    {"Phi", normal_cdf}, {"phi", normal_density},
     {"floor", std::floor}, {"ceil", std::ceil},  {"log2", std::log2}, {"log1p", std::log1p}}};

const Function* function_named(const std::string& name) {
  for (const Function& f : functions)
    if (name == f.name) return &f;
  return nullptr;
}

}  // namespace

struct Expression::Term {
  enum class Kind { number, name, call, negative, add, subtract, times, over, power, where, cases } kind;
  std::string text;  // of a number, a name, a function; of `where` its comparisons, "not" or ""
  std::vector<std::shared_ptr<const Term>> parts;
};

namespace {

using Term = Expression::Term;
using Kind = Term::Kind;
using TermPtr = std::shared_ptr<const Term>;

/// Recursive descent; a null term says that the text is something else. Depth is bounded.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  TermPtr whole() {
    std::vector<TermPtr> cases{one_case()};
    while (cases.back() && ahead() == ',') {
      ++at_;
      cases.push_back(one_case());
      if (cases.back() && cases.back()->kind != Kind::where) return nullptr;
    }
    space();
    if (!cases.back() || at_ != text_.size()) return nullptr;
    return cases.size() == 1 ? cases[0] : make(Kind::cases, "", std::move(cases));
  }

 private:
  TermPtr make(Kind kind, std::string text, std::vector<TermPtr> parts) {
    for (const TermPtr& p : parts)
      if (!p) return nullptr;
    return std::make_shared<Term>(Term{kind, std::move(text), std::move(parts)});
  }
  void space() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  char ahead() {
    space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool word_ahead(std::string_view word) {
    space();
    const std::size_t end = at_ + word.size();
    return text_.substr(at_, word.size()) == word &&
           (end == text_.size() || !std::isalnum(static_cast<unsigned char>(text_[end])));
  }

  TermPtr one_case() {
    TermPtr t = sum();
    if (!t || !word_ahead("where")) return t;
    at_ += 5;
    return condition(std::move(t));
  }

  TermPtr condition(TermPtr value) {
    const bool negated = word_ahead("not");
    if (negated) at_ += 3;
    std::vector<TermPtr> parts{std::move(value), sum()};
    std::string comparisons;
    for (int i = 0; i < 2; ++i) {  // low <= x <= high
      space();
      std::string_view symbol;
      for (std::string_view s : {">=", "<=", "==", ">", "<", "="})
        if (symbol.empty() && text_.substr(at_, s.size()) == s) symbol = s;
      if (symbol.empty()) break;
      at_ += symbol.size();
      comparisons += (comparisons.empty() ? "" : " ") + std::string(symbol);
      parts.push_back(sum());
    }
    if (!comparisons.empty() && negated) return nullptr;
    if (comparisons.empty() && (!parts[1] || parts[1]->kind != Kind::name)) return nullptr;
    return make(Kind::where, comparisons.empty() && negated ? "not" : comparisons, std::move(parts));
  }

  TermPtr sum() {
    if (++depth_ > 100) return nullptr;
    TermPtr t = product();
    while (t && (ahead() == '+' || ahead() == '-')) {
      const Kind kind = text_[at_++] == '+' ? Kind::add : Kind::subtract;
      t = make(kind, "", {t, product()});
    }
    --depth_;
    return t;
  }

  TermPtr product() {
    TermPtr t = factor();
    while (t) {
      const char c = ahead();
      if (c == '*' || c == '/') {
        ++at_;
        t = make(c == '*' ? Kind::times : Kind::over, "", {t, factor()});
      } else if (c == '(' || (std::isalnum(static_cast<unsigned char>(c)) && !word_ahead("where"))) {
        t = make(Kind::times, "", {t, factor()});
      } else {
        break;
      }
    }
    return t;
  }

  TermPtr factor() {
    if (ahead() == '-') {
      ++at_;
      if (++depth_ > 100) return nullptr;
      TermPtr t = make(Kind::negative, "", {factor()});
      --depth_;
      return t;
    }
    TermPtr t = atom();
    if (t && at_ < text_.size() && text_[at_] == '^') {
      ++at_;
      t = make(Kind::power, "", {t, ahead() == '-' ? factor() : atom()});
    }
    return t;
  }

  TermPtr atom() {
    const char c = ahead();
    if (c == '(') {
      ++at_;
      TermPtr t = sum();
      if (!t || ahead() != ')') return nullptr;
      ++at_;
      return t;
    }
    const std::size_t begin = at_;
    const auto take = [&](auto accepts) {
      while (at_ < text_.size() && accepts(static_cast<unsigned char>(text_[at_]))) ++at_;
      return std::string(text_.substr(begin, at_ - begin));
    };
    if (std::isdigit(static_cast<unsigned char>(c)))
      return make(Kind::number, take([](unsigned char d) { return std::isdigit(d) || d == '.'; }), {});
    if (!std::isalpha(static_cast<unsigned char>(c))) return nullptr;
    std::string word = take([](unsigned char d) { return std::isalnum(d) || d == '_'; });
    if (at_ < text_.size() && text_[at_] == '\'') return nullptr;
    if (at_ < text_.size() && text_[at_] == '(' && word != "e" && word.size() > 1) {
      if (!function_named(word)) return nullptr;
      return make(Kind::call, std::move(word), {atom()});
    }
    return make(Kind::name, std::move(word), {});
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

void collect(const Term& t, std::vector<std::string>& names) {
  if (t.kind == Kind::name && t.text != "e" && t.text != "pi" &&
      std::find(names.begin(), names.end(), t.text) == names.end())
    names.push_back(t.text);
  for (const TermPtr& p : t.parts) collect(*p, names);
}

bool holds(const std::string& comparison, double a, double b) {
  if (comparison == "=" || comparison == "==") return a == b;
  return comparison == ">=" ? a >= b : comparison == "<=" ? a <= b : comparison == ">" ? a > b : a < b;
}

double value(const Term& t, const std::map<std::string, double>& values) {
  const auto part = [&](std::size_t i) { return value(*t.parts[i], values); };
  switch (t.kind) {
    case Kind::number: return std::strtod(t.text.c_str(), nullptr);
    case Kind::name:
      if (const auto at = values.find(t.text); at != values.end()) return at->second;
      return t.text == "e" ? M_E : t.text == "pi" ? M_PI : NAN;
    case Kind::call: return function_named(t.text)->call(part(0));
    case Kind::negative: return -part(0);
    case Kind::add: return part(0) + part(1);
    case Kind::subtract: return part(0) - part(1);
    case Kind::times: return part(0) * part(1);
    case Kind::over: return part(0) / part(1);
    case Kind::power: return std::pow(part(0), part(1));
    case Kind::cases: {
      double sum = 0;  // one case holds
      for (std::size_t i = 0; i < t.parts.size(); ++i) sum += part(i);
      return sum;
    }
    case Kind::where: break;
  }
  if (t.parts.size() == 2) return (part(1) != 0) != (t.text == "not") ? part(0) : 0;
  const std::size_t space = t.text.find(' ');
  const bool first = holds(t.text.substr(0, space), part(1), part(2));
  return first && (space == std::string::npos || holds(t.text.substr(space + 1), part(2), part(3))) ? part(0) : 0;
}

/// How tightly a term holds together: what stands in a tighter one gets parentheses.
int tightness(Kind k) {
  switch (k) {
    case Kind::cases:
    case Kind::where: return 0;
    case Kind::add:
    case Kind::subtract: return 1;
    case Kind::times:
    case Kind::over: return 2;
    case Kind::negative: return 3;
    case Kind::power: return 4;
    default: return 5;
  }
}

using TextOf = std::function<std::string(const std::string&)>;

std::string written(const Term& t, const TextOf& text_of);

std::string part_of(const Term& t, std::size_t i, int needed, bool first, const TextOf& text_of) {
  const std::string s = written(*t.parts[i], text_of);
  const bool sign = s.starts_with('-') && !(first && needed <= 2);
  return tightness(t.parts[i]->kind) < needed || sign ? "(" + s + ")" : s;
}

std::string written(const Term& t, const TextOf& text_of) {
  const auto both = [&](const char* symbol, int left, int right) {
    return part_of(t, 0, left, true, text_of) + symbol + part_of(t, 1, right, false, text_of);
  };
  switch (t.kind) {
    case Kind::number: return t.text;
    case Kind::name: return t.text == "e" || t.text == "pi" ? t.text : text_of(t.text);
    case Kind::call: return t.text + "(" + written(*t.parts[0], text_of) + ")";
    case Kind::negative: return "-" + part_of(t, 0, 3, false, text_of);
    case Kind::add: return both(" + ", 1, 2);
    case Kind::subtract: return both(" - ", 1, 2);
    case Kind::times: return both(" * ", 2, 3);
    case Kind::over: return both(" / ", 2, 3);
    case Kind::power: return both("^", 5, 5);
    case Kind::cases: {
      std::string s;
      for (const TermPtr& p : t.parts) s += (s.empty() ? "" : ", ") + written(*p, text_of);
      return s;
    }
    case Kind::where: break;
  }
  std::string s =
      written(*t.parts[0], text_of) + " where " + (t.text == "not" ? "not " : "") + written(*t.parts[1], text_of);
  std::size_t at = 0;
  for (std::size_t i = 2; i < t.parts.size(); ++i) {
    const std::size_t space = t.text.find(' ', at);
    s += " " + t.text.substr(at, space - at) + " " + written(*t.parts[i], text_of);
    at = space + 1;
  }
  return s;
}

}  // namespace

std::optional<Expression> Expression::parse(std::string_view text) {
  Expression e;
  e.root_ = Parser(text).whole();
  if (!e.root_) return std::nullopt;
  return e;
}

std::vector<std::string> Expression::names() const {
  std::vector<std::string> names;
  collect(*root_, names);
  return names;
}

double Expression::evaluate(const std::map<std::string, double>& values) const { return value(*root_, values); }

std::string Expression::str(const TextOf& text_of) const { return written(*root_, text_of); }

}  // namespace attune
