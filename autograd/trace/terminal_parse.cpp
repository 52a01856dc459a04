#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "autograd/trace/internal/terminal_session.h"

namespace attune::stepping {

Words words_of(const std::string& line) {
  Words words;
  std::string word;
  int depth = 0;
  for (char c : line) {
    if (c == '[') ++depth;
    if (c == ']') depth = std::max(depth - 1, 0);
    const bool space = c == ' ' || c == '\t' || c == '\r';
    if (space && depth == 0) {
      if (!word.empty()) words.push_back(std::exchange(word, {}));
    } else if (!space || depth > 0) {
      word += c == '\t' ? ' ' : c;
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

std::pair<std::string, std::string> split_slice(const std::string& word) {
  const std::size_t at = word.find('[');
  if (at == std::string::npos) return {word, ""};
  return {word.substr(0, at), word.substr(at)};
}

namespace {

std::string stripped(const std::string& s) {
  const std::size_t from = s.find_first_not_of(' ');
  return from == std::string::npos ? "" : s.substr(from, s.find_last_not_of(' ') + 1 - from);
}

std::vector<std::string> split(const std::string& s, char at) {
  std::vector<std::string> parts(1);
  for (char c : s) {
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  for (std::string& p : parts) p = stripped(p);
  return parts;
}

std::optional<std::int64_t> whole(const std::string& s) {
  if (s.empty() || s.size() > 18) return std::nullopt;
  char* end = nullptr;
  const long long v = std::strtoll(s.c_str(), &end, 10);
  if (*end || s[0] == ' ' || s[0] == '+') return std::nullopt;
  return v;
}

std::int64_t whole_in(const std::string& s, const std::string& slice) {
  if (const auto v = whole(s)) return *v;
  throw Refusal("\"" + s + "\" in " + slice + " is no index; slices look like [0, 1:3, -1], [..., 2] or [::2]");
}

std::string inside_brackets(const std::string& text) {
  std::string t = stripped(text);
  if (t.size() >= 2 && t.front() == '[' && t.back() == ']') return t.substr(1, t.size() - 2);
  if (t.find('[') != std::string::npos || t.find(']') != std::string::npos)
    throw Refusal("the brackets of " + t + " do not match; slices look like [0, 1:3, -1]");
  return t;
}

}  // namespace

Dims parse_element(const Words& words, std::size_t at) {
  std::string all;
  for (; at < words.size(); ++at) all += (all.empty() ? "" : ",") + words[at];
  const std::string inner = inside_brackets(all);
  Dims element;
  if (stripped(inner).empty()) return element;
  for (const std::string& part : split(inner, ',')) {
    if (part.empty()) continue;
    if (element.rank() == max_rank) throw Refusal(fmt::format("an element has at most {} indices", max_rank));
    element.push_back(whole_in(part, all));
  }
  return element;
}

double parse_number(const std::string& word) {
  char* end = nullptr;
  const double v = std::strtod(word.c_str(), &end);
  if (word.empty() || *end || word[0] == ' ') throw Refusal("\"" + word + "\" is no number");
  return v;
}

std::int64_t parse_count(const std::string& word, const char* what, std::int64_t least) {
  const auto v = whole(word);
  if (!v || *v < least)
    throw Refusal(fmt::format("{} is a whole number{}, not \"{}\"", what,
                              least <= -1000000 ? std::string() : fmt::format(" from {}", least), word));
  return *v;
}

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t least = std::min<std::size_t>(word.size() / 2 + word.size() % 2, 4) + (word.size() > 1);
  std::vector<std::size_t> row;
  const std::size_t n = word.size();
  if (n > 64) return best;
  for (const std::string& c : candidates) {
    if (c.size() > n + least || n > c.size() + least) continue;
    row.resize(n + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= c.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i);
      for (std::size_t j = 1; j <= n; ++j) {
        const std::size_t kept = diagonal + (c[i - 1] != word[j - 1]);
        diagonal = row[j];
        row[j] = std::min({kept, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row[n] < least) least = row[n], best = c;
  }
  return best;
}

const Command& find_command(const std::string& word) {
  std::vector<const Command*> begun;
  std::vector<std::string> names;
  for (const Command& c : commands()) {
    if (word == c.name) return c;
    for (const char* alias : c.aliases)
      if (word == alias) return c;
    if (std::string_view(c.name).starts_with(word)) begun.push_back(&c);
    names.emplace_back(c.name);
  }
  if (begun.size() == 1) return *begun[0];
  if (begun.size() > 1) {
    std::string all;
    for (const Command* c : begun) all += (all.empty() ? "" : c == begun.back() ? " or " : ", ") + std::string(c->name);
    throw Refusal("\"" + word + "\" could be " + all);
  }
  const std::string near = nearest(word, names);
  throw Refusal("there is no command \"" + cut(word, 40) + "\"; " +
                (near.empty() ? "`help` lists them" : "did you mean `" + near + "`? `help` lists them all"));
}

// ---- nodes by name

Place Session::place(const std::string& word) {
  Pass& p = pass();
  const std::size_t n = p.tape().size();
  const bool numbered = word.size() > 1 && word[0] == '%';
  const std::string digits = numbered ? word.substr(1) : word;
  const std::size_t dot = digits.find('.');
  const auto position = whole(digits.substr(0, dot));
  if (position && (numbered || p.labels.find(word) >= n)) {
    const auto slot = dot == std::string::npos ? std::optional<std::int64_t>(0) : whole(digits.substr(dot + 1));
    if (*position < 0 || *position >= static_cast<std::int64_t>(n))
      throw Refusal(fmt::format("there is no node %{}: the tape has %0 to %{}", *position, n - 1));
    const auto at = static_cast<std::size_t>(*position);
    const auto outputs = static_cast<std::int64_t>(p.tape()[at].output_count());
    if (!slot || *slot < 0 || *slot >= outputs)
      throw Refusal(fmt::format("{} has {} output{}, counted from 0: there is no {}", p.labels.of(at), outputs,
                                outputs == 1 ? "" : "s", cut(word, 40)));
    return {at, static_cast<std::uint32_t>(*slot)};
  }
  const std::size_t found = p.labels.find(word);
  if (found < n) return {found, 0};
  if (word == "loss" || word == "root") return {n - 1, p.root.slot()};
  std::vector<std::string> names;
  for (std::size_t i = 0; i < n; ++i)
    if (p.labels.named(i)) names.push_back(p.labels.of(i));
  const std::string near = nearest(word, names);
  throw Refusal("there is no node \"" + cut(word, 40) + "\"" +
                (near.empty() ? " here, where all is from which the loss was computed; `list` shows nodes, %0 to %" +
                                    std::to_string(n - 1) + " name them all"
                              : "; did you mean " + near + "?"));
}

Place Session::place_or_current(const Words& words, std::size_t at) {
  if (at < words.size()) return place(words[at]);
  if (const auto current = pass().current()) return {*current, 0};
  return {pass().tape().size() - 1, pass().root.slot()};
}

std::vector<std::string> Session::completions(const std::string& line, const std::string& word) {
  std::vector<std::string> found;
  const auto offer = [&](const std::string& candidate) {
    if (found.size() < 200 && candidate.starts_with(word)) found.push_back(candidate);
  };
  const Words before = words_of(line);
  if (before.empty() || (before.size() == 1 && line.back() != ' ')) {
    for (const Command& c : commands()) offer(c.name);
    return found;
  }
  if (before[0] == "help") {
    for (const Command& c : commands()) offer(c.name);
    return found;
  }
  for (const char* field :
       {"value", "grad", "input", "saved", "heat", "all", "nan", "op=", "module=", "norm>", "norm<", "inf", "fanout"})
    if (!word.empty() || before.size() > 1) offer(field);
  for (std::size_t i = 0; i < pass().tape().size() && found.size() < 200; ++i)
    if (pass().labels.named(i)) offer(pass().labels.of(i));
  return found;
}

}  // namespace attune::stepping
