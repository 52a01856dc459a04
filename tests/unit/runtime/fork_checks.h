// Children of fork(), watched from outside.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>

// The thread sanitizer ends a child that starts threads.
#if defined(__SANITIZE_THREAD__)
#define ATTUNE_FORKS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATTUNE_FORKS 0
#endif
#endif
#ifndef ATTUNE_FORKS
#define ATTUNE_FORKS 1
#endif

namespace attune::tests {

/// The exit status of a child that runs `body`, which returns whether all was right: 0 if it did, 1 if not, 2 for an
/// exception; -1 if it was killed, which a child that hangs for a minute is.
inline int status_of_child(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

template <class F>
int in_child(F body) {
  const pid_t child = fork();
  if (child != 0) return status_of_child(child);
  alarm(60);
  int status = 2;
  try {
    status = body() ? 0 : 1;
  } catch (const std::exception&) {
  }
  _exit(status);
}

}  // namespace attune::tests
