#include "examples/support/dates.h"

#include <fmt/format.h>

#include <chrono>
#include <random>

namespace examples {

namespace {

const std::vector<std::string> months{"january", "february", "march",     "april",   "may",      "june",
                                      "july",    "august",   "september", "october", "november", "december"},
    weekdays{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"},
    small{"zero",     "one",     "two",     "three",     "four",     "five",    "six",
          "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
          "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"},
    ordinals{"",           "first",     "second",    "third",       "fourth",     "fifth",      "sixth",
             "seventh",    "eighth",    "ninth",     "tenth",       "eleventh",   "twelfth",    "thirteenth",
             "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth"},
    tens{"", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"},
    before{"",
           "it was",
           "they met on",
           "the letter is dated",
           "if i remember well it was",
           "he left on",
           "she came on",
           "as everybody knows it began on",
           "that was a long time ago , on",
           "on or about"},
    behind{"",
           "it was",
           "they met",
           "is what the letter says",
           ", if i remember well",
           "he left",
           "she came",
           "is when it began , as everybody knows",
           ", and that was a long time ago",
           "or about"},
    same_order{"and then", ", later", "until", ", followed by", "and after that", ", and some time later ,"},
    other_order{", preceded by", "and before that ,", ", but earlier ,"};

/// Numbers that are the same with every compiler's library.
struct Random {
  std::mt19937_64 engine;
  std::int64_t below(std::size_t n) { return static_cast<std::int64_t>(engine() % n); }
  const std::string& of(const std::vector<std::string>& words) {
    return words[static_cast<std::size_t>(below(words.size()))];
  }
};

std::string in_words(int n) {
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  if (n < 20) return small[at(n)];
  return tens[at(n / 10)] + (n % 10 ? " " + small[at(n % 10)] : "");
}

std::string ordinal(int day) {
  const auto at = static_cast<std::size_t>(day);
  if (day <= 20) return ordinals[at];
  return day == 30 ? "thirtieth" : (day < 30 ? "twenty " : "thirty ") + ordinals[at % 10];
}

std::string year_in_words(int year) {
  if (year >= 2000 && year < 2010) return year == 2000 ? "two thousand" : "two thousand and " + in_words(year % 100);
  const std::string century = in_words(year / 100);
  if (year % 100 == 0) return century + " hundred";
  return century + (year % 100 < 10 ? " oh " : " ") + in_words(year % 100);
}

std::string written(const std::chrono::year_month_day& date, Random& random) {
  const int y = int{date.year()}, d = static_cast<int>(unsigned{date.day()});
  const unsigned m = unsigned{date.month()};
  const std::string& month = months[m - 1];
  const std::string& weekday = weekdays[std::chrono::weekday(std::chrono::sys_days(date)).c_encoding()];
  switch (random.below(12)) {
    case 0: return fmt::format("{} {} {}", d, month, y);
    case 1: return fmt::format("{} {} , {}", month, d, y);
    case 2: return fmt::format("the {} of {} {}", ordinal(d), month, y);
    case 3: return fmt::format("{} . {} . {}", d, m, y);
    case 4: return fmt::format("{} / {} / {}", m, d, y);
    case 5: return fmt::format("{} the {} of {} , {}", weekday, ordinal(d), month, year_in_words(y));
    case 6: return fmt::format("the {} day of {} in the year {}", ordinal(d), month, year_in_words(y));
    case 7: return fmt::format("{} {} , {}", month, ordinal(d), year_in_words(y));
    case 8: return fmt::format("in {} , on {} {}", y, month, d);
    case 9: return fmt::format("{} / {} / {}", y, m, d);
    case 10: return fmt::format("{} , {} the {}", year_in_words(y), month, ordinal(d));
    default: return fmt::format("{} , in the year {} , on the {} of {}", weekday, y, ordinal(d), month);
  }
}

}  // namespace

ParallelText written_dates(std::int64_t n, std::int64_t most_dates, std::uint64_t seed) {
  Random random{std::mt19937_64(seed)};
  ParallelText text{fmt::format("written dates, up to {} (seed {})", most_dates, seed), {}, {}};
  for (std::int64_t i = 0; i < n; ++i) {
    const bool first = random.below(2) == 0;  // neither reading direction comes to the dates sooner
    std::string source = first ? random.of(before) : "";
    std::vector<std::string> told;
    std::ptrdiff_t last = 0;  // the place of the date before
    const std::int64_t dates = 1 + random.below(static_cast<std::size_t>(most_dates));
    for (std::int64_t k = 0; k < dates; ++k) {
      const bool earlier = k > 0 && random.below(3) == 0;
      if (k > 0) source += " " + random.of(earlier ? other_order : same_order);
      const std::chrono::sys_days day = std::chrono::sys_days(std::chrono::year(1900) / 1 / 1) +
                                        std::chrono::days(random.below(73'049));  // to the end of 2099
      const std::chrono::year_month_day date(day);
      source += (source.empty() ? "" : " ") + written(date, random);
      last += k > 0 && !earlier ? 1 : 0;
      told.insert(told.begin() + last,
                  fmt::format("{} -{:02} -{:02}", int{date.year()}, unsigned{date.month()}, unsigned{date.day()}));
    }
    if (const std::string& words = random.of(behind); !first && !words.empty()) source += " " + words;
    text.source.push_back(source);
    std::string target;
    for (const std::string& iso : told) target += (target.empty() ? "" : " ") + iso;
    text.target.push_back(target);
  }
  return text;
}

}  // namespace examples
