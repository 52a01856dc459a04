// Directories of runs: one run at a time, probes that hurt nobody, and what killed runs left.

#include "autograd/io/directory.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

/// Calls f in a child process and waits for its end; returns the child's number, which then nobody has.
template <class F>
pid_t in_child(F&& f) {
  const pid_t child = fork();
  if (child == 0) {
    f();
    _exit(0);
  }
  REQUIRE(child > 0);
  REQUIRE(waitpid(child, nullptr, 0) == child);
  return child;
}
pid_t dead_process() {
  return in_child([] {});
}

std::string left_by(pid_t process, const std::string& name, int count = 0) {
  return name + "." + std::to_string(process) + "-" + std::to_string(count) + ".tmp";
}

}  // namespace

TEST_CASE("directories: a lock keeps the next one out, by name, and goes with its holder") {
  const Folder dir;
  const std::string run = dir / "run";
  fs::create_directories(run);
  {
    const io::DirectoryLock first(run);
    const std::string in_use = run + ": is in use by another run (process " + std::to_string(getpid()) + ")";
    CHECK(refusal<FileError>([&] { io::DirectoryLock second(run); }) == in_use);
    // By another way to the same place, and from another process.
    fs::create_directory_symlink(run, dir / "other");
    CHECK(refusal<FileError>([&] { io::DirectoryLock second(dir / "other"); }).find("is in use") != std::string::npos);
    in_child([&] {
      try {
        io::DirectoryLock second(run);
      } catch (const FileError&) {
        put(dir / "refused", "");
      }
    });
    CHECK(fs::exists(dir / "refused"));
  }
  CHECK(fs::is_empty(run));
  // A holder that was killed leaves its file, and keeps nobody out.
  in_child([&] {
    const io::DirectoryLock held(run);
    raise(SIGKILL);
  });
  CHECK(fs::exists(run + "/.attune.lock"));
  io::DirectoryLock lock(run), moved = std::move(lock);
  CHECK(get(run + "/.attune.lock") == std::to_string(getpid()) + "\n");
  // A forked child that ends in good order takes nothing along.
  in_child([&] { io::DirectoryLock gone(std::move(moved)); });
  CHECK_THROWS_AS(io::DirectoryLock{run}, FileError);
}

TEST_CASE("directories: a lock follows no link and changes nobody's file") {
  const Folder dir;
  const std::string lock = dir / ".attune.lock", mine = dir / "mine";
  put(mine, "my own words");
  fs::create_symlink(mine, lock);
  CHECK(refusal<FileError>([&] { io::DirectoryLock{dir / ""}; }).find(".attune.lock there is a link") !=
        std::string::npos);
  fs::remove(lock);
  fs::create_hard_link(mine, lock);
  CHECK_THROWS_AS(io::DirectoryLock{dir / ""}, FileError);
  CHECK(get(mine) == "my own words");
  put(lock, "a diary");
  CHECK_THROWS_AS(io::DirectoryLock{dir / ""}, FileError);
  CHECK(get(lock) == "a diary");
  fs::remove(lock);
  REQUIRE(mkfifo(lock.c_str(), 0600) == 0);
  CHECK_THROWS_AS(io::DirectoryLock{dir / ""}, FileError);
  CHECK(refusal<FileError>([&] { io::DirectoryLock{dir / "none"}; }) ==
        (dir / "none") + ": cannot be opened: No such file or directory");
  CHECK(refusal<FileError>([&] { io::DirectoryLock{mine}; }) == mine + ": is no directory");
  CHECK_THROWS_AS(io::DirectoryLock{"/proc"}, FileError);
}

TEST_CASE("directories: a probe leaves everything as it was") {
  const Folder dir;
  put(dir / "mine", "my own words");
  for (const char* name : {".writable", ".attune-probe"}) fs::create_symlink("mine", dir / name);
  for (int i = 0; i < 2000; ++i) fs::create_symlink("mine", left_by(getpid(), dir / ".attune-probe", i));
  const std::size_t before = dir.files();
  io::check_writable(dir / "");
  CHECK(dir.files() == before);
  CHECK(get(dir / "mine") == "my own words");
  CHECK(refusal<FileError>([&] { io::check_writable(dir / "none"); }) ==
        (dir / "none") + ": cannot be opened: No such file or directory");
  CHECK(refusal<FileError>([&] { io::check_writable(dir / "mine"); }) == (dir / "mine") + ": is no directory");
  CHECK(refusal<FileError>([] { io::check_writable("/proc"); }).rfind("/proc: cannot be written: ", 0) == 0);
}

TEST_CASE("directories: what dead processes left of a file goes with the next write of it, and nothing else") {
  const Folder dir;
  const std::string name = dir / "model.safetensors";
  const pid_t dead = dead_process();
  const std::vector<std::string> stale = {left_by(dead, name), left_by(dead, name, 12)};
  std::vector<std::string> others = {
      left_by(getpid(), name),
      left_by(getppid(), name, 3),
      left_by(1, name),
      left_by(dead, dir / "other.safetensors"),
      left_by(0, name),
      name + "." + std::to_string(dead) + "-.tmp",
      name + ".-1-0.tmp",
      name + "." + std::to_string(dead) + "-0.tmp.txt",
      name + ".backup-0.tmp",
      name + "." + std::to_string(dead) + "-0",
      name + ".99999999999-0.tmp",
      left_by(dead, name + ".x"),
  };
  for (const std::string& path : stale) put(path, "half");
  for (const std::string& path : others) put(path, "whole");
  put(dir / "mine", "mine");
  const std::string link = left_by(dead, name, 50), pipe = left_by(dead, name, 51), hard = left_by(dead, name, 52);
  fs::create_symlink("mine", link);
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  fs::create_hard_link(dir / "mine", hard);
  // One whose writer lives under another number, in another container: it holds the lock.
  const std::string elsewhere = left_by(dead, name, 53);
  const int held = open(elsewhere.c_str(), O_CREAT | O_WRONLY, 0600);
  REQUIRE(flock(held, LOCK_EX) == 0);
  save_npy(name, zeros({2}));
  for (const std::string& path : stale) CHECK_FALSE(fs::exists(path));
  others.insert(others.end(), {link, pipe, hard, elsewhere, dir / "mine"});
  for (const std::string& path : others) {
    CAPTURE(path);
    CHECK(fs::exists(fs::symlink_status(path)));
  }
  CHECK(get(dir / "mine") == "mine");
  ::close(held);
  // This process's number, on a file from before it started: that of an earlier run in a container.
  const timespec times[] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  REQUIRE(utimensat(AT_FDCWD, others[0].c_str(), times, 0) == 0);
  fs::create_symlink("model.safetensors", dir / "latest");
  save_npy(dir / "latest", zeros({2}));
  CHECK_FALSE(fs::exists(others[0]));
  CHECK_FALSE(fs::exists(elsewhere));
}

TEST_CASE("directories: killed while it writes, a process leaves what the next write removes") {
  const Folder dir;
  put(dir / "file", "old");
  const auto killed = [&] {
    in_child([&] {
      io::write_atomically(dir / "file", [](const io::Sink& sink) {
        sink("new", 3);
        raise(SIGKILL);
      });
    });
  };
  killed();
  killed();
  CHECK(get(dir / "file") == "old");
  CHECK(dir.files() == 2);
  io::write_text(dir / "file", "new");
  CHECK(dir.files() == 1);
  CHECK(get(dir / "file") == "new");
}

TEST_CASE("directories: a text is read whole, and only from a file") {
  const Folder dir;
  put(dir / "text", "twelve bytes");
  CHECK(io::read_text(dir / "text") == "twelve bytes");
  CHECK(io::read_text(dir / "text", 12) == "twelve bytes");
  CHECK(refusal<FileError>([&] { io::read_text(dir / "text", 11); }) ==
        (dir / "text") + ": has 12 bytes; at most 11 are read");
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  for (const std::string& path : {dir / "", dir / "pipe", std::string("/dev/zero")})
    CHECK(refusal<FileError>([&] { io::read_text(path); }) == path + ": is not a regular file");
  CHECK_THROWS_AS(io::read_text(dir / "none"), FileError);
  const std::byte bytes[] = {std::byte{'a'}, std::byte{'b'}};
  const io::Input memory("memory", bytes);
  CHECK(memory.read_all(2) == "ab");
  char two[2];
  CHECK(refusal<FileError>([&] { memory.read(1, two, 2); }) ==
        "memory: ends too early: 2 bytes are expected at 1, and it has 2 in all");
}

}  // namespace attune::tests
