#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <regex>

#include "autograd/trace/internal/source.h"

namespace attune {

namespace {

namespace fs = std::filesystem;

fs::path program_folder() {
  std::error_code failed;
  return fs::read_symlink("/proc/self/exe", failed).parent_path();
}

/// The file as it is called, or without what leads out of the folder it was compiled in, from here or from a folder at
/// or above the program's.
fs::path found(const fs::path& file) {
  std::error_code failed;
  const auto exists = [&](const fs::path& p) { return fs::is_regular_file(p, failed); };
  if (exists(file)) return file;
  if (file.is_absolute()) return {};
  fs::path inner;
  for (const fs::path& part : file)
    if (part != ".." && part != ".") inner /= part;
  if (exists(inner)) return inner;
  fs::path folder = program_folder();
  for (int up = 0; up < 8 && !folder.empty(); ++up, folder = folder.parent_path()) {
    if (exists(folder / file)) return folder / file;
    if (exists(folder / inner)) return folder / inner;
    if (folder == folder.root_path()) break;
  }
  return {};
}

std::unique_ptr<std::vector<std::string>> read(const char* file) {
  constexpr std::uintmax_t most = 4 << 20;
  std::error_code failed;
  const fs::path path = found(file);
  if (path.empty() || fs::file_size(path, failed) > most || failed) return nullptr;
  std::ifstream in(path);
  auto lines = std::make_unique<std::vector<std::string>>();
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines->push_back(line);
  }
  return lines;
}

/// Whether a variable whose name stands behind `code` may be a tensor: it has no type there, or one that says so.
bool may_hold_tensor(std::string code) {
  const auto cut = [&code](const char* what) {
    while (!code.empty() && std::string(what).find(code.back()) != std::string::npos) code.pop_back();
  };
  cut(" \t");
  if (code.empty()) return true;
  const char before = code.back();
  if (before == '.' || before == '>') return false;  // a member, a template's type
  if (before == '&') cut("& \t");
  std::string word;
  while (!code.empty() && (std::isalnum(static_cast<unsigned char>(code.back())) || code.back() == '_')) {
    word.insert(word.begin(), code.back());
    code.pop_back();
  }
  return word.empty() || word == "auto" || word == "Tensor" || word == "const" || word == "else";
}

}  // namespace

const std::vector<std::string>* source_lines(const char* file) {
  const char* wanted = std::getenv("ATTUNE_TRACE_SOURCE");
  if (!file || !*file || (wanted && std::strcmp(wanted, "0") == 0)) return nullptr;
  static std::mutex mutex;
  static auto* known = new std::map<std::string, std::unique_ptr<std::vector<std::string>>>;
  const std::lock_guard lock(mutex);
  const auto [at, fresh] = known->try_emplace(file);
  if (fresh) at->second = read(file);
  return at->second.get();
}

std::map<int, std::string> lines_around(Here here) {
  constexpr int around = 3;
  std::map<int, std::string> lines;
  const std::vector<std::string>* all = source_lines(here.file);
  if (!all) return lines;
  for (int n = std::max(1, here.line - around); n <= here.line + around && n <= static_cast<int>(all->size()); ++n)
    lines[n] = (*all)[static_cast<std::size_t>(n) - 1];
  return lines;
}

std::vector<std::string> assigned_variables(const std::string& line) {
  std::vector<std::string> names;
  // Without comments, texts in quotes, and what stands in brackets, but for blocks, whose brace follows none of these.
  std::string code, closing;
  char before = ' ';
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '/' && i + 1 < line.size() && line[i + 1] == '/') break;
    if (c == '"' || c == '\'') {
      for (++i; i < line.size() && line[i] != c; ++i) i += line[i] == '\\';
      continue;
    }
    if (!closing.empty() && c == closing.back()) closing.pop_back();
    if (closing.empty()) code += c;
    const bool value = std::isalnum(static_cast<unsigned char>(before)) || before == '_' || before == '=';
    if (c == '(' || c == '[' || (c == '{' && (value || !closing.empty())))
      closing += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c != ' ') before = c;
  }
  // `Tensor a = `, `a = `, `a += `, a second declarator `, b = `; and `Tensor a{`: `Tensor f(`
  // may begin a function.
  static const std::regex declared(R"(([A-Za-z_]\w*)\s*(?:[-+*/]?=(?!=)))");
  static const std::regex constructed(R"((?:^|[;{]|\s)(?:const\s+)?(?:attune::)?Tensor\s+([A-Za-z_]\w*)\s*\{)");
  using Matches = std::sregex_iterator;
  for (Matches at(code.begin(), code.end(), declared), end; at != end; ++at)
    if (const std::string value = at->suffix().str();
        value.find_first_not_of(' ') == std::string::npos || value[value.find_first_not_of(' ')] != '[')  // a lambda
      if (may_hold_tensor(code.substr(0, static_cast<std::size_t>(at->position(1))))) names.push_back((*at)[1].str());
  for (Matches at(code.begin(), code.end(), constructed), end; at != end; ++at) names.push_back((*at)[1].str());
  return names;
}

}  // namespace attune
