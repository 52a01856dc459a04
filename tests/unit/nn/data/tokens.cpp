#include "nn/data/tokens.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "autograd/runtime/error.h"

using namespace attune;
using nn::Tokens;

namespace {

struct TokenFile {
  std::string path = std::filesystem::temp_directory_path() / ("attune-ids-" + std::to_string(getpid()));
  ~TokenFile() { std::filesystem::remove(path); }
  std::string bytes() const {
    std::ifstream in(path, std::ios::binary);
    std::stringstream s;
    s << in.rdbuf();
    return s.str();
  }
  void write(const std::string& bytes) const { std::ofstream(path, std::ios::binary) << bytes; }
};

}  // namespace

TEST_CASE("a stream of ids through a file, in as few bytes as the vocabulary takes") {
  for (const auto& [vocabulary, width] : {std::pair{200, 1}, {256, 1}, {257, 2}, {65536, 2}, {65537, 4}}) {
    const int size = vocabulary;  // clang 14 captures no binding
    CAPTURE(size);
    const TokenFile file;
    const std::vector<std::int64_t> ids{0, vocabulary - 1, 3, 17, 199};
    Tokens(ids, vocabulary).save(file.path);
    CHECK(file.bytes().size() == 40 + 5 * static_cast<std::size_t>(width));
    const Tokens read = Tokens::open(file.path);
    CHECK(read.vocabulary() == vocabulary);
    CHECK(read.ids(0, 5).to_vector<std::int64_t>() == ids);
    CHECK_NOTHROW(read.verify());
    const Tokens part = read.slice(1, 4);
    CHECK(part.ids(1, 2).to_vector<std::int64_t>() == std::vector<std::int64_t>{3, 17});
    const TokenFile again;
    part.save(again.path + "-part");
    CHECK(Tokens::open(again.path + "-part").ids(0, 3).to_vector<std::int64_t>() ==
          std::vector<std::int64_t>{vocabulary - 1, 3, 17});
    std::filesystem::remove(again.path + "-part");
    CHECK_THROWS_AS(part.ids(1, 3), IndexError);
  }
  const auto [train, rest] = nn::split(Tokens({1, 2, 3, 4, 5, 6, 7, 8, 9, 0}, 10), 0.75);
  CHECK(train.size() == 7);
  CHECK(rest.ids(0, 3).to_vector<std::int64_t>() == std::vector<std::int64_t>{8, 9, 0});
}

TEST_CASE("a stream at its bounds") {
  const std::int64_t most = std::int64_t{1} << 31;
  const TokenFile file;
  Tokens({0, most - 1}, most).save(file.path);
  CHECK(Tokens::open(file.path).ids(0, 2).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, most - 1});
  CHECK_THROWS_AS(Tokens({0}, most + 1), ValueError);
  const Tokens three({1, 2, 3}, 10);
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  CHECK_THROWS_AS(three.ids(0, huge), IndexError);  // not std::bad_alloc
  CHECK_THROWS_AS(three.ids(huge, 1), IndexError);
  CHECK_THROWS_AS(three.ids(0, -1), IndexError);
  CHECK_THROWS_AS(Tokens().ids(0, 1), IndexError);
  CHECK(three.ids(3, 0).size(0) == 0);
}

TEST_CASE("checksums tell streams apart, in memory or in a file") {
  const TokenFile file;
  const Tokens a({1, 2, 3, 3}, 10);
  a.save(file.path);
  const Tokens read = Tokens::open(file.path);
  CHECK(read.checksum() == a.checksum());
  CHECK(read.slice(1, 3).checksum() == a.slice(1, 3).checksum());
  CHECK(a.slice(1, 3).checksum() != a.slice(2, 4).checksum());
  CHECK(a.checksum() != Tokens({1, 3, 2, 3}, 10).checksum());
}

TEST_CASE("a file that is cut while it is open is an error, and one that is saved anew stays as it was") {
  const TokenFile file;
  Tokens(std::vector<std::int64_t>(100000, 7), 300).save(file.path);
  const Tokens open = Tokens::open(file.path);
  Tokens({1, 2}, 300).save(file.path);
  CHECK(open.ids(99999, 1).item() == 7);
  Tokens(std::vector<std::int64_t>(100000, 7), 300).save(file.path);
  const Tokens cut = Tokens::open(file.path);
  std::filesystem::resize_file(file.path, 100);
  CHECK_THROWS_AS(cut.ids(99999, 1), FileError);
  CHECK_THROWS_AS(cut.verify(), FileError);
  CHECK_THROWS_AS(cut.save(file.path + "-again"), FileError);
}

TEST_CASE("ids written as they come are the file of all of them, or none") {
  for (const std::int64_t vocabulary : {256, 65536, 65537}) {
    CAPTURE(vocabulary);
    const TokenFile file;
    Tokens({1, 2, 3, 4, vocabulary - 1}, vocabulary).save(file.path);
    const std::string whole = file.bytes();
    file.write("before");
    {
      nn::TokenWriter abandoned(file.path, vocabulary);
      abandoned.append({5, 6});
      CHECK(file.bytes() == "before");
    }
    CHECK(file.bytes() == "before");
    nn::TokenWriter writer(file.path, vocabulary);
    writer.append({1, 2});
    writer.append({});
    CHECK_THROWS_AS(writer.append({3, vocabulary}), IndexError);  // none of them is written
    CHECK_THROWS_AS(writer.append({-1}), IndexError);
    writer.append({3, 4, vocabulary - 1});
    CHECK(writer.size() == 5);
    CHECK(file.bytes() == "before");
    writer.finish();
    CHECK(file.bytes() == whole);
    CHECK_NOTHROW(Tokens::open(file.path).verify());
    CHECK_THROWS_AS(writer.append({1}), ValueError);
    CHECK_THROWS_AS(writer.finish(), ValueError);
  }
  CHECK_THROWS_AS(nn::TokenWriter("/dev/null/ids", 10), FileError);
  CHECK_THROWS_AS(nn::TokenWriter(TokenFile().path, 0), ValueError);
  const TokenFile empty;
  nn::TokenWriter(empty.path, 7).finish();
  CHECK(Tokens::open(empty.path).size() == 0);
}

TEST_CASE("files that are damaged or none") {
  const TokenFile file;
  Tokens({1, 2, 300}, 400).save(file.path);
  const std::string good = file.bytes();
  const auto refused = [&](const std::string& bytes) {
    file.write(bytes);
    CHECK_THROWS_AS(Tokens::open(file.path), FileError);
  };
  refused("");
  refused("my notes, which are longer than forty characters");
  refused(good.substr(0, good.size() - 1));
  refused(good + "x");
  for (const std::size_t at : {0, 8, 16, 24, 32}) {  // magic, width, vocabulary, count, reserved
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x40);
    if (at == 16) bad[at + 5] = 1;  // a vocabulary beyond 2^31
    refused(bad);
  }
  std::string bad = good;
  bad[bad.size() - 2] = 'z';
  file.write(bad);
  CHECK_THROWS_AS(Tokens::open(file.path).verify(), FileError);
  bad[bad.size() - 1] = '\x7f';  // an id beyond the vocabulary
  file.write(bad);
  CHECK_THROWS_AS(Tokens::open(file.path).ids(0, 3), IndexError);
  CHECK_THROWS_AS(Tokens({1, 5}, 5), IndexError);
  CHECK_THROWS_AS(Tokens({-1}, 5), IndexError);
}
