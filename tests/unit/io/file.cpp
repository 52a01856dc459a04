// Files of both formats: cut off, mutilated, out of reach, and replaced only by what is whole.

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <random>

#include "nn/nn.h"
#include "tests/unit/file_checks.h"

namespace attune::tests {

TEST_CASE("files: cut off anywhere they are refused") {
  const Folder dir;
  save_safetensors(dir / "a", {{"w", ones({2, 3})}, {"empty", zeros({0})}}, {{"k", "v"}});
  save_npy(dir / "a.npy", ones({2, 3}));
  for (const char* name : {"a", "a.npy"}) {
    const std::string good = get(dir / name);
    for (std::size_t n = 0; n < good.size(); ++n) {
      put(dir / "cut", good.substr(0, n));
      CAPTURE(n);
      if (name[1] == '.')
        CHECK_THROWS_AS(load_npy(dir / "cut"), FileError);
      else
        CHECK_THROWS_AS(load_safetensors(dir / "cut"), FileError);
    }
  }
}

TEST_CASE("files: a few thousand mutilated files give FileError or a tensor, never anything else") {
  const Folder dir;
  manual_seed(1);
  save_safetensors(dir / "good", {{"weights", randn({4, 3})}, {"index", arange(5)}}, {{"k", "v"}});
  save_npy(dir / "good.npy", randn({4, 3}));
  std::mt19937 random(7);
  for (const char* name : {"good", "good.npy"}) {
    const std::string good = get(dir / name);
    int refused = 0;
    for (int i = 0; i < 2000; ++i) {
      std::string bad = good;
      for (unsigned n = random() % 4 + 1; n > 0; --n) {
        const std::size_t at = random() % std::min<std::size_t>(bad.size(), 260);
        if (random() % 3 == 0)
          bad[at] = "{}[]\",:019-'()TF"[random() % 16];
        else
          bad[at] = static_cast<char>(random());
      }
      if (random() % 8 == 0) bad.resize(random() % bad.size());
      put(dir / "bad", bad);
      try {
        if (name[4] == '.')
          load_npy(dir / "bad");
        else
          load_safetensors(dir / "bad");
      } catch (const FileError&) {
        ++refused;
      }
    }
    CHECK(refused > 500);
  }
}

TEST_CASE("files: what is no readable or writable file says so, and the old bytes stay") {
  const Folder dir;
  CHECK(refusal<FileError>([&] { load_safetensors(dir / "none"); }) ==
        (dir / "none") + ": cannot be opened: No such file or directory");
  CHECK(refusal<FileError>([&] { load_npy(std::string("a\0b", 3)); }) == "a: the path goes on behind a zero byte");
  fs::create_directories(dir / "folder");
  CHECK(refusal<FileError>([&] { load_npy(dir / "folder"); }) == (dir / "folder") + ": is not a regular file");
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK(refusal<FileError>([&] { load_npy(dir / "pipe"); }) == (dir / "pipe") + ": is not a regular file");
  CHECK(refusal<FileError>([&] { save_npy(dir / "pipe", zeros({2})); }) == (dir / "pipe") + ": is not a regular file");
  put(dir / "file", "old");
  CHECK(refusal<FileError>([&] { save_npy(dir / "file/below", zeros({2})); }) ==
        (dir / "file/below") + ": cannot be written: Not a directory");
  CHECK(refusal<FileError>([&] { save_npy(dir / "folder", zeros({2})); }) ==
        (dir / "folder") + ": is not a regular file");
  CHECK(refusal<FileError>([] {
          save_safetensors("/proc/attune", {});
        }).rfind("/proc/attune: cannot be written: ", 0) == 0);
  CHECK_THROWS_AS(save_npy(dir / "file", Tensor()), ValueError);
  CHECK_THROWS_AS(save_safetensors(dir / "file", {{"a", Tensor()}}), ValueError);
  CHECK_THROWS_AS(save_safetensors(dir / "file", {{"__metadata__", zeros({1})}}), ValueError);
  CHECK_THROWS_AS(save_safetensors(dir / "file", {{"\xff", zeros({1})}}), ValueError);
  // A writer that fails half-way leaves the old file and no other.
  const std::size_t before = dir.files();
  CHECK_THROWS_AS(io::write_atomically(dir / "file",
                                       [](const io::Sink& sink) {
                                         sink("new", 3);
                                         throw ValueError("half-way");
                                       }),
                  ValueError);
  CHECK(get(dir / "file") == "old");
  CHECK(dir.files() == before);
}

TEST_CASE("files: where no more bytes may be written, the old file stays and no other") {
  const Folder dir;
  put(dir / "file", "old");
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  rlimit small = old;
  small.rlim_cur = 1000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string npy_said = refusal<FileError>([&] { save_npy(dir / "file", zeros({1000})); });
  const std::string safetensors_said = refusal<FileError>([&] {
    save_safetensors(dir / "file", {{"a", zeros({1000})}});
  });
  REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(npy_said == (dir / "file") + ": cannot be written: File too large");
  CHECK(safetensors_said == npy_said);
  CHECK(get(dir / "file") == "old");
  CHECK(dir.files() == 1);
}

TEST_CASE("files: an exhausted memory budget is said of the file, at the caller's line, and nothing changes") {
  const Folder dir;
  nn::Linear model(64, 64), larger(64, 65);
  model.save(dir / "model");
  save_npy(dir / "array", transpose(ones({64, 64})));
  const std::vector<double> before = model.weight.to_vector<double>();
  const std::string bytes = get(dir / "model");
  const std::string requested = "memory: 0.0 MiB requested with ";
  // The line that is said, and what comes before it.
  const auto said = [](const auto& f) {
    set_memory_budget(memory_stats().live_bytes + 4096);
    std::string what;
    try {
      f();
    } catch (const MemoryError& e) {
      what = e.what();
    }
    set_memory_budget(0);
    return what;
  };
  int line = __LINE__ + 1;
  std::string what = said([&] { load_npy(dir / "array"); });
  CHECK(what.rfind((dir / "array") + ": " + requested, 0) == 0);
  CHECK(what.ends_with("\n  at file.cpp:" + std::to_string(line)));
  line = __LINE__ + 1;
  what = said([&] { model.load(dir / "model"); });
  CHECK(what.rfind((dir / "model") + ": " + requested, 0) == 0);
  CHECK(what.ends_with("\n  at file.cpp:" + std::to_string(line)));
  line = __LINE__ + 1;
  what = said([&] { save_npy(dir / "array", transpose(model.weight)); });
  CHECK(what.rfind("contiguous: " + requested, 0) == 0);
  CHECK(what.ends_with("\n  at file.cpp:" + std::to_string(line)));
  CHECK(get(dir / "model") == bytes);
  CHECK(dir.files() == 2);
  CHECK(model.weight.to_vector<double>() == before);
  // The same for a file that does not fit the module, and a folder that takes no file.
  const std::vector<double> larger_before = larger.weight.to_vector<double>();
  CHECK_THROWS_AS(larger.load(dir / "model"), ValueError);
  CHECK(larger.weight.to_vector<double>() == larger_before);
  CHECK(refusal<FileError>([&] { model.save("/proc/attune"); }).rfind("/proc/attune: cannot be written: ", 0) == 0);
  CHECK(model.weight.to_vector<double>() == before);
}

TEST_CASE("files: a new file has the old one's permissions, and a link stays a link") {
  const Folder dir;
  const auto mode = [](const std::string& path) {
    struct stat info {};
    REQUIRE(stat(path.c_str(), &info) == 0);
    return info.st_mode & 0777;
  };
  const mode_t mask = umask(027);
  save_npy(dir / "new", zeros({1}));
  umask(mask);
  CHECK(mode(dir / "new") == 0640);
  put(dir / "secret", "old");
  fs::permissions(dir / "secret", fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("secret", dir / "latest");
  save_npy(dir / "latest", ones({2}));
  CHECK(mode(dir / "secret") == 0600);
  CHECK(fs::is_symlink(dir / "latest"));
  CHECK(same_bits(load_npy(dir / "secret"), ones({2})));
  CHECK(dir.files() == 3);
}

}  // namespace attune::tests
