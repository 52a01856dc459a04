#include "nn/training/event_file.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "autograd/runtime/error.h"

using attune::nn::EventFile;
namespace fs = std::filesystem;

namespace {

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}

/// A record's payload, found by its length.
std::string record(const std::string& file, std::size_t& at) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data() + at, 8);
  const std::string event = file.substr(at + 12, length);
  at += 12 + length + 4;
  return event;
}

}  // namespace

TEST_CASE("an event file has the records that TensorBoard reads") {
  const std::string path = fs::temp_directory_path() / ("events.out.tfevents." + std::to_string(getpid()));
  fs::remove(path);
  {
    EventFile file(path);
    CHECK(file.add(1, {{"loss", 1.5}}));
    CHECK(file.add(300, {{"loss", 0.5}, {"accuracy", 0.25}}));
  }
  const std::string bytes = text_of(path);
  // The length 24 of the first record and its masked CRC-32C, as TensorFlow 2 writes them.
  CHECK(bytes.substr(0, 12) == std::string("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22", 12));
  std::size_t at = 0;
  CHECK(record(bytes, at).substr(9) ==
        "\x1a\x0d"
        "brain.Event:2");
  CHECK(record(bytes, at).substr(9) == std::string("\x10\x01\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\xc0\x3f", 17));
  CHECK(record(bytes, at).substr(9, 3) == "\x10\xac\x02");
  CHECK(at == bytes.size());

  SUBCASE("what lies after the step that a run resumes from is cut off, damaged ends too") {
    std::ofstream(path, std::ios::app | std::ios::binary) << "torn";
    EventFile again(path, 299);
    CHECK(again.add(2, {{"loss", 1.25}}));
    const std::string now = text_of(path);
    at = 0;
    record(now, at);
    record(now, at);
    CHECK(record(now, at).substr(9, 2) == "\x10\x02");
    CHECK(at == now.size());
  }
  SUBCASE("a file of something else stays") {
    std::ofstream(path, std::ios::trunc) << "my notes";
    CHECK_THROWS_AS(EventFile(path, 3), attune::FileError);
    CHECK(text_of(path) == "my notes");
  }
  fs::remove(path);
}
