// The arithmetic of rules: "b a^(b-1) dy", "sigmoid(a - b) dy", "dy where x > 0". tape/op.h describes the language.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

class Expression {
 public:
  /// Nothing if the text is no arithmetic of single numbers: "dy b^T", "dy, spread", "y (dy - sum(y dy))".
  static std::optional<Expression> parse(std::string_view text);

  /// The names in it, each once, without functions and the constants e and pi.
  std::vector<std::string> names() const;
  /// In double precision; `where` gives 0 if its condition does not hold. All names() must be there.
  double evaluate(const std::map<std::string, double>& values) const;
  /// With every name replaced: "2 * 3 ^ (2 - 1) * 1".
  std::string str(const std::function<std::string(const std::string&)>& text_of) const;

  struct Term;

 private:
  std::shared_ptr<const Term> root_;
};

}  // namespace attune
